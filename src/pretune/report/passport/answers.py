"""The answers of a data passport that are no labels: a drawing of the largest split's, and the figures of every split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pretune.report.drawing.charts import bars, histogram
from pretune.report.drawing.svg import finite, responsive
from pretune.report.layout import Cell, Tile, cell_of, data_table, part
from pretune.report.words import plain, title_of

__all__ = ["answer_parts", "answer_tiles"]

_MOST_BARS = 500


def _figures(passport: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """By kind of answer the figures of each split."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, split in (passport.get("splits") or {}).items():
        answers = split.get("answers") if isinstance(split, Mapping) else None
        for kind, figures in (answers if isinstance(answers, Mapping) else {}).items():
            if isinstance(figures, Mapping):
                found.setdefault(str(kind), {})[str(name)] = figures
    return found


def answer_tiles(passport: Mapping[str, Any]) -> tuple[Tile, ...]:
    """What each kind of answer tells of itself in a few letters, of the first split that has it."""
    firsts = [next(iter(splits.values())) for splits in _figures(passport).values()]
    return tuple(Tile(plain(tile[0]), plain(tile[1])) for first in firsts if (tile := first.get("tile")))


def answer_parts(passport: Mapping[str, Any]) -> Markup:
    """Of each kind of answer a histogram or bars, and a table of all splits."""
    body = Markup("")
    for splits in _figures(passport).values():
        name, figures = next(iter(splits.items()))
        body += _drawn(name, figures) + _table(splits)
    return body


def _drawn(name: str, figures: Mapping[str, Any]) -> Markup:
    said = plain(figures.get("sentence", ""))
    note = f"{said[:1].upper()}{said[1:]}." if said else ""
    drawn = Markup("")
    if (spread := figures.get("histogram")) and spread["counts"]:
        edges = spread["edges"]
        bins = list(zip(edges, edges[1:], spread["counts"], strict=False))
        title, x_title = f"{spread.get('title', 'Numbers')} in {name}", str(spread.get("x_title", "number of a row"))
        chart = responsive(lambda width: histogram(bins, title=title, x_title=x_title, width=width))
        drawn += part("figure", drawing=chart, caption=title, note=note)
    if shown := figures.get("bars"):
        named = f"{shown['title']} in {name}"
        rows = [(str(word) or "entity", count) for word, count in shown["counts"].items()]
        chart = responsive(lambda width: bars(rows, title=named, width=width))
        drawn += part("figure", drawing=chart, caption=named, note="" if drawn else note)
    return drawn


def _table(splits: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Figures by split; where names are counted, the counts of each name below."""
    keys = list(
        dict.fromkeys(
            key
            for figures in splits.values()
            for key, value in figures.items()
            if finite(value) and not isinstance(value, bool)
        )
    )
    rows = [[Cell(name), *(cell_of("number", figures.get(key)) for key in keys)] for name, figures in splits.items()]
    table = data_table("Answers of every split", ["split", *map(title_of, keys)], rows)
    counts = {name: figures["bars"]["counts"] for name, figures in splits.items() if figures.get("bars")}
    if not counts:
        return table
    names = list(dict.fromkeys(word for one in counts.values() for word in one))
    lines = [
        [Cell(str(word) or "entity"), *(cell_of("number", one.get(word, 0)) for one in counts.values())]
        for word in names
    ]
    every = data_table(
        f"{next(iter(splits.values()))['bars']['title']} in every split", ["name", *counts], lines[:_MOST_BARS]
    )
    return table + part("details", summary="Every split as a table", body=every)
