"""The Pareto picture: what a model is worth against how long it takes, its size as the area of its dot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from pretune.report.drawing.svg import FONT, Scale, drawing, finite, number, shorten, tag, text, text_width
from pretune.report.words import bytes_text, number_text, tick_text

__all__ = ["Point", "pareto_picture"]

LARGEST, LARGEST_NARROW, SMALLEST = 22.0, 15.0, 4.0
_WIDE_RANGE = 4.0
_LINE = 15.0


@dataclass(frozen=True)
class Point:
    """One model: milliseconds, its score with an interval, bytes, and whether nothing beats it."""

    name: str
    milliseconds: float
    value: float
    low: float
    high: float
    size: float
    front: bool


@dataclass(frozen=True)
class _Box:
    """A rectangle that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: _Box) -> float:
        """The area that both cover, in pixels."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, across) * max(0.0, down)


def pareto_picture(
    points: Sequence[Point],
    *,
    title: str,
    x_title: str,
    y_title: str,
    width: int = 896,
    y_text: Callable[[float], str],
    rising: bool = True,
) -> Markup:
    """Dots over a time axis (logarithmic where times differ much), each with its interval, its name and size beside it.

    What nothing beats is coloured; a line joins what nothing beats in score and time alone. Empty where nothing can be drawn.
    """
    points = [one for one in points if finite(one.milliseconds) and finite(one.value) and one.milliseconds > 0]
    if not points:
        return Markup("")
    height = 360.0 if width < 500 else 380.0
    top, bottom = 30.0, height - 46.0
    y_scale = Scale.over([end for one in points for end in (one.low, one.value, one.high)], bottom, top, pad=0.12)
    left = max(text_width(y_text(tick)) for tick in y_scale.ticks()) + 14
    most = LARGEST_NARROW if width < 500 else LARGEST
    place, ticks = _time_axis([one.milliseconds for one in points], left + most, width - most - 12.0, width)
    parts = [text(0, 12, y_title, "muted"), *_axes(y_scale, y_text, place, ticks, left, width - 12.0, x_title)]
    edge = _edge(points, rising=rising)
    if len(edge) > 1:
        path = "M" + "L".join(f"{number(place(one.milliseconds))} {number(y_scale(one.value))}" for one in edge)
        parts.append(tag("path", {"d": path, "class": "line diagonal"}))
    largest = max(one.size for one in points) or 1.0
    spots = [
        (one, place(one.milliseconds), y_scale(one.value), max(SMALLEST, most * math.sqrt(one.size / largest)))
        for one in sorted(points, key=lambda one: -one.size)
    ]
    parts += [_dot(one, x, y, radius, y_scale, y_text) for one, x, y, radius in spots]
    joined = [(place(one.milliseconds), y_scale(one.value)) for one in edge]
    parts += _labels(spots, y_scale, _Box(left, 16.0, width, bottom), joined)
    story = "; ".join(
        f"{one.name}: {y_text(one.value)} in {number_text(float(one.milliseconds))} ms, {bytes_text(one.size)}{'' if one.front else ', beaten'}"
        for one in points
    )
    return drawing(width, height, title, story, *parts)


def _edge(points: Sequence[Point], *, rising: bool) -> list[Point]:
    """From the fastest on, each that scores better than all faster ones."""
    kept: list[Point] = []
    for one in sorted(points, key=lambda one: (one.milliseconds, -one.value if rising else one.value)):
        if one.front and (not kept or (one.value > kept[-1].value if rising else one.value < kept[-1].value)):
            kept.append(one)
    return kept


def _time_axis(
    values: Sequence[float], start: float, end: float, width: int
) -> tuple[Callable[[float], float], list[float]]:
    """From milliseconds to pixels, and the ticks."""
    low, high = min(values), max(values)
    if high <= _WIDE_RANGE * low:
        scale = Scale.over(values, start, end, zero=True)
        return scale, scale.ticks(4 if width < 500 else 6)
    scale = Scale.over([math.log10(value) for value in values], start, end, pad=0.04)
    marks = [
        f * 10.0**p for p in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1) for f in (1, 2, 5)
    ]
    shown = [mark for mark in marks if scale.low <= math.log10(mark) <= scale.high]
    return lambda value: scale(math.log10(value)), shown


def _axes(
    y_scale: Scale,
    y_text: Callable[[float], str],
    place: Callable[[float], float],
    ticks: Sequence[float],
    left: float,
    right: float,
    x_title: str,
) -> list[Markup]:
    bottom, parts = y_scale.start, []
    for tick in y_scale.ticks():
        y = y_scale(tick)
        parts.append(tag("line", {"x1": left, "x2": right, "y1": y, "y2": y, "class": "grid"}))
        parts.append(text(left - 8, y + 4, y_text(tick), "muted", "end"))
    parts.append(tag("line", {"x1": left, "x2": right, "y1": bottom, "y2": bottom, "class": "axis"}))
    for tick in ticks:
        x = place(tick)
        parts.append(tag("line", {"x1": x, "x2": x, "y1": bottom, "y2": bottom + 4, "class": "axis"}))
        parts.append(text(x, bottom + 18, tick_text(round(tick, 6)), "muted", "middle"))
    parts.append(text((left + right) / 2, bottom + 40, x_title, "muted", "middle"))
    return parts


def _dot(one: Point, x: float, y: float, radius: float, y_scale: Scale, y_text: Callable[[float], str]) -> Markup:
    kind = "s0" if one.front else "other"
    hint = f"{one.name}: {y_text(one.value)}, {number_text(float(one.milliseconds))} ms, {bytes_text(one.size)}"
    low, high = (end if finite(end) else one.value for end in (one.low, one.high))
    return tag(
        "g",
        {},
        tag("line", {"x1": x, "x2": x, "y1": y_scale(low), "y2": y_scale(high), "class": f"whisker {kind}"}),
        tag("circle", {"cx": x, "cy": y, "r": radius, "class": f"dot soft {kind}"}, tag("title", {}, hint)),
    )


def _labels(
    spots: Sequence[tuple[Point, float, float, float]],
    y_scale: Scale,
    frame: _Box,
    joined: Sequence[tuple[float, float]],
) -> list[Markup]:
    """Name and size beside each dot, where they cover least and are nearest; a thin line leads to what is far."""
    taken = [_Box(x - r, y - r, x + r, y + r) for _, x, y, r in spots]  # a name on one of these cannot be read
    lines = [_Box(x - 2, y_scale(one.high), x + 2, y_scale(one.low)) for one, x, _, _ in spots]
    for (x1, y1), (x2, y2) in pairwise(joined):
        steps = max(1, int(abs(x2 - x1) / 4))
        line = [(x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps) for k in range(steps + 1)]
        lines += [_Box(x - 2, y - 1, x + 2, y + 1) for x, y in line]
    parts = []
    for one, x, y, radius in spots:
        size = bytes_text(one.size)
        letter = 1.1 * FONT if one.front else FONT
        room = 0.4 * frame.right
        name = shorten(one.name, room, letter)
        wide = max(text_width(name, letter), text_width(size)) + 4
        sides = (x + radius + 6, x - radius - 6 - wide, x - wide / 2)
        boxes = [
            _Box(at, middle - _LINE, at + wide, middle + _LINE)
            for step in range(-9, 10)
            for at in sides
            for middle in (y + step * _LINE,)
        ]
        inside = [
            box
            for box in boxes
            if frame.left <= box.left
            and box.right <= frame.right
            and frame.top <= box.top
            and box.bottom <= frame.bottom
        ]

        def cost(box: _Box, x: float = x, y: float = y) -> float:
            away = math.hypot((box.left + box.right) / 2 - x, 2 * ((box.top + box.bottom) / 2 - y))
            hidden, crossed = (sum(box.shared(other) for other in found) for found in (taken, lines))
            return away + 30 * hidden + 0.6 * crossed

        box = min(inside or boxes, key=cost)
        taken.append(box)
        middle = (box.top + box.bottom) / 2
        if abs(middle - y) > radius + 1.5 * _LINE:
            near = box.left if box.left > x else min(box.right, x)
            parts.append(tag("line", {"x1": x, "y1": y, "x2": near, "y2": middle, "class": "axis"}))
        parts.append(text(box.left, box.top + 11, name, "strong" if one.front else "", full=one.name))
        parts.append(text(box.left, box.top + 26, size, "muted"))
    return parts
