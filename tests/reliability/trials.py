"""Many trials of one experiment: each seeded by its number, counted, and kept on disk when it fails."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Broken, Lab

__all__ = ["Plan", "Report", "Trial", "repeat"]

Trial = Callable[[random.Random, Path], dict[str, Any]]
"""A trial's facts: words are counted, numbers are kept at their largest. Raises :class:`lab.Broken`."""


@dataclass(frozen=True)
class Plan:
    """Which trials to run: of which seed, in full or a small share of each, perhaps one trial alone."""

    seed: int = 0
    full: bool = True
    only_trial: int | None = None

    def numbers(self, full: int, short: int) -> Iterable[int]:
        """The numbers of the trials of an experiment."""
        if self.only_trial is not None:
            return [self.only_trial]
        return range(full if self.full else short)


@dataclass
class Report:
    """What an experiment showed."""

    name: str
    promise: str
    trials: int = 0
    kept: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.trials > 0 and self.kept == self.trials

    def add(self, facts: dict[str, Any]) -> None:
        """Take up the facts of a trial that kept the promise."""
        self.kept += 1
        for key, value in facts.items():
            if isinstance(value, str):
                self.counts[value] += 1
            else:
                self.largest[key] = max(round(float(value), 9), self.largest.get(key, 0.0))

    def line(self) -> str:
        """One line for a person."""
        told = [f"{count} {word}" for word, count in sorted(self.counts.items())]
        told += [f"{key} at most {value:.3g}" for key, value in self.largest.items()]
        verdict = "ok    " if self.passed else "FAILED"
        return f"{verdict} {self.name}: {self.promise}: {self.kept} of {self.trials} ({', '.join(told)}) in {self.seconds:.0f} s"

    def to_dict(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "name": self.name, "promise": self.promise, "passed": self.passed, "trials": self.trials, "kept": self.kept,
            "counts": dict(self.counts), "largest": self.largest, "seconds": round(self.seconds, 1),
            "failures": self.failures,
        }  # fmt: skip


def repeat(lab: Lab, plan: Plan, name: str, promise: str, numbers: Iterable[int], trial: Trial) -> Report:
    """Run the trials; a failing one leaves its folder and its number."""
    report, began = Report(name, promise), time.monotonic()
    for number in numbers:
        folder = lab.folder / name / f"{number:04d}"
        folder.mkdir(parents=True)
        report.trials += 1
        try:
            report.add(trial(random.Random(f"{plan.seed}:{name}:{number}"), folder))
        except Broken as broken:
            repeated = f"make reliability ARGS='--only {name} --seed {plan.seed} --trial {number}'"
            report.failures.append({"trial": number, "problem": str(broken), "folder": str(folder), "again": repeated})
            continue
        shutil.rmtree(folder)
    report.seconds = time.monotonic() - began
    return report
