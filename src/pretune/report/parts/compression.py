"""The chapter of a run that was made smaller: before and after, on the same rows and the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.report.drawing.charts import Whisker, dot_whisker
from pretune.report.drawing.svg import finite, responsive
from pretune.report.layout import Cell, Section, data_table, part
from pretune.report.words import (
    bytes_text,
    heading_of,
    is_percent,
    is_score,
    name_of,
    number_text,
    percent_tick,
    plain,
    score_text,
    tick_text,
    title_of,
)

__all__ = ["compression_lead", "compression_section"]

Record = Mapping[str, Any]

_ENGINES = {"int8": "8 bits, ONNX Runtime", "onnx-fp32": "fp32, ONNX Runtime", "torch-fp32": "fp32, PyTorch"}


def compression_lead(record: Record) -> tuple[str, ...]:
    """What it is worth beside what it was made from, in sentences."""
    found = record.get("compression")
    said = plain(found["text"]).splitlines() if isinstance(found, Mapping) and found.get("text") else []
    return tuple(f"{line[:1].upper()}{line[1:]}" for line in said)


def compression_section(record: Record, *, is_lead: bool) -> Section | None:
    """Score, speed and size before and after; what was tried, where several ways were. ``is_lead``: the page begins with its
    sentences, which are not said twice.
    """
    found = record.get("compression")
    if not isinstance(found, Mapping) or not all(isinstance(found.get(key), Mapping) for key in ("before", "after")):
        return None
    said = [
        *(() if is_lead else compression_lead(record)),
        *plain((record.get("quantization") or {}).get("text") or "").splitlines(),
    ]
    sentences = part("sentences", rows=said) if said else ""
    parts = [_scores(found), _table(found), sentences, *_rounding(record)]
    return Section("compression", "Before and after", tuple(piece for piece in parts if piece))


def _scores(found: Record) -> Any:
    name = str(found.get("metric", "score"))
    sides = [
        (f"before: {name_of(plain(found.get('parent', '')))}", found["before"].get("score"), False),
        ("after: this run", found["after"].get("score"), True),
    ]
    rows = [
        Whisker(label, score["value"], score["low"], score["high"], score_text(name, score), own)
        for label, score, own in sides
        if is_score(score) and finite(score["value"])
    ]
    if not rows:
        return ""
    share = all(is_percent(name, score) for _, score, _ in sides if is_score(score))
    title = f"{heading_of(name)} on the same {number_text(found.get('n'))} validation rows"
    axis = percent_tick if share else tick_text
    chart = responsive(lambda width: dot_whisker(rows, title=title, axis_text=axis, width=width))
    return part("figure", drawing=chart, caption=title)


def _table(found: Record) -> Any:
    before, after = found["before"], found["after"]
    rows = [
        _row("milliseconds for one row", _latency(before, "latency_1"), _latency(after, "latency_1"), found.get("faster")),
        _row("milliseconds for 32 rows", _latency(before, "latency_32"), _latency(after, "latency_32"), found.get("faster_32")),
        _row("size on the disk", bytes_text(before.get("bytes")), bytes_text(after.get("bytes")), found.get("smaller")),
        _row("parameters", _count(before), _count(after), _ratio(before, after)),
        _row("engine", plain(before.get("engine")), plain(after.get("engine")), None),
    ]  # fmt: skip
    note = "Medians, both models in turn on this machine, without encoding; “times” is how much faster or smaller."
    return data_table(
        "Before and after", ["", "before", "after", "times"], rows, note=note, numeric=[False, True, True, True]
    )


def _row(name: str, before: str, after: str, times: Any) -> list[Cell]:
    shown = f"{times:.2f}" if finite(times) else "–"
    return [Cell(name), Cell(before, numeric=True), Cell(after, numeric=True, own=True), Cell(shown, numeric=True)]


def _latency(side: Record, key: str) -> str:
    value = (side.get(key) or {}).get("p50_ms")
    return f"{value:.2f}" if finite(value) else "–"


def _count(side: Record) -> str:
    return number_text(side["parameters"]) if side.get("parameters") else "–"


def _ratio(before: Record, after: Record) -> float | None:
    first, second = before.get("parameters"), after.get("parameters")
    return first / second if finite(first) and finite(second) and second else None


def _rounding(record: Record) -> list[Any]:
    """What ``quantize`` tried, and the latency of its engines."""
    told = record.get("quantization")
    if not isinstance(told, Mapping):
        return []
    name = str((record.get("compression") or {}).get("metric", "score"))
    lost_in = plain(told.get("lost_in") or "points")
    trials = [
        [
            Cell(plain(one.get("title"))),
            Cell(number_text(len(one.get("keep_float") or [])), numeric=True),
            Cell(score_text(name, {"value": one.get("score")}), numeric=True),
            Cell(f"{one['lost_points']:+.2f}" if finite(one.get("lost_points")) else "–", numeric=True),
            Cell(bytes_text(one.get("bytes")), numeric=True),
        ]
        for one in told.get("trials") or []
    ]
    engines = [
        [Cell(_ENGINES.get(str(key), plain(key))), *(Cell(_latency(one, which), numeric=True) for which in ("latency_1", "latency_32"))]
        for key, one in (told.get("latency") or {}).items()
    ]  # fmt: skip
    kept = [plain(one) for one in told.get("keep_float") or []]
    return [
        data_table(
            "Ways to round that were tried", ["way", "layers in float", title_of(name), f"{lost_in} lost", "size"], trials,
            note=f"Scores on validation rows; {lost_in} lost against the same graph in float.", numeric=[False, True, True, True, True],
        ),
        part("paragraph", text=f"In float stayed: {', '.join(kept)}.") if kept else "",
        data_table("The same model in each engine, milliseconds", ["engine", "one row", "32 rows"], engines),
    ]  # fmt: skip
