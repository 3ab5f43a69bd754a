"""What a crash, a damaged file or a rival leaves behind, in the parts of a second; tests/reliability does it at length."""

from __future__ import annotations

import fcntl
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from pretune import files, newrun
from pretune.config import RunSettings
from pretune.engine.checkpoint import Checkpoint, load_last, save
from pretune.errors import CorruptFile, RunError
from pretune.files import lock_folder
from pretune.newrun import create_run
from pretune.options import option

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


@dataclass(frozen=True, kw_only=True)
class LearnSettings(RunSettings):
    """A verb's settings."""

    verb: ClassVar[str] = "learn"
    seed: int = option(0)
    data: str = option("rows.csv", metavar="DATA")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Two whole checkpoints, of steps 1 and 2."""
    for step in (1, 2):
        weights = {"w": torch.full((4, 5), float(step))}
        save(tmp_path, Checkpoint(step, weights, {"exp_avg/w": weights["w"] / 2}, {"data": {"updates": step}}))
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found_and_its_file_named(checkpoints: Path, name: str):
    victim = checkpoints / "step-00000002" / name
    content, rng = victim.read_bytes(), random.Random(0)
    for place in rng.sample(range(8 * len(content)), 60):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        victim.write_bytes(damaged)
        found = load_last(checkpoints)
        assert found is not None
        assert found.step == 1
        assert [str(victim) in note for note in found.notes] == [True]
    victim.write_bytes(content)
    whole = load_last(checkpoints)
    assert whole is not None
    assert (whole.step, whole.notes) == (2, [])


def test_with_nothing_whole_every_damaged_file_is_named(checkpoints: Path):
    victims = [checkpoints / f"step-0000000{step}" / "state.json" for step in (2, 1)]
    for victim in victims:
        victim.write_text("{}")
    with pytest.raises(CorruptFile) as caught:
        load_last(checkpoints)
    assert all(str(victim) in caught.value.problem for victim in victims)
    assert "falling back" not in caught.value.problem
    assert "--overwrite" in caught.value.fix


def test_a_process_killed_at_the_first_write_blocks_nobody(tmp_path: Path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.123.tmp").write_text('{"form')
    with create_run(LearnSettings(), tmp_path) as (_, state):
        assert state == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "run.json", "sums.json"]


def test_files_written_aside_are_removed_with_the_next_call(tmp_path: Path):
    with create_run(LearnSettings(), tmp_path):
        pass
    (tmp_path / ".model.tmp").mkdir()
    (tmp_path / ".model.tmp" / "config.json").touch()
    (tmp_path / ".data.json.123.tmp").touch()
    (tmp_path / ".keep").touch()
    with create_run(LearnSettings(), tmp_path) as (_, state):
        assert state == "resumed"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".keep", ".lock", "run.json", "sums.json"]


def test_an_overwrite_that_was_cut_off_goes_on_with_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with create_run(LearnSettings(seed=1), tmp_path):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "train_keys.npy").touch()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(newrun.shutil, "rmtree", killed)
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt), create_run(LearnSettings(seed=2), tmp_path, overwrite=True):
            pass
    assert (tmp_path / "checkpoints").exists()
    with create_run(LearnSettings(seed=2), tmp_path) as (run, state):
        assert state == "new"
        assert run.record["settings"]["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "run.json", "sums.json"]


def test_a_finished_run_keeps_no_checkpoints_even_if_it_was_killed_before_their_removal(tmp_path: Path):
    with create_run(LearnSettings(), tmp_path) as (run, _):
        run.checkpoints_dir.mkdir()
        run.update_record(status="finished")
    with create_run(LearnSettings(), tmp_path) as (run, state):
        assert state == "finished"
        assert not run.checkpoints_dir.exists()


def test_a_winner_that_has_not_written_its_name_yet_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    descriptor = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            os.write(descriptor, b"process 4711 on here")

    monkeypatch.setattr(files.time, "sleep", wait)
    try:
        with pytest.raises(RunError, match="process 4711"), lock_folder(tmp_path):
            pass
    finally:
        os.close(descriptor)
    assert len(waits) == 2


def test_the_manifest_lists_what_it_guards(checkpoints: Path):
    manifest = json.loads((checkpoints / "step-00000002" / "manifest.json").read_text())
    assert sorted(manifest["files"]) == sorted(set(FILES) - {"manifest.json"})
    assert (checkpoints / "LAST").read_text() == "step-00000002\n"


def test_a_folder_is_the_same_with_a_stroke_behind_its_name(tmp_path: Path) -> None:
    with create_run(LearnSettings(data="photos"), tmp_path / "run"):
        pass
    with create_run(LearnSettings(data="photos/"), tmp_path / "run") as (_, state):
        assert state == "resumed"
    with pytest.raises(RunError, match="--data was 'photos', is 'picture'"), create_run(LearnSettings(data="picture"), tmp_path / "run"):  # fmt: skip
        pass
