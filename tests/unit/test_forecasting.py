"""What a dry run foretells: time by parts, the costliest update for memory, bytes on the disk; and how far a run was from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_rows
from pretune.interface.outcome import Silent
from pretune.report.parts.sections import done_section
from pretune.runfolder import RunFolder
from pretune.training.forecasting import Forecast
from pretune.training.goal import Goal
from pretune.verbs.finetune.story import FinetuneSettings, finetune

MADE = {
    "start_seconds": 10.0, "frozen_seconds": 5.0, "updates": 100, "seconds_per_update": 0.5, "evaluations": 4,
    "seconds_per_evaluation": 2.0, "peak_memory_bytes": 1, "disk_bytes": 1, "disk_bytes_at_most": 1, "minutes_at_most": None,
}  # fmt: skip


def test_seconds_are_those_of_all_parts() -> None:
    assert Forecast(**MADE).seconds == 10 + 5 + 100 * 0.5 + 4 * 2 + 2
    assert Forecast(**{**MADE, "runs": 2.0}).seconds == 10 + 5 + 2 * (100 * 0.5 + 4 * 2 + 2)
    assert Forecast(**{**MADE, "minutes_at_most": 0.5}).seconds == 10 + 5 + 30 + 2


def test_the_share_of_an_evaluation_is_that_of_its_cheapest_rows() -> None:
    goal = Goal("accuracy", rising=True, patience=None, evaluate=lambda _: {}, costs_N=np.array([30, 10, 20, 40]))
    assert goal.share_of(2) == 0.3
    assert goal.share_of(4) == goal.share_of(9) == 1.0


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rows") / "news.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in make_rows(120)), encoding="utf-8")
    return place


def settings(rows: Path, out: Path, **changed: object) -> FinetuneSettings:
    return FinetuneSettings(
        **{
            "backbone": "scratch:bert-tiny", "data": str(rows), "vocab_size": 300, "max_steps": 6, "threads": 1,
            "precision": "fp32", "out": str(out), **changed,
        }
    )  # fmt: skip


def test_a_run_says_how_far_it_was_from_what_was_foretold(rows: Path, tmp_path: Path) -> None:
    told = finetune.run(settings(rows, tmp_path / "run", dry_run=True), say=Silent())
    assert not (tmp_path / "run").exists()
    assert told.facts["updates"] == 6
    assert told.facts["evaluations"] == 2
    assert "6 updates" in told.text
    finetune.run(settings(rows, tmp_path / "run"), say=Silent())
    record = RunFolder(tmp_path / "run").record
    held = record["forecast"]
    assert held["seconds"] == told.facts["forecast_seconds"]
    assert held["took_seconds"] == pytest.approx(record["seconds"], abs=1.0)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert held["took_disk_bytes"] == pytest.approx(sum(path.stat().st_size for path in files), rel=0.1)
    assert held["disk_bytes"] == pytest.approx(held["took_disk_bytes"], rel=0.4)
    assert "Foretold by --dry-run" in str(done_section(record))
    assert "it took" in str(done_section(record))


def test_other_settings_were_not_foretold(rows: Path, tmp_path: Path) -> None:
    finetune.run(settings(rows, tmp_path / "run", dry_run=True, batch_size=16), say=Silent())
    finetune.run(settings(rows, tmp_path / "run", batch_size=24), say=Silent())
    assert "forecast" not in RunFolder(tmp_path / "run").record


def test_the_newest_forecast_counts(rows: Path, tmp_path: Path) -> None:
    for _ in range(2):
        told = finetune.run(settings(rows, tmp_path / "run", dry_run=True, learning_rate=2e-3), say=Silent())
    finetune.run(settings(rows, tmp_path / "run", learning_rate=2e-3), say=Silent())
    assert RunFolder(tmp_path / "run").record["forecast"]["seconds"] == told.facts["forecast_seconds"]
