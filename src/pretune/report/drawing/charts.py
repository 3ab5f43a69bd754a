"""Charts as SVG, drawn by our own code: pure functions from data to markup, the same data giving the same bytes.

Each takes the ``width`` of the drawing in pixels; :func:`pretune.report.drawing.svg.responsive` draws it for desk and phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pretune.report.drawing.svg import (
    FONT,
    LogScale,
    Scale,
    drawing,
    finite,
    legend,
    number,
    shorten,
    tag,
    text,
    text_width,
    thin,
)
from pretune.report.words import number_text, percent_text, tick_text
from pretune.wording import counted

__all__ = ["Series", "Whisker", "bars", "dot_whisker", "histogram", "line_chart", "scatter"]

ROW = 26.0


@dataclass(frozen=True)
class Series:
    """One line: ``x`` and ``y`` of equal length; ``marked`` are the indices shown with a ring (the best step), ``intervals`` the low
    and high end at each point, where there are any.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    marked: tuple[int, ...] = ()
    intervals: Sequence[tuple[float, float]] = ()

    def points(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(float(a), float(b)) for a, b in zip(self.x, self.y, strict=False) if finite(a) and finite(b)]


@dataclass(frozen=True)
class Whisker:
    """One row of a dot-and-whisker chart. ``own`` marks the model the report is about."""

    name: str
    value: float
    low: float
    high: float
    shown: str
    own: bool = False


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    y_title: str,
    width: int = 896,
    y_text: Callable[[float], str] = tick_text,
    log_x: bool = False,
) -> Markup:
    """Lines over a common x axis, with axes, round ticks and (for several) a legend. With ``log_x`` the x axis is logarithmic, its
    ticks the points' own.

    A series of one point is a dot; of few, line and dots; more than 400 points are thinned with the outline kept.
    Gives an empty string where there is nothing to draw.
    """
    lines = [(index, one, thin(one.points())) for index, one in enumerate(series)]
    lines = [line for line in lines if line[2]]
    if not lines:
        return Markup("")
    names, head = legend([one.name for one in series], width)
    top = head + 24
    height = top + (190 if width < 500 else 230)
    bottom = height - 44
    xs = [x for _, _, points in lines for x, _ in points]
    ys = [y for _, _, points in lines for _, y in points]
    ys += [end for _, one, _ in lines for ends in one.intervals for end in ends if finite(end)]
    y_scale = Scale.over(ys, bottom, top, pad=0.06)
    left = max(text_width(y_text(tick)) for tick in y_scale.ticks()) + 14
    place: Scale = (LogScale if log_x else Scale).over(
        xs, left, width - 12, zero=not log_x and 0 <= min(xs) <= max(xs) / 2
    )
    few = 4 if width < 500 else 7
    ticks = _thin_ticks(sorted(set(xs)), place, width / few / 2) if log_x else place.ticks(few)
    parts = [*names, text(0, head + 10, y_title, "muted")]
    parts += _frame(place, y_scale, x_title, y_text, ticks)
    for index, one, points in lines:
        parts.append(_line(index, one, points, place, y_scale))
    return drawing(width, height, title, _line_story(lines, x_title, y_text), *parts)


def _thin_ticks(values: Sequence[float], scale: Scale, apart: float) -> list[float]:
    """The values that stand at least ``apart`` pixels from the one before."""
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= apart:
            kept.append(value)
    return kept


def _frame(
    x_scale: Scale, y_scale: Scale, x_title: str, y_text: Callable[[float], str], x_ticks: Sequence[float]
) -> list[Markup]:
    left, right, bottom = x_scale.start, x_scale.end, y_scale.start
    parts = []
    for tick in y_scale.ticks():
        y = y_scale(tick)
        parts.append(tag("line", {"x1": left, "x2": right, "y1": y, "y2": y, "class": "grid"}))
        parts.append(text(left - 8, y + 4, y_text(tick), "muted", "end"))
    parts.append(tag("line", {"x1": left, "x2": right, "y1": bottom, "y2": bottom, "class": "axis"}))
    for tick in x_ticks:
        x = x_scale(tick)
        shown = tick_text(tick)
        anchor = "end" if x + text_width(shown) / 2 > right + 12 else "middle"
        parts.append(tag("line", {"x1": x, "x2": x, "y1": bottom, "y2": bottom + 4, "class": "axis"}))
        parts.append(text(x, bottom + 18, shown, "muted", anchor))
    parts.append(text((left + right) / 2, bottom + 38, x_title, "muted", "middle"))
    return parts


