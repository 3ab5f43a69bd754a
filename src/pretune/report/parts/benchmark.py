"""The chapter of a benchmark: the Pareto picture, the table of every figure, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.report.drawing.scatter import Point, pareto_picture
from pretune.report.drawing.svg import responsive
from pretune.report.layout import Cell, Section, Tile, data_table, part
from pretune.report.words import (
    bytes_text,
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
from pretune.wording import counted

__all__ = ["benchmark_lead", "benchmark_of", "benchmark_section", "benchmark_tiles"]

Record = Mapping[str, Any]


def benchmark_of(run: RunFolder) -> dict[str, Any]:
    """``benchmark.json`` of a run that holds one, else an empty mapping."""
    name = "benchmark.json"
    return run.read_object(name, "variants", "front", "metric", "text") if run.has(name) else {}


def benchmark_lead(found: Record) -> tuple[str, ...]:
    """Who is on the front."""
    return tuple(plain(sentence) for sentence in found["text"][:1])


def benchmark_tiles(found: Record) -> tuple[Tile, ...]:
    """How many were measured, on what."""
    return (
        Tile("runs measured", number_text(len(found["variants"])), f"{len(found['front'])} on the front"),
        Tile("rows", number_text(found.get("n")), plain(found.get("split"))),
        Tile("threads", number_text(found["variants"][0].get("threads")), "and one"),
    )


def benchmark_section(found: Record) -> Section:
    """Picture, tables, sentences, and what could not be measured."""
    parts = [
        _picture(found),
        _what_it_is_worth(found),
        _how_fast(found),
        part("sentences", rows=[plain(sentence) for sentence in found["text"][1:]]),
        _unusable(found.get("unusable") or []),
        part("paragraph", text=_how_measured(found), kind="note"),
    ]
    return Section("benchmark", "Benchmark", tuple(piece for piece in parts if piece))


def _picture(found: Record) -> Any:
    name = str(found["metric"])
    points = [
        Point(
            plain(one["name"]), one["latency"]["1"]["all"]["p50_ms"], one["score"]["value"], one["score"]["low"],
            one["score"]["high"], one["bytes"], one["name"] in found["front"],
        )
        for one in found["variants"]
    ]  # fmt: skip
    share = all(is_percent(name, one["score"]) for one in found["variants"])
    title = f"{heading_of(name)} against latency of one row"
    rising = "Further up" if found.get("higher_is_better", True) else "Further down"
    note = f"{rising} and further left is better. Line: 95 % interval. Area: size on the disk. Coloured: on the Pareto front."
    chart = responsive(
        lambda width: pareto_picture(
            points, title=title, x_title="milliseconds for one row, all threads", y_title=title_of(name), width=width,
            y_text=percent_tick if share else tick_text, rising=bool(found.get("higher_is_better", True)),
        )
    )  # fmt: skip
    return part("figure", drawing=chart, caption=title, note=note)


def _what_it_is_worth(found: Record) -> Any:
    name, front = str(found["metric"]), found["front"]
    rows = [
        [
            Cell(plain(one["name"]), plain(one.get("engine"))),
            Cell(*score_value_text(name, one["score"]), numeric=True, own=one["name"] in front),
            Cell(bytes_text(one["bytes"]), numeric=True, own=one["name"] in front),
            Cell(bytes_text(one.get("peak_memory_bytes")), numeric=True),
            Cell("yes" if one["name"] in front else "no"),
        ]
        for one in found["variants"]
    ]
    columns = ["run", title_of(name), "size on disk", "peak memory", "on the front"]
    note = f"n = {number_text(found.get('n'))} rows of {plain(found.get('split'))}; 95 % intervals in brackets. Memory is that of the whole process, libraries included."
    return data_table(
        "What each run is worth and takes", columns, rows, note=note, numeric=[False, True, True, True, False]
    )


def _how_fast(found: Record) -> Any:
    rows = []
    for one in found["variants"]:
        for batch in sorted(one["latency"], key=int):
            times, whole = one["latency"][batch], one["latency_with_encoding"][batch]
            rows.append(
                [
                    Cell(plain(one["name"]), counted(int(batch), "row")),
                    Cell(_ms(times["all"]["p50_ms"]), _ms(times["all"]["p95_ms"]), numeric=True),
                    Cell(_ms(times["one"]["p50_ms"]), _ms(times["one"]["p95_ms"]), numeric=True),
                    Cell(_ms(whole["all"]["p50_ms"]), numeric=True),
                    Cell(f"{times['all']['rows_per_second']:,.0f}", numeric=True),
                ]
            )
    columns = ["run", "all threads, p50 p95", "one thread, p50 p95", "with encoding, p50", "rows a second"]
    return data_table("Milliseconds a call", columns, rows, numeric=[False, True, True, True, True])


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _unusable(rows: Sequence[Record]) -> Any:
    cells = [[Cell(plain(one.get("name"))), Cell(plain(one.get("reason")))] for one in rows]
    return data_table("Unusable", ["run", "why"], cells)


def _how_measured(found: Record) -> str:
    how, machine = found.get("measured") or {}, found.get("machine") or {}
    processor = machine.get("processor") or {}
    name = processor.get("name") if isinstance(processor, Mapping) else processor
    eight = ", ".join(processor.get("int8") or []) if isinstance(processor, Mapping) else ""
    return (
        f"Each run in a process of its own, all in turn: {plain(how.get('rounds'))} rounds for each figure, "
        f"after {plain(how.get('warmup_calls'))} calls that were not counted. Measured on {plain(name)}"
        f"{f' ({eight})' if eight else ''}, {counted(machine.get('cores'), 'core')}. Another machine gives other figures."
    )
