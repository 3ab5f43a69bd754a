"""The chapter of a joint run: each task together with the others and alone, and the rows that are right in all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pretune.report.drawing.charts import Whisker, dot_whisker
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, Section, Tile, data_table, part
from pretune.report.words import (
    is_percent,
    number_text,
    percent_tick,
    plain,
    score_text,
    score_value_text,
    tick_text,
    title_of,
)
from pretune.runfolder import RunFolder

__all__ = ["multitask_lead", "multitask_of", "multitask_section", "multitask_tiles"]

Found = Mapping[str, Any]
_ALL = "rows_right"


def multitask_of(run: RunFolder) -> dict[str, Any]:
    """``multitask.json`` of a joint run that has ended once, else an empty mapping."""
    return run.read_object("multitask.json", "tasks", "text") if run.has("multitask.json") else {}


def multitask_lead(found: Found) -> tuple[str, ...]:
    """The outcome of each task."""
    return tuple(plain(sentence) for sentence in found["text"])


def multitask_tiles(found: Found) -> tuple[Tile, ...]:
    """Each task's score, and of all together."""
    tiles = [
        Tile(f"{plain(one['name'])}: {title_of(one['metric'])}", *score_value_text(one["metric"], one["score"]))
        for one in found["tasks"]
    ]
    if rows := found.get(_ALL):
        tiles.append(
            Tile(f"right in {' and '.join(map(plain, rows['tasks']))}", *score_value_text(_ALL, rows["score"]))
        )
    return tuple(tiles)


def multitask_section(found: Found) -> Section:
    """Drawings of the scores, the table behind them, and what follows."""
    rows = [{"name": one["name"], "metric": one["metric"], **one} for one in found["tasks"]]
    if found.get(_ALL):
        rows.append(
            {
                "name": f"right in {' and '.join(map(plain, found[_ALL]['tasks']))}",
                "metric": _ALL,
                "rising": True,
                **found[_ALL],
            }
        )
    weights = ", ".join(
        f"{plain(name)} {number_text(round(value, 3))}" for name, value in (found.get("weights") or {}).items()
    )
    note = (
        f"All tasks share one trunk, whose epoch was chosen by the mean of their scores on validation. Weights of their losses: {weights}. "
        "Alone: each task from the same start for as many updates of as many rows, its epoch chosen by its own score."
    )
    parts = [*(_forest(one, found["split"]) for one in rows), _table(rows), part("paragraph", text=note, kind="note")]
    return Section("tasks", "Tasks", tuple(parts))


def _forest(one: Found, split: str) -> Markup:
    metric = one["metric"]
    sides = [("together", one["score"], True)]
    if alone := one.get("alone"):
        sides.append(("alone", alone.get("score", alone), False))
    whiskers = [_whisker(name, metric, score, own=own) for name, score, own in sides]
    title = f"{plain(one['name'])}: {title_of(metric)} on {plain(split)}, n = {number_text(one['score'].get('n'))}"
    axis = percent_tick if all(is_percent(metric, score) for _, score, _ in sides) else tick_text
    chart = responsive(lambda width: dot_whisker(whiskers, title=title, axis_text=axis, width=width))
    better = "Further right is better." if one.get("rising", True) else "Further left is better."
    return part("figure", drawing=chart, caption=title, note=f"Dot: score. Line: its 95 % interval. {better}")


def _whisker(name: str, metric: str, score: Found, *, own: bool) -> Whisker:
    value = score["value"]
    low, high = (value if score.get(end) is None else score[end] for end in ("low", "high"))
    return Whisker(name, value, low, high, score_text(metric, score), own)


def _table(rows: Sequence[Found]) -> Markup:
    cells = []
    for one in rows:
        alone = one.get("alone")
        comparison = one.get("comparison") or {}
        cells.append(
            [
                Cell(plain(one["name"]), plain(one.get("task", ""))),
                Cell(title_of(one["metric"])),
                Cell(*score_value_text(one["metric"], one["score"]), numeric=True),
                Cell(*score_value_text(one["metric"], alone.get("score", alone)), numeric=True)
                if alone
                else Cell("", numeric=True),
                Cell(plain(comparison.get("verdict", ""))),
            ]
        )
    columns = ["task", "score", "together", "alone", "together against alone, on the same rows"]
    return data_table("Every task", columns, cells, numeric=[False, False, True, True, False])
