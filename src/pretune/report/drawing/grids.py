"""The square charts: confusion heat map, reliability diagram, and the chain of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pretune.report.drawing.svg import Scale, drawing, finite, legend, number, shorten, tag, text, text_width
from pretune.report.words import number_text, percent_text
from pretune.wording import counted

__all__ = ["Node", "confused_pairs", "heat_map", "lineage", "reliability"]

MOSTLY = 0.6


def confused_pairs(
    labels: Sequence[str], values: Sequence[Sequence[int]], most: int = 12
) -> list[tuple[str, str, int, float]]:
    """The largest cells off the diagonal: row label, column label, count, share of the row."""
    found: list[tuple[int, int, int, float]] = []
    for i, row in enumerate(values):
        total = sum(row)
        found += [(-count, i, j, count / total) for j, count in enumerate(row) if i != j and count]
    return [(labels[i], labels[j], -minus, share) for minus, i, j, share in sorted(found)[:most]]


def heat_map(
    labels: Sequence[str],
    values: Sequence[Sequence[int]],
    *,
    title: str,
    row_title: str,
    column_title: str,
    width: int = 896,
) -> Markup:
    """A matrix of counts, shaded by the share of its row. Cells never get smaller than readable: the drawing grows instead."""
    count = len(labels)
    if not count:
        return Markup("")
    longest = max(text_width(label) for label in labels)
    left = max(min(longest, 110.0 if width < 500 else 190.0) + 10, text_width(f"{row_title} ↓"))
    widest = max(text_width(number_text(cell), 11) for row in values for cell in row)
    cell = min(64.0, max((width - left - 24) / count, widest + 6, 22.0))
    upright = longest > cell - 6
    head = 22 + (min(longest, 120.0) * 0.75 + 12 if upright else 18.0)
    full = left + count * cell + (48 if upright else 2)
    parts = [text(left, 12, f"{column_title} →", "muted"), text(0, head - 8, f"{row_title} ↓", "muted")]
    for index, label in enumerate(labels):
        middle = left + (index + 0.5) * cell
        parts.append(_column_label(label, middle, head - 6, upright, cell))
        parts.append(text(left - 8, head + (index + 0.5) * cell + 4, shorten(label, left - 10), "", "end", full=label))
        parts += _heat_row(labels, index, values[index], left, head + index * cell, cell)
    pairs = confused_pairs(labels, values, 3)
    story = (
        "Most often confused: " + "; ".join(f"{a} predicted as {b} ({number_text(n)})" for a, b, n, _ in pairs)
        if pairs
        else "Nothing was confused"
    )
    return drawing(max(full, left + text_width(column_title) + 30), head + count * cell + 4, title, story, *parts)


def _column_label(label: str, x: float, y: float, upright: bool, cell: float) -> Markup:
    if not upright:
        return text(x, y, shorten(label, cell), "", "middle", full=label)
    attributes = {"x": x + 3, "y": y, "transform": f"rotate(-48 {number(x + 3)} {number(y)})"}
    return tag("text", attributes, shorten(label, 120), tag("title", {}, label))


def _shade(share: float) -> float:
    """Opacity of a cell: rising, with a step at ``MOSTLY``, as no ink can be read on a shade in between."""
    return 0.9 + 0.1 * (share - MOSTLY) / (1 - MOSTLY) if share > MOSTLY else 0.06 + 0.7 * share


def _heat_row(
    labels: Sequence[str], index: int, row: Sequence[int], left: float, y: float, cell: float
) -> list[Markup]:
    total = sum(row)
    parts = []
    for column, count in enumerate(row):
        share = count / total if total else 0.0
        x = left + column * cell
        hint = tag(
            "title",
            {},
            f"{labels[index]} → {labels[column]}: {number_text(count)} ({percent_text(share)} of {labels[index]})",
        )
        kind = "right" if column == index else "wrong"
        shade = f"{_shade(share):.2f}" if count else "0"
        parts.append(
            tag("rect", {"x": x + 1, "y": y + 1, "width": cell - 2, "height": cell - 2, "rx": 2.0, "class": "slot"})
        )
        parts.append(
            tag(
                "rect",
                {
                    "x": x + 1,
                    "y": y + 1,
                    "width": cell - 2,
                    "height": cell - 2,
                    "rx": 2.0,
                    "class": f"heat {kind}",
                    "fill-opacity": shade,
                },
                hint,
            )
        )
        if count:
            ink = "on-heat" if share > MOSTLY else "small"
            parts.append(text(x + cell / 2, y + cell / 2 + 4, number_text(count), ink, "middle"))
    return parts


def reliability(series: Sequence[Mapping[str, Any]], *, title: str, width: int = 896) -> Markup:
    """Accuracy (upright) of the rows of a confidence (across): on the diagonal the model is calibrated.

    ``series`` is of ``{"name", "bins": [{"low", "high", "confidence", "accuracy", "n"}]}``; empty bins are left out. The
    area of a dot is the share of rows in its bin.
    """
    kept = [
        (
            one,
            [
                bin_
                for bin_ in one.get("bins", [])
                if bin_.get("n") and finite(bin_.get("confidence")) and finite(bin_.get("accuracy"))
            ],
        )
        for one in series
    ]
    if not any(bins for _, bins in kept):
        return Markup("")
    size = min(width, 440)
    names, head = legend([str(one.get("name", "")) for one, _ in kept], size)
    left, top = 52.0, head + 24.0
    side = size - left - 28
    x_scale, y_scale = Scale(0, 1, left, left + side), Scale(0, 1, top + side, top)
    parts = [*names, text(0, head + 10, "accuracy", "muted")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = x_scale(tick), y_scale(tick)
        parts.append(tag("line", {"x1": left, "x2": left + side, "y1": y, "y2": y, "class": "grid"}))
        parts.append(text(left - 8, y + 4, percent_text(tick, 0), "muted", "end"))
        parts.append(text(x, top + side + 18, percent_text(tick, 0), "muted", "middle"))
    parts.append(tag("line", {"x1": left, "x2": left + side, "y1": top + side, "y2": top, "class": "diagonal"}))
    for index, (_, bins) in enumerate(kept):
        parts.append(_reliability_line(index, bins, x_scale, y_scale))
    parts.append(text(left + side / 2, top + side + 38, "confidence", "muted", "middle"))
    story = "; ".join(_reliability_story(one, bins) for one, bins in kept if bins)
    return drawing(size, top + side + 44, title, story, *parts)


def _reliability_line(index: int, bins: Sequence[Mapping[str, Any]], x_scale: Scale, y_scale: Scale) -> Markup:
    kind = f"s{index % 6}"
    total = sum(bin_["n"] for bin_ in bins)
    placed = [
        (x_scale(bin_["confidence"]), y_scale(bin_["accuracy"]), bin_)
        for bin_ in sorted(bins, key=lambda b: b["confidence"])
    ]
    parts = []
    if len(placed) > 1:
        parts.append(
            tag(
                "path", {"d": "M" + "L".join(f"{number(x)} {number(y)}" for x, y, _ in placed), "class": f"line {kind}"}
            )
        )
    for x, y, bin_ in placed:
        hint = f"confidence {percent_text(bin_['confidence'])}, accuracy {percent_text(bin_['accuracy'])}, {counted(bin_['n'])}"
        parts.append(
            tag(
                "circle",
                {"cx": x, "cy": y, "r": 2.5 + 7.0 * (bin_["n"] / total) ** 0.5, "class": f"dot soft {kind}"},
                tag("title", {}, hint),
            )
        )
    return tag("g", {}, *parts)


def _reliability_story(one: Mapping[str, Any], bins: Sequence[Mapping[str, Any]]) -> str:
    total = sum(bin_["n"] for bin_ in bins)
    gap = sum(bin_["n"] * abs(bin_["confidence"] - bin_["accuracy"]) for bin_ in bins) / total
    return f"{one.get('name', '')}: {percent_text(gap)} mean distance between confidence and accuracy"


@dataclass(frozen=True)
class Node:
    """One run of the chain. ``depth`` is 0 for the run of the report, 1 for its parents; ``lines`` stand below its name."""

    key: str
    name: str
    depth: int
    lines: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


def lineage(nodes: Sequence[Node], *, title: str, width: int = 896) -> Markup:
    """The chain of runs, oldest on top, an arrow from each parent to what was made of it."""
    if not nodes:
        return Markup("")
    layers = [
        [node for node in nodes if node.depth == depth] for depth in range(max(node.depth for node in nodes), -1, -1)
    ]
    layers = [layer for layer in layers if layer]
    height_of = 34.0 + 17.0 * max(len(node.lines) for node in nodes)
    gap = 30.0
    spots: dict[str, tuple[float, float, float]] = {}
    for level, layer in enumerate(layers):
        room = width / len(layer)
        box = min(room - 12, 420.0)
        for index, node in enumerate(layer):
            start = index * room if len(layer) > 1 else 0.0
            spots[node.key] = (start + 1, level * (height_of + gap) + 1, box)
    parts = [
        _arrow(spots[node.key], spots[child], height_of) for node in nodes for child in node.children if child in spots
    ]
    parts += [_box(node, *spots[node.key], height_of) for node in nodes]
    story = "; ".join(" ".join((node.name, *node.lines)) for layer in layers for node in layer)
    return drawing(width, len(layers) * (height_of + gap) - gap + 2, title, story, *parts)


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float], height: float) -> Markup:
    x1, y1 = start[0] + min(start[2], 420) / 2, start[1] + height
    x2, y2 = end[0] + min(end[2], 420) / 2, end[1] - 2
    head = f"M{number(x2 - 5)} {number(y2 - 8)}L{number(x2)} {number(y2)}L{number(x2 + 5)} {number(y2 - 8)}"
    return tag(
        "g",
        {"class": "arrow"},
        tag("path", {"d": f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"}),
        tag("path", {"d": head}),
    )


def _box(node: Node, x: float, y: float, box: float, height: float) -> Markup:
    kind = "node own" if node.depth == 0 else "node"
    parts = [tag("rect", {"x": x, "y": y, "width": box, "height": height, "rx": 6.0, "class": kind})]
    parts.append(text(x + 14, y + 22, shorten(node.name, box - 28, 13), "strong", full=node.name))
    for index, line in enumerate(node.lines):
        parts.append(text(x + 14, y + 40 + 17 * index, shorten(line, box - 28), "muted", full=line))
    return tag("g", {}, *parts)
