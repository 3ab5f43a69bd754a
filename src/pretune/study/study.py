"""``pretune study``: is pre-training, or another way to learn, worth it on these rows; and what would more labels bring?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import CleanSettings, DataSettings, RunSettings
from pretune.errors import DataError, RunError
from pretune.files import jsonable
from pretune.interface.declare import load_verb, verb
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.newrun import create_run
from pretune.options import option
from pretune.runfolder import RunFolder, now
from pretune.study.engines.base import EngineSettings
from pretune.study.parallel import do_steps_of, refuse_missing_engine
from pretune.study.plan import Arm, Cell, arms_of, budgets_of, cells_of, plan_of
from pretune.study.steps import StepsDone, failure_noted
from pretune.study.verdict import sentences

if TYPE_CHECKING:
    from pretune.metrics.base import Metric
    from pretune.study.curves import Curves

__all__ = ["StudySettings", "study"]

RESULT = "study.json"


@dataclass(frozen=True, kw_only=True)
class StudySettings(DataSettings, CleanSettings, EngineSettings, RunSettings):
    """Settings of ``pretune study``."""

    verb: ClassVar[str] = "study"

    arms: tuple[str, ...] = option(
        (),
        "ways to learn that are held against each other: NAME=MODEL,OPTION=VALUE,... with the options of finetune; the first is what the others are compared with",
        positional=True,
        metavar="ARM",
        not_in_identity=True,
    )
    budgets: str = option(
        "auto",
        "numbers of labels, as in 30,100,300,all; auto: up to four of them, and all",
        metavar="N,N,...",
        not_in_identity=True,
    )
    seeds: int = option(
        3,
        "draws of the labelled rows and of the fresh weights at each number of labels",
        low=1,
        high=100,
        not_in_identity=True,
    )
    set: tuple[str, ...] = option(
        (), "an option of finetune for every arm: epochs=5, threads=2", metavar="OPTION=VALUE", not_in_identity=True
    )
    split: str = option("test", "the rows that all are scored on", choices=("test", "validation"))
    target: float | None = option(
        None,
        "a score that is wanted, as a share (0.9): how many labels would it take",
        low=0.0,
        high=1.0,
        not_in_identity=True,
    )
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000, not_in_identity=True)
    seed: int = option(0, "the first seed", low=0, high=2**31, not_in_identity=True)


@verb(StudySettings)
def study(settings: StudySettings, *, say: Say) -> Outcome:
    """Learn the same rows in several ways with few and many labels, and say what is worth it: curves with intervals over rows and
    seeds, labels saved, what more labels would bring, in one page.

    At each number of labels every arm learns from the same rows, a smaller number is part of a larger one, and all are scored on
    the same held-out rows. Killed or asked for more (--budgets, --seeds, another arm), the same command goes on: what is done
    is not done again.

    Examples::

        pretune study scratch:bert-mini runs/base --data news.csv --budgets 30,100,300,all --seeds 3
        pretune study plain=MODEL_DIR varied=MODEL_DIR,augment=light --data photos/ --set adapt=full
        pretune study full=MODEL_DIR head=MODEL_DIR,adapt=head --data reviews.tsv --budgets 100,1000 --dry-run
        pretune study linear:tfidf runs/base --data news.csv --budgets 100,300,1000,3000 --target 0.9
    """
    refuse_missing_engine(settings)
    arms = arms_of(settings.arms)
    rows = _labelled_rows(settings, say)
    budgets = budgets_of(settings.budgets, rows)
    cells = cells_of(arms, budgets, range(settings.seed, settings.seed + settings.seeds))
    out = Path(settings.out or f"runs/study-{Path(str(settings.place)).stem or 'data'}")
    plan = plan_of(settings, cells, out, settings.set, settings.split)
    if settings.dry_run:
        lines = [step.settings.command() for step in plan.steps if step.makes_run]
        told = f"{len(lines)} runs: {len(arms)} arms × {len(budgets)} numbers of labels × {settings.seeds} seeds. Nothing was written."
        return Outcome(text="\n".join([*lines, told]), facts={"out": str(out), "runs": len(lines), "commands": lines})
    keys = plan.keys()
    kept = dataclasses.replace(settings, out=str(out))
    with create_run(kept, out, overwrite=settings.overwrite) as (folder, _):
        folder.update_record(settings=kept.to_dict(), command=kept.command())
        state = StepsDone(folder)
        todo = [step for step in plan.steps if not state.is_done(step, keys[step.name])]
        if todo or not folder.has(RESULT) or folder.read_object(RESULT).get("asked") != _asked(settings, cells):
            began = time.monotonic()
            folder.update_record(status="running", problem=None, parents=[])
            with failure_noted(folder):
                do_steps_of(plan.steps, keys, state, say, settings)
                folder.write(RESULT, _result(settings, arms, budgets, cells, out, rows))
            folder.update_record(status="finished", finished=now(), seconds=round(time.monotonic() - began, 1))
            load_verb("report")(str(folder.path), say=say)
            return _outcome(folder, "is finished")
        return _outcome(folder, WAS_FINISHED)


def _labelled_rows(settings: StudySettings, say: Say) -> int:
    """How many training rows there are. Raises :class:`DataError` where the data has no held-out rows to score on."""
    from pretune.data.load import load_splits
    from pretune.runs.rows import tell_reading_of
    from pretune.runs.tagger import tagger_of
    from pretune.tasks import find_task

    data = load_splits(settings, names=tagger_of(settings))
    tell_reading_of(data, say, settings=settings)
    find_task(data).check(data)
    if len(data.get(settings.split, ())) == 0:
        raise DataError(f"{settings.place} has no {settings.split} rows", f"--split takes one of: {', '.join(data)}")
    return len(data["train"])


def _asked(settings: StudySettings, cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "cells": [cell.name for cell in cells],
        "resamples": settings.resamples,
        "split": settings.split,
        "target": settings.target,
    }


def _result(
    settings: StudySettings,
    arms: Sequence[Arm],
    budgets: Sequence[int | None],
    cells: Sequence[Cell],
    out: Path,
    rows: int,
) -> dict[str, Any]:
    """What ``study.json`` holds: the curves, simple methods beside them, and the sentences."""
    runs = {cell.name: RunFolder(out / cell.name) for cell in cells}
    metric, curves, n = _measured(settings, arms, budgets, cells, runs, rows)
    spec = metric.specs[metric.primary]
    found = {
        "format": 1,
        "asked": _asked(settings, cells),
        "metric": metric.primary,
        "rising": spec.rising,
        "split": settings.split,
        "n": n,
        "seeds": settings.seeds,
        "labels": rows,
        "arms": [{"name": arm.name, "backbone": arm.backbone, "options": arm.options} for arm in arms],
        "simple": _simple_methods(settings, cells, runs, metric, rows),
        **curves.to_dict(),
    }
    return jsonable({**found, "text": sentences(found)})


def _measured(
    settings: StudySettings, arms: Sequence[Arm], budgets: Sequence[int | None], cells: Sequence[Cell],
    runs: Mapping[str, RunFolder], rows: int,
) -> tuple[Metric, Curves, int]:  # fmt: skip
    """Every run's answers measured on the rows that all answered, and drawn alike."""
    import numpy as np

    from pretune.evaluation.intervals import drawn_alike, groups_of, num_units
    from pretune.runs.proven import about_of
    from pretune.study.curves import Curves
    from pretune.tasks import task_named

    about = about_of(runs[cells[0].name])
    metric = task_named(about["task"]).metric_type.of(about)
    records = [{line["id"]: line for line in _records(runs[cell.name], settings.split)} for cell in cells]
    shared = [row for row in records[0] if all(row in one for one in records)]
    if not shared:
        raise RunError(
            "no row was answered by every run",
            f"pretune list {settings.out} shows them; give the command again with --overwrite",
        )
    sides = [metric.measure([one[row] for row in shared]) for one in records]
    groups = groups_of([records[0][row] for row in shared])
    drawn = drawn_alike(sides, resamples=settings.resamples, seed=settings.seed, groups_N=groups)
    shape = (len(arms), len(budgets), settings.seeds)
    values, resampled = np.empty(shape), np.empty((*shape, settings.resamples))
    for cell, side, resample in zip(cells, sides, drawn, strict=True):
        at = (arms.index(cell.arm), budgets.index(cell.labels), cell.seed - settings.seed)
        values[at] = side.scores()[metric.primary]
        resampled[at] = resample[metric.primary]
    labels = tuple(rows if one is None else one for one in budgets)
    curves = Curves(
        tuple(arm.name for arm in arms), labels, metric.specs[metric.primary], values, resampled,
        num_units(len(shared), groups), settings.seed, settings.target,
    )  # fmt: skip
    return metric, curves, len(shared)


