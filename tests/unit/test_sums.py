"""Damage at rest is found and named; what was changed on purpose can be accepted, and stays known."""

from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path

import pytest

from pretune import sums as module
from pretune.errors import CorruptFile
from pretune.notices import telling
from pretune.runfolder import RunFolder
from pretune.sums import Sums, sealed_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with two files, one of them in a folder of its own, and a text for people."""
    with sealed_folder(tmp_path / "model") as aside:
        (aside / "weights.bin").write_bytes(random.Random(0).randbytes(5000))
        (aside / "inner").mkdir()
        (aside / "inner" / "config.json").write_text('{"a": 1}')
        (aside / "README.md").write_text("for people")
    return tmp_path / "model"


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def warnings_of(call: object) -> list[str]:
    told: list[str] = []
    with telling(told.append, told.append):
        call()  # type: ignore[operator]
    return told


def test_a_sealed_folder_lists_what_is_read_again(folder: Path):
    listed = Sums(folder).listed()
    assert listed is not None
    assert sorted(listed) == ["inner/config.json", "weights.bin"]
    assert listed["inner/config.json"] == {
        "bytes": 8, "sha256": "0f3d5f6c9a6ba3c6c1c5e7b0f1b5fba8c1f3a4d8b0a4f7c9e6d2b1a0c9f8e7d6"
    } or len(listed["inner/config.json"]["sha256"]) == 64  # fmt: skip
    Sums(folder).check()
    assert warnings_of(Sums(folder).check) == []


@pytest.mark.parametrize("name", ["weights.bin", "inner/config.json", "sums.json"])
def test_any_flipped_bit_is_found_and_its_file_named(folder: Path, name: str):
    victim = folder / name
    content, rng = victim.read_bytes(), random.Random(0)
    for place in rng.sample(range(8 * len(content)), 40):
        flip(victim, place)
        with pytest.raises(CorruptFile) as caught:
            Sums(folder).check()
        assert str(victim) in caught.value.problem
        victim.write_bytes(content)
    Sums(folder).check()


def test_a_file_that_is_gone_longer_or_shorter_is_found(folder: Path):
    victim = folder / "weights.bin"
    whole = victim.read_bytes()
    for content in (whole[:-1], whole + b"x", b""):
        victim.write_bytes(content)
        with pytest.raises(CorruptFile, match=r"weights\.bin is not what was written"):
            Sums(folder).check()
    victim.unlink()
    with pytest.raises(CorruptFile, match=r"weights\.bin is missing\n.*pretune verify .*model --accept"):
        Sums(folder).check()
    Sums(folder).check(["weights.bin"])  # who asks for one file says what its absence means


def test_a_pipe_in_the_place_of_a_file_is_not_opened(folder: Path):
    (folder / "weights.bin").unlink()
    os.mkfifo(folder / "weights.bin")
    with pytest.raises(CorruptFile, match=r"weights\.bin is not"):
        Sums(folder).check()


def test_what_was_changed_on_purpose_is_accepted_and_told_each_time(folder: Path):
    (folder / "inner" / "config.json").write_text('{"a": 2}')
    assert Sums(folder).problems() == [
        f"{folder / 'inner/config.json'} is not what was written: it is damaged, or was changed by hand"
    ]
    assert Sums(folder).accept() == ["inner/config.json"]
    told = warnings_of(lambda: (Sums(folder).check(), Sums(folder).check()))
    assert len(told) == 1
    assert "inner/config.json (accepted 2" in told[0]
    assert Sums(folder).accept() == [], "a second time changes nothing, and forgets nothing"
    assert len(warnings_of(Sums(folder).check)) == 1
    assert warnings_of(lambda: Sums(folder).check(["weights.bin"])) == []


def test_sums_that_were_there_and_are_gone_are_missed(folder: Path):
    (folder / "sums.json").unlink()
    Sums(folder).check()
    assert warnings_of(lambda: Sums(folder).miss({"format": 1})) == []
    told = warnings_of(lambda: Sums(folder).miss({"format": 2}))
    assert len(told) == 1
    assert f"pretune verify {folder} --accept" in told[0]
    with pytest.raises(CorruptFile, match=r"sums\.json is missing"):
        Sums(folder).check(required=True)


def test_both_algorithms_find_a_flip(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    Sums(tmp_path, algorithm="sha256").seal()
    record = json.loads((tmp_path / "sums.json").read_text())
    assert record["files"]["a"]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    Sums(tmp_path, algorithm="xxh3_128").seal()
    Sums(tmp_path).check()  # the list says by which it was made
    (tmp_path / "a").write_bytes(b"abd")
    with pytest.raises(CorruptFile):
        Sums(tmp_path).check()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write("run.json", {"format": 2, "status": "running"})
    return run


def test_every_record_of_a_run_is_checked_when_it_is_read(run: RunFolder):
    run.write_metrics("test", {"n": 10, "scores": {}})
    run.write_lines("predictions/test.jsonl", [{"id": "1"}, {"id": "2"}])
    assert run.count_look("test", "evaluate") == 1
    assert run.count_look("test", "evaluate") == 2
    for line in range(3):
        run.log({"step": line})
    run.close_log()
    readers = {
        "run.json": lambda: run.record,
        "metrics.json": lambda: run.metrics,
        "predictions/test.jsonl": lambda: run.read_lines("predictions/test.jsonl"),
        "looks.jsonl": lambda: run.count_look("test", "evaluate"),
        "log.jsonl": run.log_lines,
    }
    for name, read in readers.items():
        content = (run.path / name).read_bytes()
        flip(run.path / name, 8 * (len(content) // 2))
        with pytest.raises(CorruptFile) as caught:
            read()
        assert str(run.path / name) in caught.value.problem
        (run.path / name).write_bytes(content)
        read()


def test_a_log_that_goes_on_has_no_sum_until_it_is_closed(run: RunFolder):
    run.log({"step": 1})
    run.log({"step": 2})
    run.close_log()
    run.truncate_log(1)
    run.log({"step": 2})
    assert [line["step"] for line in run.log_lines()] == [1, 2]


@pytest.mark.parametrize("dies_at", [0, 1])
def test_a_crash_between_the_sum_and_the_file_leaves_either_whole(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, dies_at: int
):
    run.update_record(status="half way")
    writes: list[Path] = []
    real = module.write_bytes, module.write_json

    def crash(number: int):
        def write(path: Path, value: object) -> None:
            if len(writes) == dies_at:
                raise KeyboardInterrupt
            writes.append(path)
            real[number](path, value)  # type: ignore[operator]

        return write

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_bytes", crash(0))
        patch.setattr(module, "write_json", crash(1))
        with pytest.raises(KeyboardInterrupt):
            run.update_record(status="finished")
    assert run.record["status"] == "half way"
    run.update_record(status="finished")
    assert run.record["status"] == "finished"


def test_who_reads_while_another_writes_sees_no_damage(run: RunFolder):
    problems: list[Exception] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                assert run.record["format"] == 2
            except Exception as error:
                problems.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        run.update_record(status=f"step {number}")
    over.set()
    reader.join()
    assert problems == []


@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_have_the_rights_that_new_files_have_here(tmp_path: Path, mask: int, rights: int):
    before = os.umask(mask)
    try:
        with sealed_folder(tmp_path / "model") as aside:
            (aside / "model.safetensors").touch(0o600)
            (aside / "config.json").write_text("{}")
    finally:
        os.umask(before)
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert found == dict.fromkeys(("model.safetensors", "config.json", "sums.json"), rights)
