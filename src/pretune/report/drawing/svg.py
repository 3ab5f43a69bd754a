"""The small parts of every chart: elements, scales, ticks and the width of a text.

Colours come from the page's style sheet through classes, so that one drawing serves dark, light and print.
All lengths are pixels of the drawing (``_px`` is left out of the names).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup, escape

__all__ = [
    "FONT",
    "LogScale",
    "Scale",
    "drawing",
    "finite",
    "legend",
    "number",
    "responsive",
    "shorten",
    "tag",
    "text",
    "text_width",
    "thin",
    "ticks",
]

FONT = 12.0
WIDE, NARROW = 896, 340


def number(value: float) -> str:
    """A coordinate: one decimal at most, so that the same data give the same bytes."""
    rounded = f"{value:.1f}"
    return rounded[:-2] if rounded.endswith(".0") else rounded


def tag(name: str, attributes: Mapping[str, object], *children: object) -> Markup:
    """One element; attribute values and plain children are escaped, numbers are rounded."""
    parts = []
    for key, value in attributes.items():
        shown = number(value) if isinstance(value, float) else str(value)
        parts.append(f' {key}="{escape(shown)}"')
    inner = "".join(str(escape(child)) for child in children)
    return Markup(f"<{name}{''.join(parts)}>{inner}</{name}>")


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start", full: str = "") -> Markup:
    """A text; ``full`` is what a pointer shows where ``content`` was shortened."""
    attributes: dict[str, object] = {"x": float(x), "y": float(y)}
    if kind:
        attributes["class"] = kind
    if anchor != "start":
        attributes["text-anchor"] = anchor
    hint = [tag("title", {}, full)] if full and full != content else []
    return tag("text", attributes, content, *hint)


def drawing(width: float, height: float, title: str, description: str, *parts: object) -> Markup:
    """The svg element, with a title and a description for those who cannot see it."""
    attributes = {
        "viewBox": f"0 0 {number(width)} {number(height)}",
        "width": number(width),
        "height": number(height),
        "role": "img",
        "aria-label": f"{title}. {description}" if description else title,
    }
    return tag("svg", attributes, tag("title", {}, title), tag("desc", {}, description), *parts)


def responsive(draw: Callable[[int], Markup]) -> Markup:
    """The same chart drawn for a desk and for a phone; the style sheet shows one of them."""
    wide, narrow = draw(WIDE), draw(NARROW)
    return Markup('<div class="chart wide">{}</div><div class="chart narrow">{}</div>').format(wide, narrow)


def text_width(content: str, size: float = FONT) -> float:
    """About how wide a text is (rather too wide): a Chinese sign takes one em, a Latin letter six tenths."""
    return size * sum(_ems(sign) for sign in content)


def _ems(sign: str) -> float:
    if unicodedata.combining(sign):
        return 0.0
    if unicodedata.east_asian_width(sign) in ("W", "F"):
        return 1.0
    if sign.isupper() or sign in "mwMW%@":
        return 0.78
    return 0.34 if sign in " .,:;'|!il" else 0.42 if sign in "fjrt-()[]" else 0.63


def shorten(content: str, room: float, size: float = FONT) -> str:
    """The text, or as much of its start as fits into ``room`` with an ellipsis."""
    content = " ".join(content.split())
    if text_width(content, size) <= room:
        return content
    kept = content[: max(1, int(room / (0.3 * size)))]
    while len(kept) > 1 and text_width(kept + "…", size) > room:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def finite(value: object) -> TypeGuard[float]:
    """Is this a number that can be drawn?"""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def thin(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """At most ``most`` points with the outline kept: first, last, and the lowest and highest of each stretch."""
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // 2
    inner = points[1:-1]
    kept = [points[0]]
    for k in range(stretches):
        stretch = range(k * len(inner) // stretches, (k + 1) * len(inner) // stretches)
        lowest = min(stretch, key=lambda i: inner[i][1])
        highest = max(stretch, key=lambda i: inner[i][1])
        kept += [inner[i] for i in sorted({lowest, highest})]
    return [*kept, points[-1]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``; one number where both are equal."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """From data to pixels, along one axis. A single value gets room on both sides and stands in the middle."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, pad: float = 0.0, zero: bool = False) -> Scale:
        """The scale that holds all ``values``, with ``pad`` (a share of their range) to spare and 0 if asked."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if not high > low:
            spread = abs(low) * 0.1 or 1.0
            low, high = low - spread, high + spread
        room = (high - low) * pad
        return cls(low if zero and low == 0 else low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers on this scale."""
        return ticks(self.low, self.high, count)


class LogScale(Scale):
    """The same over the logarithm of positive values."""

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def legend(names: Sequence[str], width: float, x: float = 0.0, y: float = 12.0) -> tuple[list[Markup], float]:
    """A row (or rows) of line samples with names, and the height it takes. Nothing for a single unnamed series."""
    if len(names) < 2:
        return [], 0.0
    parts, left, top = [], x, y
    for index, name in enumerate(names):
        shown = shorten(name, width - x - 40)
        needed = 26 + text_width(shown) + 18
        if left > x and left + needed > width:
            left, top = x, top + 20
        kind = f"s{index % 6}"
        parts.append(tag("line", {"x1": left, "x2": left + 20, "y1": top - 4, "y2": top - 4, "class": f"line {kind}"}))
        parts.append(text(left + 26, top, shown, full=name))
        left += needed
    return parts, top + 12
