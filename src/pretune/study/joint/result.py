"""What a joint run is worth: each task's scores, the runs that learned it alone, and the rows that are right in all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pretune.errors import RunError
from pretune.files import jsonable
from pretune.interface.declare import load_verb
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder
from pretune.runs.proven import about_of

if TYPE_CHECKING:
    from pretune.metrics.base import Measured, Metric

__all__ = ["RESULT", "measured", "write_result"]

RESULT = "multitask.json"


def measured(
    run: RunFolder, alone: Mapping[str, RunFolder], split: str, resamples: int, threads: int | None, say: Say
) -> dict[str, Any]:
    """Evaluate and compare. ``alone`` are the runs that learned the tasks alone."""
    names = list(run.record["tasks"])
    together = {name: RunFolder(run.path / name) for name in names}
    for one in (*together.values(), *alone.values()):
        _evaluate(one, split, resamples, threads, say)
    tasks = [_task(name, together[name], alone.get(name), split, resamples, say) for name in names]
    found = {
        "format": 1,
        "split": split,
        "tasks": tasks,
        "rows_right": _rows_right(together, alone, split, resamples),
        "weights": run.record["training"].get("learned_weights") or run.record["training"]["shares"],
    }
    return jsonable({**found, "text": _sentences(found)})


def write_result(run: RunFolder, found: Mapping[str, Any]) -> None:
    """Keep it in ``multitask.json``."""
    run.write(RESULT, dict(found))


def _evaluate(one: RunFolder, split: str, resamples: int, threads: int | None, say: Say) -> None:
    if split in one.metrics and one.has(one.predictions_name(split)):
        return
    say.note(f"== scoring {one.path}")
    load_verb("evaluate")(str(one.path), split=split, resamples=resamples, threads=threads, say=say)


def _metric(run: RunFolder) -> Metric:
    from pretune.tasks import task_named

    about = about_of(run)
    return task_named(about["task"]).metric_type.of(about)


def _task(
    name: str, own: RunFolder, alone: RunFolder | None, split: str, resamples: int, say: Say
) -> dict[str, Any]:  # fmt: skip
    """A task's primary score, and beside it what learning it alone gives. The comparison is kept in both runs, too."""
    from pretune.evaluation.compare import compare_records

    metrics, record = own.metrics[split], own.record
    primary = metrics["primary"]
    found: dict[str, Any] = {
        "name": name, "task": record["model"]["task"], "run": name, "metric": primary, "rising": _metric(own).specs[primary].rising,
        "score": metrics["scores"][primary], "result": record["result"],
    }  # fmt: skip
    if alone is None:
        return found
    load_verb("compare")(str(alone.path), str(own.path), split=split, resamples=resamples, say=say)
    sides = [one.read_lines(one.predictions_name(split)) for one in (alone, own)]
    compared = compare_records(sides[0], sides[1], _metric(own), names=("alone", "together"), resamples=resamples)
    return {
        **found,
        "alone": {
            "run": f"alone/{name}",
            "score": alone.metrics[split]["scores"][primary],
            "result": alone.record["result"],
        },
        "comparison": {key: compared[key] for key in ("better", "primary", "n", "verdict", "names")},
    }


def _rows_right(
    together: Mapping[str, RunFolder], alone: Mapping[str, RunFolder], split: str, resamples: int
) -> dict[str, Any] | None:
    """The share of rows that are right in all tasks that answer them; None where no two tasks answer the same rows."""
    from pretune.evaluation.compare import compare
    from pretune.evaluation.intervals import bootstrap
    from pretune.metrics.rows_right import RowsRight

    right = {name: _right_by_row(one, split) for name, one in together.items()}
    right = {name: rows for name, rows in right.items() if rows is not None}
    names = _answering_alike(right)
    if len(names) < 2:
        return None
    metric, shared = RowsRight(), list(right[names[0]])
    side = _measured_together([right[name] for name in names], shared, metric)
    score = bootstrap(side, metric.specs, resamples=resamples)[metric.primary]
    found: dict[str, Any] = {"tasks": names, "score": score.to_dict()}
    others = {name: _right_by_row(alone[name], split) for name in names if name in alone}
    if len(others) < len(names):
        return found
    other = _measured_together([rows for rows in others.values() if rows is not None], shared, metric)
    compared = compare(other, side, metric, names=("alone", "together"), resamples=resamples)
    return {
        **found,
        "alone": bootstrap(other, metric.specs, resamples=resamples)[metric.primary].to_dict(),
        "comparison": {key: compared[key] for key in ("better", "primary", "n", "verdict", "names")},
    }


def _right_by_row(run: RunFolder, split: str) -> dict[str, bool] | None:
    """Which rows are right, by id; None where a row of this task is neither right nor wrong."""
    records = [line for line in run.read_lines(run.predictions_name(split)) if line.get("truth") is not None]
    found = _metric(run).measure(records).right_N
    return None if found is None else {line["id"]: bool(one) for line, one in zip(records, found, strict=True)}


def _answering_alike(right: Mapping[str, Mapping[str, bool]]) -> list[str]:
    """The most tasks that answer the same rows."""
    found: list[str] = []
    for one, other in combinations(right, 2):
        if right[one].keys() == right[other].keys():
            found += [name for name in (one, other) if name not in found]
    return [name for name in right if name in found and right[name].keys() == right[found[0]].keys()]


def _measured_together(sides: Sequence[Mapping[str, bool]], shared: Sequence[str], metric: Metric) -> Measured:
    if any(side.keys() != sides[0].keys() for side in sides):
        raise RunError("the tasks answered other rows together than alone", "give the command again with --overwrite")
    return metric.measure([{"id": row, "right": all(side[row] for side in sides)} for row in shared])


def _sentences(found: Mapping[str, Any]) -> list[str]:
    from pretune.evaluation.compare import as_sentence
    from pretune.report.words import score_line, title_of

    split, lines = found["split"], []
    for one in found["tasks"]:
        beside = f", alone {score_line(one['metric'], one['alone']['score'])}" if "alone" in one else ""
        lines.append(
            f"{one['name']}: {title_of(one['metric'])} {score_line(one['metric'], one['score'])}{beside}, n = {one['score']['n']} {split} rows."
            + (f" {as_sentence(one['comparison']['verdict'])}" if "comparison" in one else "")
        )
    rows = found["rows_right"]
    if rows is not None:
        beside = f", alone {score_line('rows_right', rows['alone'])}" if "alone" in rows else ""
        lines.append(
            f"Right in {' and '.join(rows['tasks'])}: {score_line('rows_right', rows['score'])} of {rows['score']['n']} rows{beside}."
            + (f" {as_sentence(rows['comparison']['verdict'])}" if "comparison" in rows else "")
        )
    return lines
