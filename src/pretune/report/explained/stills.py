"""One layer and head of an attention, or its rollout, as a figure: matrix, lines, or warmth over a picture."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pretune.explain.attention import Attention
from pretune.report.drawing.sheet import INK, QUIET, Sheet
from pretune.report.drawing.svg import shorten, text_width

__all__ = ["Chosen", "still", "still_markup"]

BLUE, SOFT, WARM = "#0b5cad", "#f4f6f8", "#ff6a14"
MOST_NAMED, MOST_BOXES, MOST_LINES = 80, 48, 600
LABEL_ROOM = 120.0
_EDGE = 14.0
_LEAST_LINE = 0.01
_PICTURE_SIDE = 420.0


@dataclass(frozen=True)
class Chosen:
    """A layer (from 0) and its head (from 0; None: the rollout up to the layer)."""

    layer: int
    head: int | None

    def number(self, attention: Attention) -> int:
        """The number of the matrix within its layer: heads, their mean, the rollout."""
        return attention.heads[self.layer] + 1 if self.head is None else self.head

    def weights(self, attention: Attention) -> np.ndarray:
        """The matrix (T, T)."""
        return attention.rolled[self.layer] if self.head is None else attention.layers[self.layer][self.head]

    @property
    def name(self) -> str:
        """In words."""
        if self.head is None:
            return f"Attention rollout up to layer {self.layer + 1}"
        return f"Attention of layer {self.layer + 1}, head {self.head + 1}"


def still(attention: Attention, chosen: Chosen, view: str = "auto") -> Sheet:
    """The figure of one matrix. ``view`` is ``matrix``, ``lines``, ``picture`` or ``auto``: a picture's patches over it, else a matrix."""
    if view == "auto":
        view = "picture" if attention.reading.has_grid and not attention.reading.seconds else "matrix"
    return {"matrix": _matrix, "lines": _lines, "picture": _picture}[view](attention, chosen)


def still_markup(attention: Attention, chosen: Chosen) -> Markup:
    """The same as an element of a page."""
    return still(attention, chosen).svg()


