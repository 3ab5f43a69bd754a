"""A reader sees the old bytes or the new ones; one writer a folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clocks import HANG_SECONDS
from pretune import files
from pretune.errors import CorruptFile, DiskFull, RunError


def test_write_replaces_and_leaves_nothing_beside(tmp_path: Path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    files.write_json(path, {"x": "中文"})
    assert files.read_json(path) == {"x": "中文"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(DiskFull, match=r"a\.json") as caught:
        files.write_json(path, {"x": 2})
    monkeypatch.undo()
    assert "free some space" in caught.value.fix
    assert files.read_json(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        files.write_text(tmp_path / "missing" / "a.txt", "x")


def test_order_of_a_durable_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (calls.append("fsync"), real_fsync(fd))[1])
    monkeypatch.setattr(files.os, "replace", lambda a, b: (calls.append("replace"), real_replace(a, b))[1])
    files.write_text(tmp_path / "a.txt", "x")
    assert calls == ["fsync", "replace", "fsync"]


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"x": float("nan")})
    assert files.read_json(path) == {"x": 1}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"", b"[" * 200_000])
def test_broken_json_names_the_file(tmp_path: Path, content: bytes):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"run\.json"):
        files.read_json(path)


def test_missing_json_says_so(tmp_path: Path):
    with pytest.raises(RunError, match="does not exist"):
        files.read_json(tmp_path / "run.json")


def test_torn_last_line_is_left_out(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    for step in (1, 2):
        files.append_json_line(path, {"step": step})
    with open(path, "a") as file:
        file.write('{"step": 3, "lo')
    assert [line["step"] for line in files.read_json_lines(path)] == [1, 2]
    assert list(files.read_json_lines(tmp_path / "none.jsonl")) == []


def test_free_space_is_checked_before_work(tmp_path: Path):
    files.check_free_space(tmp_path, 1, "a checkpoint")
    with pytest.raises(DiskFull, match="a checkpoint needs"):
        files.check_free_space(tmp_path, 2**62, "a checkpoint")


HOLDER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from pretune.errors import RunError
    from pretune.files import lock_folder
    try:
        with lock_folder(Path(sys.argv[1])):
            print("won", flush=True)
            sys.stdin.read()
    except RunError as error:
        print("lost:", error.problem, flush=True)
    """
)


def hold(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_full_disk_under_the_cache_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    place = files.cache_dir("pixels")
    with pytest.raises(DiskFull) as asked:
        files.check_free_space(place, 2**62, "keeping scaled pictures")
    with pytest.raises(DiskFull) as met, files.translate_disk_errors(place / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    for error in (asked.value, met.value):
        assert str(place) in error.problem
        assert "pretune cache --clear" in error.fix
        assert "PRETUNE_CACHE" in error.fix
        assert "--out" not in error.fix


def test_two_processes_race_and_one_wins(tmp_path: Path):
    racers = [hold(tmp_path), hold(tmp_path)]
    try:
        words = sorted(first_line(racer) for racer in racers)
        assert words[1] == "won"
        assert words[0].startswith(f"lost: {tmp_path} is being written by process ")
        assert any(str(racer.pid) in words[0] for racer in racers)
    finally:
        for racer in racers:
            racer.communicate(input="", timeout=HANG_SECONDS)


def test_a_killed_holder_blocks_nobody(tmp_path: Path):
    holder = hold(tmp_path)
    assert first_line(holder) == "won"
    with pytest.raises(RunError, match=str(holder.pid)), files.lock_folder(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=HANG_SECONDS)
    with files.lock_folder(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_cache_folder_obeys_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "c"))
    assert files.cache_dir("tables", "abc") == tmp_path / "c" / "tables" / "abc"
    assert (tmp_path / "c" / "tables" / "abc").is_dir()


def test_json_lines_hold_text_of_any_script(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    files.append_json_line(path, {"text": "早上好\n\u2028"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "早上好\n\u2028"}
    assert next(files.read_json_lines(path)) == {"text": "早上好\n\u2028"}


def test_a_line_after_a_torn_one_stands_alone(tmp_path: Path):
    path = tmp_path / "looks.jsonl"
    files.append_json_line(path, {"n": 1})
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"n": 2, "wh')
    files.append_json_line(path, {"n": 3})
    assert list(files.read_json_lines(path)) == [{"n": 1}, {"n": 3}]


def test_a_file_of_one_torn_line_begins_again(tmp_path: Path):
    path = tmp_path / "looks.jsonl"
    path.write_text('{"n"', encoding="utf-8")
    files.append_json_line(path, {"n": 1})
    assert list(files.read_json_lines(path)) == [{"n": 1}]


def test_a_folder_takes_the_place_of_another_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "model"
    (tmp_path / ".model.tmp").mkdir()
    (tmp_path / ".model.tmp" / "left by a kill").touch()
    for text in ("first", "second"):
        with files.replaced_folder(target) as folder:
            (folder / text).write_text(text)
            assert not (target / text).exists()
        assert [path.name for path in target.iterdir()] == [text]
    with pytest.raises(FileNotFoundError), files.replaced_folder(target) as folder:
        (folder / "third" / "in no folder").touch()
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def gone(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", gone)
    with pytest.raises(OSError, match="Input/output"), files.replaced_folder(target):
        pass
    assert [path.name for path in target.iterdir()] == ["second"], (
        "nothing is removed before the new one is on the disk"
    )
