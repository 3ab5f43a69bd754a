"""One small data set taken through every verb, for the tests that look at what came out."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import QUICK, TINY, CliResult, done

from pretune.training.learning import Learning

__all__ = ["GOOD", "Killed", "Story", "act_after", "tell_once", "weights", "write_rows"]

GOOD = ("--max-steps", "60", "--learning-rate", "0.001", *QUICK)


class Story:
    """The runs of one small data set, and what each command printed with ``--json``."""

    def __init__(self, folder: Path, rows: list[dict[str, str]]) -> None:
        self.folder, self.rows = folder, {row["id"]: row for row in rows}
        self.data, self.base, self.news, self.weak = (folder / name for name in ("news.csv", "base", "news", "weak"))
        self.said: dict[str, CliResult] = {}

    def step(self, name: str, *words: object) -> None:
        self.said[name] = done(*words, "--json")

    def go_on(self) -> None:
        """From the run ``news``: tested, taught to a weak student that is tested too, exported."""
        self.step("evaluate", "evaluate", self.news, *QUICK)
        student = ("--student", "layers:1", "--max-steps", "6")
        self.step("distill", "distill", self.news, *student, *QUICK, "--out", self.weak)
        self.step("evaluate weak", "evaluate", self.weak, *QUICK, "--no-baselines")
        self.step("export", "export", self.news, "--threads", "1", "--out", self.folder / "exported")

    def facts(self, name: str) -> dict[str, Any]:
        return self.said[name].facts


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


_TOLD: list[Story] = []


def tell_once(factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> Story:
    """The same story for every test file."""
    if not _TOLD:
        _TOLD.append(_tell(factory.mktemp("story"), rows))
    return _TOLD[0]


def _tell(folder: Path, rows: list[dict[str, str]]) -> Story:
    told = Story(folder, rows)
    write_rows(told.data, rows)
    told.step("inspect", "inspect", told.data, "--out", told.folder / "passport")
    told.step("pretrain", "pretrain", *TINY, "--data", told.data, "--out", told.base, "--max-steps", "6")
    told.step("finetune", "finetune", told.base, "--data", told.data, "--out", told.news, *GOOD)
    told.step("scratch", "finetune", *TINY, "--data", told.data, "--out", told.weak, "--max-steps", "2")
    told.step("evaluate", "evaluate", told.news, *QUICK)
    told.step("evaluate weak", "evaluate", told.weak, "--threads", "1", "--no-baselines")
    told.step("compare", "compare", told.news, told.weak)
    told.step("predict", "predict", told.news, told.data, "--out", told.folder / "labels.jsonl")
    told.step("report", "report", told.news)
    told.step("list", "list", told.folder)
    return told


def weights(run: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(run / "model" / "model.safetensors")


class Killed(BaseException):
    """Nothing catches it: as after kill -9, only what was on the disk is left."""


def act_after(patch: pytest.MonkeyPatch, steps: int, act: Callable[[], None]) -> None:
    """Call ``act`` once, after that many updates of a run that learns."""
    plain = Learning._log

    def log(self: Learning, step: Any) -> None:
        plain(self, step)
        if step.number == steps:
            patch.setattr(Learning, "_log", plain)
            act()

    patch.setattr(Learning, "_log", log)