def _line(index: int, one: Series, points: list[tuple[float, float]], x_scale: Scale, y_scale: Scale) -> Markup:
    kind = f"s{index % 6}"
    placed = [(x_scale(x), y_scale(y)) for x, y in points]
    parts = []
    if len(placed) > 1:
        path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in placed)
        parts.append(tag("path", {"d": path, "class": f"line {kind}"}))
    if len(placed) <= (x_scale.end - x_scale.start) / 18:
        parts += [tag("circle", {"cx": x, "cy": y, "r": 3.0, "class": f"dot {kind}"}) for x, y in placed]
    for (x, _), (low, high) in zip(one.points(), one.intervals, strict=False):
        ends = {"x1": x_scale(x), "x2": x_scale(x), "y1": y_scale(low), "y2": y_scale(high)}
        parts.append(tag("line", {**ends, "class": f"line {kind}"}))
    for mark in one.marked:
        if mark < len(one.x) and finite(one.x[mark]) and finite(one.y[mark]):
            parts.append(
                tag(
                    "circle",
                    {"cx": x_scale(one.x[mark]), "cy": y_scale(one.y[mark]), "r": 7.0, "class": f"ring {kind}"},
                )
            )
    return tag("g", {}, *parts)


def _line_story(
    lines: Sequence[tuple[int, Series, list[tuple[float, float]]]], x_title: str, y_text: Callable[[float], str]
) -> str:
    said = []
    for _, one, points in lines[:6]:
        (first_x, first), (last_x, last) = points[0], points[-1]
        who = f"{one.name}: " if one.name else ""
        said.append(
            f"{who}from {y_text(first)} at {x_title} {tick_text(first_x)} to {y_text(last)} at {tick_text(last_x)}"
        )
    return "; ".join(said)


def bars(rows: Sequence[tuple[str, float]], *, title: str, width: int = 896, most: int = 40) -> Markup:
    """Horizontal bars with name, count and share; rows after ``most`` are told in a last line."""
    rows = [(name, value) for name, value in rows if finite(value)]
    if not rows:
        return Markup("")
    shown, total = rows[:most], sum(value for _, value in rows)
    tails = [
        f"{number_text(value)}  ({percent_text(value / total)})" if total else number_text(value) for _, value in shown
    ]
    room = width * (0.3 if width < 500 else 0.34)
    left = min(room, max(text_width(name) for name, _ in shown)) + 12
    right = width - max(text_width(tail) for tail in tails) - 12
    scale = Scale(0.0, max(value for _, value in shown) or 1.0, left, max(right, left + 20))
    parts = []
    for index, ((name, value), tail) in enumerate(zip(shown, tails, strict=True)):
        y = index * ROW
        parts.append(text(left - 10, y + 17, shorten(name, left - 12), "", "end", full=name))
        parts.append(
            tag(
                "rect",
                {
                    "x": left,
                    "y": y + 5,
                    "width": max(scale(value) - left, 1.0),
                    "height": ROW - 10,
                    "rx": 2.0,
                    "class": "bar",
                },
            )
        )
        parts.append(text(scale(value) + 8, y + 17, tail, "muted"))
    height = len(shown) * ROW + 4
    if len(rows) > most:
        rest = rows[most:]
        parts.append(
            text(
                0,
                height + 14,
                f"and {len(rows) - most} more with {number_text(sum(v for _, v in rest))} rows together",
                "muted",
            )
        )
        height += 24
    story = "; ".join(f"{name}: {number_text(value)}" for name, value in shown[:12])
    return drawing(width, height, title, story, *parts)


def histogram(bins: Sequence[tuple[float, float, float]], *, title: str, x_title: str, width: int = 896) -> Markup:
    """Upright bars over ``(low, high, count)``; bins may differ in width, the axis is drawn in their order."""
    bins = [one for one in bins if all(finite(part) for part in one)]
    if not bins:
        return Markup("")
    height = 190 if width < 500 else 220
    top, bottom = 24.0, height - 44.0
    y_scale = Scale.over([count for _, _, count in bins], bottom, top, zero=True)
    left = max(text_width(number_text(int(tick))) for tick in y_scale.ticks(4)) + 14
    step = (width - 12 - left) / len(bins)
    parts = [text(0, 10, "rows", "muted")]
    for tick in y_scale.ticks(4):
        y = y_scale(tick)
        parts.append(tag("line", {"x1": left, "x2": width - 12.0, "y1": y, "y2": y, "class": "grid"}))
        parts.append(text(left - 8, y + 4, tick_text(tick), "muted", "end"))
    # As many decimals as tell neighbours apart.
    decimals = max(0, *(math.ceil(-math.log10(high - low)) for low, high, _ in bins if high > low))
    labels = [tick_text(round(low, decimals)) for low, _, _ in bins]
    every = max(1, int((max(text_width(label) for label in labels) + 14) / step) + 1)
    for index, (low, high, count) in enumerate(bins):
        x, y = left + index * step, y_scale(count)
        hint = tag("title", {}, f"{tick_text(low)} to {tick_text(high)}: {number_text(int(count))}")
        parts.append(
            tag(
                "rect",
                {"x": x + 1, "y": y, "width": max(step - 2, 0.8), "height": max(bottom - y, 0.0), "class": "bar"},
                hint,
            )
        )
        if index % every == 0:
            parts.append(text(x, bottom + 18, labels[index], "muted"))
    parts.append(tag("line", {"x1": left, "x2": width - 12.0, "y1": bottom, "y2": bottom, "class": "axis"}))
    parts.append(text((left + width) / 2, bottom + 38, x_title, "muted", "middle"))
    story = f"from {labels[0]} to {tick_text(bins[-1][1])}; the fullest bin holds {counted(int(max(c for _, _, c in bins)))}"
    return drawing(width, height, title, story, *parts)