def _records(run: RunFolder, split: str) -> list[dict[str, Any]]:
    return [line for line in run.read_lines(run.predictions_name(split)) if line.get("truth") is not None]


def _simple_methods(
    settings: StudySettings, cells: Sequence[Cell], runs: Mapping[str, RunFolder], metric: Metric, rows: int
) -> list[dict[str, Any]]:
    """The best simple method at each number of labels (fitted on the same rows), the mean over seeds."""
    import numpy as np

    found: dict[int, dict[str, list[float]]] = {}
    for cell in cells:
        for name, scores in runs[cell.name].metrics.get(settings.split, {}).get("baselines", {}).items():
            value = scores.get(metric.primary, {}).get("value")
            if value is not None:
                found.setdefault(cell.labels or rows, {}).setdefault(name, []).append(value)
    pick = max if metric.specs[metric.primary].rising else min
    best = {labels: pick(by_name.items(), key=lambda item: np.mean(item[1])) for labels, by_name in found.items()}
    return [
        {"labels": labels, "method": name, "value": float(np.mean(values))} for labels, (name, values) in best.items()
    ]


def _outcome(folder: RunFolder, said: str) -> Outcome:
    found = folder.read_object(RESULT)
    page = folder.path / "report.html"
    text = "\n".join([*found["text"], f"{folder.path} {said}; the page is {page}"])
    return Outcome(text=text, facts={"run": str(folder.path), "report": str(page), **found})
