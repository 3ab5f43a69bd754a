"""The chapter of a study: a curve for each way to learn, the table behind it, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pretune.report.drawing.charts import Series, line_chart
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, Section, Tile, data_table, part
from pretune.report.words import (
    heading_of,
    is_percent,
    number_text,
    percent_tick,
    plain,
    score_value_text,
    tick_text,
    title_of,
)
from pretune.runfolder import RunFolder

__all__ = ["study_lead", "study_of", "study_section", "study_tiles"]

Found = Mapping[str, Any]


def study_of(run: RunFolder) -> dict[str, Any]:
    """``study.json`` of a study that has ended once, else an empty mapping."""
    return run.read_object("study.json", "points", "arms", "text") if run.has("study.json") else {}


def study_lead(found: Found) -> tuple[str, ...]:
    """The verdicts."""
    return tuple(plain(sentence) for sentence in found["text"][1:3])


def study_tiles(found: Found) -> tuple[Tile, ...]:
    """How much was learned, and on what all were scored."""
    runs = len(found["points"]) * found["seeds"]
    return (
        Tile("runs", number_text(runs), f"{len(found['arms'])} arms, {found['seeds']} seeds"),
        Tile(
            "labels at most",
            number_text(max(one["labels"] for one in found["points"])),
            f"of {number_text(found['labels'])}",
        ),
        Tile("rows scored on", number_text(found["n"]), plain(found["split"])),
    )


def study_section(found: Found) -> Section:
    """The curves, every figure, and the sentences."""
    parts = [_curves(found), part("sentences", rows=[plain(sentence) for sentence in found["text"]]), _table(found)]
    note = (
        "At each number of labels all arms learn from the same rows, and a smaller number is part of a larger one. Intervals (95 %) are over "
        "rows that are drawn alike for all and over seeds; each number of labels has its own, so one in twenty may leave out the truth."
    )
    return Section("study", "What labels bring", (*parts, part("paragraph", text=note, kind="note")))


def _curves(found: Found) -> Markup:
    series = []
    for arm in found["arms"]:
        points = [point for point in found["points"] if point["arm"] == arm["name"]]
        ends = [(point["low"], point["high"]) for point in points]
        labels, values = [point["labels"] for point in points], [point["value"] for point in points]
        series.append(Series(plain(arm["name"]), labels, values, intervals=ends))
    if found["simple"]:
        simple = sorted(found["simple"], key=lambda one: one["labels"])
        series.append(Series("best simple method", [one["labels"] for one in simple], [one["value"] for one in simple]))
    metric = found["metric"]
    share = is_percent(metric, found["points"][0])
    title = f"{heading_of(metric)} by number of labels"
    chart = responsive(
        lambda width: line_chart(
            series, title=title, x_title="labels (logarithmic)", y_title=title_of(metric), width=width,
            y_text=percent_tick if share else tick_text, log_x=True,
        )
    )  # fmt: skip
    return part("figure", drawing=chart, caption=title, note="Upright lines: 95 % intervals over rows and seeds.")


def _table(found: Found) -> Markup:
    """A row for each arm and number of labels."""
    first, rows = found["arms"][0]["name"], []
    saved = {(one["arm"], one["labels"]): one for one in found["labels_saved"]}
    differences = {(one["arm"], one["labels"]): one for one in found["differences"]}
    for point in found["points"]:
        key = (point["arm"], point["labels"])
        value, interval = score_value_text(found["metric"], point)
        difference = score_value_text(found["metric"], differences[key]) if key in differences else ("", "")
        rows.append(
            [
                Cell(plain(point["arm"])),
                Cell(number_text(point["labels"]), numeric=True),
                Cell(value, interval, numeric=True),
                Cell(*difference, numeric=True),
                Cell(*_needed(saved.get(key)), numeric=True),
            ]
        )
    columns = [
        "arm",
        "labels",
        title_of(found["metric"]),
        f"more than {plain(first)}",
        f"labels that {plain(first)} needs",
    ]
    return data_table("Every number of labels", columns, rows, numeric=[False, True, True, True, True])


def _needed(one: Found | None) -> tuple[str, str]:
    """With how many labels the first arm does as well, and the interval of that."""
    if one is None:
        return "", ""
    low, high = number_text(round(one["needed_low"] or 0)), one["needed_high"]
    interval = f"[{low}, {number_text(round(high)) if high is not None else 'more'}]"
    return ("more than were tried" if one["needed"] is None else number_text(round(one["needed"]))), interval
