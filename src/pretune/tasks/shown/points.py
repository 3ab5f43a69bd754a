"""Points drawn over their pictures, joined where a body joins them, as small pictures for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.answers.sides import bones_of, side_of
from pretune.data.media.image import decode_image
from pretune.tasks.shown.thumbnails import picture_address

__all__ = ["both_poses", "drawn_pose", "one_pose"]

_SIDE, _GAP, _RADIUS = 300, 6, 4
_COLOURS = {"left": (230, 159, 0), "right": (0, 114, 178), "": (255, 255, 255)}
"""Okabe and Ito's orange and blue, which people with any colour vision tell apart."""
_PALE = 0.15


def drawn_pose(pixels: np.ndarray, points: Sequence[Sequence[float]], names: Sequence[str], scale: float) -> np.ndarray:
    """The picture (H, W, 3) with the known points, which are in pixels of one ``scale`` times smaller or larger."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture, "RGBA")
    places = {j: (x * scale, y * scale) for j, (x, y, v) in enumerate(points) if v > 0}
    opacity = {j: 255 if points[j][2] > _PALE else 110 for j in places}
    for one, other in bones_of(names):
        if one in places and other in places:
            sides = {side_of(names[j]) for j in (one, other)} - {""}
            colour = _COLOURS[sides.pop() if len(sides) == 1 else ""]
            pen.line([places[one], places[other]], (*colour, min(opacity[one], opacity[other])), width=3)
    for j, (x, y) in places.items():
        box = [x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS]
        pen.ellipse(box, (*_COLOURS[side_of(names[j])], opacity[j]), outline=(0, 0, 0, opacity[j]))
    return np.asarray(picture.convert("RGB"))


def both_poses(
    image: Mapping[str, Any], truth: Sequence[Sequence[float]], answer: Sequence[Sequence[float]], names: Sequence[str]
) -> str:
    """The address of one picture: with its true points, then with the answered ones."""
    pixels, scale = _small(image)
    gap = np.full((pixels.shape[0], _GAP, 3), 255, dtype=np.uint8)
    one, other = (drawn_pose(pixels, points, names, scale) for points in (truth, answer))
    joined = np.concatenate([one, gap, other], axis=1)
    return picture_address(joined, max(joined.shape))


def one_pose(image: Mapping[str, Any], points: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """The address of one picture with its points."""
    pixels, scale = _small(image)
    return picture_address(drawn_pose(pixels, points, names, scale), _SIDE)


def _small(image: Mapping[str, Any]) -> tuple[np.ndarray, float]:
    """A picture whose longer side is 300 pixels, and by what it was scaled."""
    from PIL import Image

    picture = decode_image(image)
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale)))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR)), scale