def dot_whisker(
    rows: Sequence[Whisker], *, title: str, axis_text: Callable[[float], str] = tick_text, width: int = 896
) -> Markup:
    """A dot with its interval for each row, over one common axis; the figures stand beside (desk) or above (phone) it."""
    rows = [row for row in rows if finite(row.value)]
    if not rows:
        return Markup("")
    stacked = width < 500
    step = 48.0 if stacked else 34.0
    ends = [end for row in rows for end in (row.low, row.value, row.high) if finite(end)]
    left = 10.0 if stacked else min(width * 0.34, max(text_width(row.name) for row in rows) * 1.1) + 20
    right = width - 14.0 if stacked else width - max(text_width(row.shown) for row in rows) - 28
    scale = Scale.over(ends, left, right, pad=0.08)
    bottom = len(rows) * step + 6
    parts = []
    for tick in scale.ticks(4 if stacked else 6):
        x = scale(tick)
        parts.append(tag("line", {"x1": x, "x2": x, "y1": 0.0, "y2": bottom, "class": "grid"}))
        parts.append(text(x, bottom + 18, axis_text(tick), "muted", "middle"))
    for index, row in enumerate(rows):
        parts += _whisker(row, index * step, step, scale, stacked, width)
    story = "; ".join(f"{row.name}: {row.shown}" for row in rows)
    return drawing(width, bottom + 26, title, story, *parts)


def _whisker(row: Whisker, y: float, step: float, scale: Scale, stacked: bool, width: int) -> list[Markup]:
    middle = y + step - 14 if stacked else y + step / 2
    kind = "s0" if row.own else "other"
    weight = "strong" if row.own else ""
    low, high = (end if finite(end) else row.value for end in (row.low, row.high))
    parts = [
        tag("line", {"x1": scale(low), "x2": scale(high), "y1": middle, "y2": middle, "class": f"whisker {kind}"}),
        tag("circle", {"cx": scale(row.value), "cy": middle, "r": 5.0, "class": f"dot {kind}"}),
    ]
    base = y + 18 if stacked else middle + 4
    room = width - text_width(row.shown) * 1.08 - 16 if stacked else scale.start - 20
    parts.append(text(0, base, shorten(row.name, room, FONT * (1.08 if row.own else 1)), weight, full=row.name))
    parts.append(text(width, base, row.shown, weight or "muted", "end"))
    return parts


def scatter(
    x: Sequence[float], y: Sequence[float], *, title: str, x_title: str, y_title: str, diagonal: bool = False, width: int = 896
) -> Markup:  # fmt: skip
    """A dot a pair, with the line on which both are equal where ``diagonal``; an empty string where there is nothing to draw."""
    points = Series("", x, y).points()
    if not points:
        return Markup("")
    xs, ys = [one for one, _ in points], [other for _, other in points]
    if diagonal:
        xs = ys = [*xs, *ys]
    top, height = 24.0, 300 if width < 500 else 420
    bottom = height - 44.0
    y_scale = Scale.over(ys, bottom, top, pad=0.06)
    left = max(text_width(tick_text(tick)) for tick in y_scale.ticks()) + 14
    x_scale = Scale.over(xs, left, min(width - 12.0, left + 1.6 * (bottom - top)), pad=0.06)
    parts = [
        text(0, 10, y_title, "muted"),
        *_frame(x_scale, y_scale, x_title, tick_text, x_scale.ticks(4 if width < 500 else 7)),
    ]
    if diagonal:
        ends = max(x_scale.low, y_scale.low), min(x_scale.high, y_scale.high)
        line = {"x1": x_scale(ends[0]), "y1": y_scale(ends[0]), "x2": x_scale(ends[1]), "y2": y_scale(ends[1])}
        parts.append(tag("line", {**line, "class": "axis"}))
    parts += [
        tag("circle", {"cx": x_scale(a), "cy": y_scale(b), "r": 2.5, "class": "dot s0", "fill-opacity": 0.45})
        for a, b in points
    ]
    story = f"{counted(len(points))}; {x_title} from {tick_text(min(xs))} to {tick_text(max(xs))}"
    return drawing(width, height, title, story, *parts)
