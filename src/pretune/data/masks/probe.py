"""Masks: one careful look at each file, and its regions by the values that stand in it.

Values keep what they are until all masks were seen (:mod:`pretune.data.masks.names`): ``7`` is a grey value, ``7|#ff0000`` entry 7 of a
palette with its colour, ``#ff0000`` a colour. A palette is read as its numbers, never as colours.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from pretune.answers.mask import NONE, Mask
from pretune.data.media.base import BrokenMedia, Media, whole_file
from pretune.data.media.image import LOSSY, load_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_VALUES", "probe_mask"]

MOST_VALUES = 254
"""Classes of one data set at most: 255 stands for none."""
_MOST_COLOURS = 64
_GREY = ("1", "L", "I;16", "I;16L", "I;16B", "I;16N", "I")


def probe_mask(stream: BinaryIO, name: str, path: Path | None) -> Media:
    """Read one mask; the cell is the JSON value of a :class:`~pretune.answers.mask.Mask` whose classes are values of the file.

    Raises :class:`BrokenMedia`, also for more values than masks have (colours blurred by scaling or JPEG).
    """
    picture = load_image(io.BytesIO(whole_file(stream, name)), name)
    if picture.format in LOSSY:
        raise BrokenMedia("lossy", name)
    values_HW, names = _values(picture, name)
    mask = Mask.of(values_HW.astype(np.uint8), names)
    width, height = picture.size
    return Media(mask.to_json(), 0, str(picture.format), picture.mode, width=width, height=height, name=name)


def _values(picture: Image, name: str) -> tuple[np.ndarray, list[str]]:
    """Places in the list of names (H, W), and the names of the values; :data:`NONE` where a picture is transparent."""
    if picture.mode in _GREY:
        numbers_HW = np.asarray(picture).astype(np.int64) * (255 if picture.mode == "1" else 1)
        values, places_HW = _distinct(numbers_HW, MOST_VALUES, name)
        return places_HW, [str(value) for value in values]
    if picture.mode == "P":
        values, places_HW = _distinct(np.asarray(picture), MOST_VALUES, name)
        colours = np.frombuffer(bytes(picture.getpalette("RGB") or []), dtype=np.uint8).reshape(-1, 3)
        return places_HW, [f"{v}|{_colour(colours[v])}" if v < len(colours) else str(v) for v in values]
    if picture.mode not in ("RGB", "RGBA", "LA"):
        raise BrokenMedia("foreign", name, f"mode {picture.mode}")
    pixels_HW4 = np.asarray(picture.convert("RGBA")).astype(np.int64)
    clear_HW = pixels_HW4[..., 3] == 0
    codes_HW = np.where(clear_HW, -1, pixels_HW4[..., :3] @ np.array([65536, 256, 1]))
    values, places_HW = _distinct(codes_HW, _MOST_COLOURS, name)
    if clear_HW.any():
        values, places_HW = values[1:], np.where(clear_HW, NONE, places_HW - 1)
    return places_HW, [f"#{value:06x}" for value in values]


def _distinct(values_HW: np.ndarray, most: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, and the place of each pixel's among them (H, W). Raises :class:`BrokenMedia` for more than ``most``."""
    values, places = np.unique(values_HW, return_inverse=True)
    if len(values) > most:
        raise BrokenMedia("many_values", name, f"{len(values)} of them")
    return values, places.reshape(values_HW.shape)


def _colour(rgb: np.ndarray) -> str:
    return "#" + bytes(rgb.tolist()).hex()
