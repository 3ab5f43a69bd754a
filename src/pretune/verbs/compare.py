"""``pretune compare``: is one run better than another, on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.errors import RunError, UsageError
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.runfolder import RunFolder, open_run
from pretune.runs.proven import about_of
from pretune.schema import anything, record, require

if TYPE_CHECKING:
    from pretune.metrics.base import Metric

__all__ = ["CompareSettings", "compare"]


@dataclass(frozen=True, kw_only=True)
class CompareSettings(Settings):
    """Settings of ``pretune compare``."""

    verb: ClassVar[str] = "compare"

    a: str = option(help="first run folder", positional=True, metavar="A")
    b: str = option(help="second run folder", positional=True, metavar="B")
    split: str = option("test", "the split whose predictions are compared")
    intersect: bool = option(False, "compare the rows both have, where they are not the same rows")
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000)


@verb(CompareSettings)
def compare(settings: CompareSettings, *, say: Say) -> Outcome:
    """Say which of two evaluated runs is better, or that no difference was shown.

    The same rows are compared pair by pair. One rule decides: the 95 % interval of the difference in the task's primary score
    (accuracy, word error rate, ...) leaves zero out. For accuracy it agrees with the exact McNemar test, which stands beside it
    wherever a row can be right or wrong. Kept in both runs for their reports.

    Examples::

        pretune compare runs/scratch runs/news
        pretune compare runs/news runs/small --json
    """
    from pretune.evaluation.compare import compare_records
    from pretune.evaluation.evaluate import chosen_by

    a, b = open_run(settings.a), open_run(settings.b)
    if a.path.resolve() == b.path.resolve():
        raise UsageError(f"{a.path} would be compared with itself", "name two runs")
    _refuse_other_tasks(a, b)
    metric = _metric_of(a)
    records_a, records_b = (_predictions(run, settings.split, metric) for run in (a, b))
    found = compare_records(
        records_a, records_b, metric, names=_names(a, b),
        intersect=settings.intersect, resamples=settings.resamples,
    )  # fmt: skip
    notes = chosen_by(settings.split)
    found.update({"a": str(a.path), "b": str(b.path), "split": settings.split, "notes": notes})
    for run in (a, b):
        _keep(run, found)
    for run in (a, b):
        run.count_look(settings.split, f"compare {a.path} {b.path}")
    return Outcome(text="\n".join([found["verdict"], *notes]), facts=found)


def _refuse_other_tasks(a: RunFolder, b: RunFolder) -> None:
    """Raise :class:`UsageError` for runs that answer other questions; one whose model is gone is judged by its rows alone."""
    asked = [about_of(run)["task"] for run in (a, b) if (run.model_dir / "pretune.json").exists()]
    if len(set(asked)) > 1:
        raise UsageError(
            f"{a.path} is a run of {asked[0]}, {b.path} one of {asked[1]}", "compare runs that answer the same question"
        )


def _names(a: RunFolder, b: RunFolder) -> tuple[str, str]:
    """The folders' names, with their parents where these are alike."""
    if a.path.name != b.path.name:
        return a.path.name, b.path.name
    return str(a.path), str(b.path)


def _predictions(run: RunFolder, split: str, metric: Metric) -> list[dict[str, Any]]:
    name = run.predictions_name(split)
    if not run.has(name):
        raise RunError(
            f"{run.path} has no predictions of its {split} split",
            f"pretune evaluate {run.path}" + ("" if split == "test" else f" --split {split}"),
        )
    needed = [metric.answer, *(["probabilities"] if hasattr(metric, "labels") else [])]
    scored = record(dict.fromkeys(needed, anything))
    lines = run.read_lines(name)
    return [require(line, scored, f"{run.path / name}:{place}") for place, line in enumerate(lines, start=1)]


def _metric_of(run: RunFolder) -> Metric:
    """What scores the run's records, which needs no model. Raises :class:`RunError` where it answers nothing."""
    from pretune.tasks import TASKS

    about = about_of(run)
    for task in TASKS:
        if task.name == about["task"]:
            return task.metric_type.of(about)
    raise RunError(
        f"{run.path} was made by `{run.record['verb']}`, which gives no answers to compare",
        "compare runs of pretune finetune, or runs made from them",
    )


def _keep(run: RunFolder, found: dict[str, Any]) -> None:
    """Add to ``comparisons.json``; the same pair and split is replaced."""
    key = ("a", "b", "split")
    kept = [one for one in run.comparisons if any(one.get(k) != found[k] for k in key)]
    run.write("comparisons.json", [*kept, found])
