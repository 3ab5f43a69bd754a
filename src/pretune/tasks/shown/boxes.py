"""Pictures with boxes drawn on them: true ones dashed, those that a model tells solid, classes by colour and by letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import Boxes
from pretune.answers.boxes import Box
from pretune.data.media.image import decode_image
from pretune.tasks.shown.thumbnails import picture_address

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["COLOURS", "drawn", "drawn_address", "letters_of"]

COLOURS = ("#e6550d", "#1f77b4", "#2ca02c", "#9467bd", "#d62728", "#17becf", "#bcbd22", "#e377c2")
SIDE_PX = 480
_DASH_PX, _TEXT_PX = 6, 13


def letters_of(names: Sequence[str]) -> dict[str, str]:
    """A short sign for each class: its first letters, as many as tell it from the others, at most three; else a number."""
    for count in (1, 2, 3):
        found = {name: name[:count] for name in names}
        if len(set(found.values())) == len(names):
            return found
    return {name: str(number) for number, name in enumerate(names, 1)}


def drawn_address(
    image: Mapping[str, Any],
    truth: Sequence[Mapping[str, Any]],
    told: Sequence[Mapping[str, Any]],
    names: Sequence[str],
) -> str:
    """The ``data:image/jpeg`` address of an ``image`` cell's picture with both kinds of boxes (JSON values of :class:`Boxes`)."""
    picture = decode_image(image)
    return picture_address(drawn(picture, Boxes.from_json(truth).boxes, Boxes.from_json(told).boxes, names), SIDE_PX)


def drawn(picture: Image, truth: Sequence[Box], told: Sequence[Box], names: Sequence[str]) -> np.ndarray:
    """The picture with boxes, its longer side 480 pixels, uint8 (H, W, 3)."""
    from PIL import ImageDraw

    scale = SIDE_PX / max(picture.size)
    sheet = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    pen = ImageDraw.Draw(sheet)
    signs = letters_of(names)
    for box, solid in (*((box, False) for box in truth), *((box, True) for box in told)):
        place = names.index(box.label) if box.label in names else len(COLOURS) - 1
        _outline(
            pen, [side * scale for side in (box.x1, box.y1, box.x2, box.y2)], COLOURS[place % len(COLOURS)], solid=solid
        )
        if solid:
            _sign(
                pen,
                box.x1 * scale,
                box.y1 * scale,
                signs.get(box.label, "?") + ("" if box.score is None else f" {round(100 * box.score)}"),
                COLOURS[place % len(COLOURS)],
            )
    return np.asarray(sheet, dtype=np.uint8)


def _outline(pen: ImageDraw, edges: Sequence[float], colour: str, *, solid: bool) -> None:
    x1, y1, x2, y2 = edges
    if solid:
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        return
    for start, stop in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        for one, other in _dashes(start, stop):
            pen.line((*one, *other), fill="#ffffff", width=3)
            pen.line((*one, *other), fill=colour, width=1)


def _dashes(
    start: tuple[float, float], stop: tuple[float, float]
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    length = abs(stop[0] - start[0]) + abs(stop[1] - start[1])
    steps = max(1, int(length / _DASH_PX))
    ends = [tuple(a + (b - a) * step / steps for a, b in zip(start, stop, strict=True)) for step in range(steps + 1)]
    for step in range(0, steps, 2):
        yield (ends[step][0], ends[step][1]), (ends[step + 1][0], ends[step + 1][1])


def _sign(pen: ImageDraw, x: float, y: float, words: str, colour: str) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(_TEXT_PX)
    left, top, right, bottom = pen.textbbox((x + 2, max(0.0, y - _TEXT_PX - 2)), words, font=font)
    pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=colour)
    pen.text((x + 2, max(0.0, y - _TEXT_PX - 2)), words, fill="#ffffff", font=font)
