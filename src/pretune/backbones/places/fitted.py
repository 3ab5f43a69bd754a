"""Pictures fitted whole into one size, and answers for their places brought back to the pictures' own.

A picture is scaled until it fits and laid into the upper left corner; the rest is filled. So the way back is one number.
Shapes: H and W the size that all are fitted into, h and w a picture scaled, h0 and w0 as it came; C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers.mask import NONE
from pretune.modalities.image.transform import ImageTransform

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "ROUND_TO",
    "common_size",
    "fit_mask",
    "fit_picture",
    "fitted_size",
    "fitted_transform",
    "largest_of",
    "mean_colour",
]

ROUND_TO = 32
"""Sides are multiples of the coarsest stride of a trunk."""
_SHORTEST, _MOST_RATIO = 256, 2.5


def fitted_transform(geometry: ImageTransform, size: tuple[int, int]) -> ImageTransform:
    """The geometry of a model's inputs at this size (height, width): its colours stay."""
    return dataclasses.replace(geometry, crop=size, exact=size, shortest=None)


def common_size(widths: Sequence[int], heights: Sequence[int], shortest: int | None) -> tuple[int, int]:
    """The size (height, width) that pictures are fitted into: their usual shape, the shorter side ``shortest`` pixels (default: their
    own, 256 at most), both rounded to multiples of 32.
    """
    width_N, height_N = np.asarray(widths, dtype=np.float64), np.asarray(heights, dtype=np.float64)
    ratio = float(np.clip(np.exp(np.median(np.log(width_N / height_N))), 1 / _MOST_RATIO, _MOST_RATIO))
    side = shortest or min(_SHORTEST, int(np.median(np.minimum(width_N, height_N))))
    low = max(ROUND_TO, round(side / ROUND_TO) * ROUND_TO)
    high = max(ROUND_TO, round(side * max(ratio, 1 / ratio) / ROUND_TO) * ROUND_TO)
    return (low, high) if ratio >= 1 else (high, low)


def fitted_size(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """The size (h, w) of a picture scaled to fit into ``size`` (H, W)."""
    scale = min(size[0] / height, size[1] / width)
    return min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale)))


def mean_colour(geometry: ImageTransform) -> tuple[int, ...]:
    """The colour that a model sees as nothing: 0 after normalising."""
    return tuple(round(min(255.0, max(0.0, one / geometry.scale))) for one in geometry.mean)


def fit_picture(picture: Image, geometry: ImageTransform) -> np.ndarray:
    """uint8 (H, W, 3)."""
    height, width = fitted_size(*picture.size, geometry.crop)
    scaled = picture if picture.size == (width, height) else picture.resize((width, height), geometry.resample)
    found = np.empty((*geometry.crop, 3), dtype=np.uint8)
    found[:] = mean_colour(geometry)
    found[:height, :width] = np.asarray(scaled, dtype=np.uint8)
    return found


def fit_mask(mask_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Numbers of classes uint8 (h0, w0) as (H, W), each pixel that of its nearest; :data:`NONE` beside the picture."""
    from PIL import Image

    height, width = fitted_size(mask_hw.shape[1], mask_hw.shape[0], size)
    found = np.full(size, NONE, dtype=np.uint8)
    found[:height, :width] = np.asarray(Image.fromarray(mask_hw).resize((width, height), Image.Resampling.NEAREST))
    return found


def largest_of(planes_Chw: np.ndarray, own: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The number of the plane that is largest at each pixel of the picture as it came, uint8 (h0, w0); ``own`` is its size (h0, w0), the
    planes are over the size (H, W) that it was fitted into.

    Planes are enlarged one after the other, so that a large picture needs two of its size and not one a class.
    """
    from PIL import Image

    height, width = fitted_size(own[1], own[0], size)
    box = (0.0, 0.0, width * planes_Chw.shape[2] / size[1], height * planes_Chw.shape[1] / size[0])

    def enlarged(plane_hw: np.ndarray) -> np.ndarray:
        plane: Any = Image.fromarray(np.ascontiguousarray(plane_hw, dtype=np.float32))
        return np.asarray(plane.resize((own[1], own[0]), Image.Resampling.BILINEAR, box=box))

    best, number = enlarged(planes_Chw[0]), np.zeros(own, dtype=np.uint8)
    for place, plane in enumerate(planes_Chw[1:], 1):
        other = enlarged(plane)
        is_larger = other > best
        best, number = np.where(is_larger, other, best), np.where(is_larger, np.uint8(place), number)
    return number