def _depths(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """How deep each weight is coloured, 0 to 1, and the weight of the deepest: the root, as most weights are small."""
    most = float(weights.max()) or 1.0
    return np.sqrt(weights / most), most


def _mixed(depths: np.ndarray, ink: str) -> np.ndarray:
    """Colours uint8 (..., 3) from the empty cell's to ``ink``."""
    low, high = (np.array([int(one[i : i + 2], 16) for i in (1, 3, 5)]) for one in (SOFT, ink))
    return np.rint(low + depths[..., None] * (high - low)).astype(np.uint8)


def _matrix(attention: Attention, chosen: Chosen) -> Sheet:
    weights, tokens = chosen.weights(attention), attention.reading.tokens
    count = len(tokens)
    is_named = not attention.reading.has_grid and count <= MOST_NAMED
    step = 1 if is_named else max(1, count // 16)
    labels = tokens if is_named or attention.reading.seconds else [str(place + 1) for place in range(count)]
    cell = min(24.0, max(640.0 / count, 8.0 if is_named else 0.0))
    size = min(12.0, max(7.0, cell * step * 0.8))
    room = min(LABEL_ROOM, max(text_width(label, size) for label in labels[::step])) + 10
    left, top, span = room + 22, room + 44, count * cell
    sheet = Sheet(left + span + _EDGE, top + span + 56, chosen.name)
    sheet.text(left, 18, chosen.name, 13, bold=True)
    sheet.text(left + span / 2, 36, "looked at", 11, anchor="middle", ink=QUIET)
    sheet.text(14, top + span / 2, "looks", 11, anchor="middle", ink=QUIET, upright=True)
    depths, most = _depths(weights)
    if count <= MOST_BOXES:
        sheet.box(left, top, span, span, SOFT)
        for query, key in zip(*np.nonzero(depths > 0.01), strict=True):
            place = (left + int(key) * cell, top + int(query) * cell)
            sheet.box(*place, cell, cell, BLUE, float(depths[query, key]))
    else:
        sheet.picture(left, top, span, span, _mixed(depths, BLUE), smooth=False)
    for place in range(0, count, step):
        shown, middle = shorten(labels[place], room - 8, size), (place + 0.5) * cell + size * 0.35
        ink = QUIET if attention.reading.is_special[place] else INK
        sheet.text(left - 6, top + middle, shown, size, anchor="end", ink=ink)
        sheet.text(left + middle, top - 6, shown, size, ink=ink, upright=True)
    _scale(sheet, left, top + span + 22, (0.0, most), np.sqrt(np.linspace(0, 1, 120)), BLUE)
    return sheet


def _scale(sheet: Sheet, x: float, y: float, ends: tuple[float, float], depths: np.ndarray, ink: str) -> None:
    """What the colours mean: a strip between the weights of its ends."""
    sheet.picture(x, y, 120, 9, _mixed(depths[None], ink), smooth=False)
    sheet.text(x, y + 24, f"{ends[0]:.3g}", 10, ink=QUIET)
    sheet.text(x + 120, y + 24, f"{ends[1]:.3g}", 10, anchor="end", ink=QUIET)


def _lines(attention: Attention, chosen: Chosen) -> Sheet:
    weights, tokens = chosen.weights(attention), attention.reading.tokens
    row, size, gap = 19.0, 12.0, 240.0
    column = min(180.0, max(text_width(token, size) for token in tokens)) + 8
    left, right = column + _EDGE, column + _EDGE + gap
    sheet = Sheet(right + column + _EDGE, 56 + row * len(tokens), chosen.name)
    sheet.text(_EDGE, 18, chosen.name, 13, bold=True)
    sheet.text(left - 6, 38, "looks", 11, anchor="end", ink=QUIET)
    sheet.text(right + 6, 38, "looked at", 11, ink=QUIET)
    order = np.argsort(-weights, axis=None, kind="stable")[:MOST_LINES]
    for flat in order[::-1].tolist():
        query, key = divmod(flat, len(tokens))
        weight = float(weights[query, key])
        if weight < _LEAST_LINE:
            continue
        begin, end = 46 + (query + 0.5) * row, 46 + (key + 0.5) * row
        points = [(left, begin), (left + 0.45 * gap, begin), (right - 0.45 * gap, end), (right, end)]
        sheet.curve(points, BLUE, max(0.4, 6 * weight), 0.12 + 0.78 * weight**0.5)
    for place, token in enumerate(tokens):
        ink, y = QUIET if attention.reading.is_special[place] else INK, 46 + (place + 0.5) * row + 4
        shown = shorten(token, column - 8, size)
        sheet.text(left - 6, y, shown, size, anchor="end", ink=ink)
        sheet.text(right + 6, y, shown, size, ink=ink)
    return sheet


def _picture(attention: Attention, chosen: Chosen) -> Sheet:
    """Warm where the class token looks (where there is none: all positions, on average)."""
    from PIL import Image

    reading, weights = attention.reading, chosen.weights(attention)
    seen = (weights[0] if reading.prefix else weights.mean(axis=0))[reading.prefix :]
    rows, columns = reading.grid
    least, most = float(seen.min()), float(seen.max())
    depths = ((seen - least) / ((most - least) or 1.0)).reshape(rows, columns)
    wide = 640.0 if reading.seconds else _PICTURE_SIDE
    high = 140.0 if reading.seconds else wide * rows / columns
    shape = (round(2 * wide), round(2 * high))
    under = np.full((shape[1], shape[0], 3), 244.0)
    if reading.picture:
        held = base64.b64decode(reading.picture.partition(",")[2])
        under = np.asarray(Image.open(io.BytesIO(held)).convert("RGB").resize(shape), dtype=np.float64)
    held_depths = Image.fromarray(depths.astype(np.float32)).resize(shape, Image.Resampling.NEAREST)
    share = np.asarray(held_depths)[..., None] * 0.72
    ink = np.array([int(WARM[i : i + 2], 16) for i in (1, 3, 5)])
    mixed = np.rint(under * (1 - share) + ink * share).clip(0, 255).astype(np.uint8)
    sheet = Sheet(wide + 2 * _EDGE, high + 104, chosen.name)
    sheet.text(_EDGE, 18, chosen.name, 13, bold=True)
    who = f"where the {reading.tokens[0]} looks" if reading.prefix else "where all positions look, on average"
    sheet.text(_EDGE, 36, who, 11, ink=QUIET)
    sheet.picture(_EDGE, 46, wide, high, mixed, smooth=False)
    if reading.seconds:
        sheet.text(_EDGE, high + 60, "0 s", 10, ink=QUIET)
        sheet.text(_EDGE + wide, high + 60, f"{reading.seconds:.2f} s", 10, anchor="end", ink=QUIET)
    _scale(sheet, _EDGE, high + 68, (least, most), np.linspace(0, 1, 120), WARM)
    return sheet
