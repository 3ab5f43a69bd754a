"""Pictures of any shape on a canvas of one size: scaled until they fit, put into its upper left corner, the rest filled.

So a place on the canvas is a place of the picture times one number a side, and back. Shapes: pictures are uint8 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pretune.modalities.image.transform import ImageTransform, normalised

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["STEP_PX", "Canvas", "canvas_for", "collate_canvas", "fitted"]

STEP_PX = 32
"""Sides of a canvas are multiples of this, the coarsest stride of maps."""


@dataclass(frozen=True)
class Canvas:
    """``height`` and ``width`` in pixels, and how pictures are scaled and normalised: ``geometry``, whose crop is not used."""

    height: int
    width: int
    geometry: ImageTransform

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour that becomes 0 for the model: the mean of what it was trained on."""
        red, green, blue = (min(255, max(0, round(mean / self.geometry.scale))) for mean in self.geometry.mean)
        return red, green, blue

    def identity(self) -> str:
        """The same text for the same stored pixels."""
        return f"canvas:{self.height}:{self.width}:{self.geometry.resample}"


def canvas_for(widths_N: np.ndarray, heights_N: np.ndarray, longest_px: int, geometry: ImageTransform) -> Canvas:
    """The canvas for pictures of these sizes: their usual shape (the median of width over height), its longer side
    ``longest_px``, both rounded up to multiples of 32.
    """
    shape = float(np.median(np.asarray(widths_N, dtype=np.float64) / np.asarray(heights_N))) if len(widths_N) else 1.0
    shape = min(4.0, max(0.25, shape))
    height, width = (longest_px / shape, longest_px) if shape >= 1 else (longest_px, longest_px * shape)
    tall, wide = (int(np.ceil((side - 0.5) / STEP_PX)) * STEP_PX for side in (height, width))
    return Canvas(tall, wide, geometry)


def fitted(picture: Image, canvas: Canvas) -> np.ndarray:
    """An RGB picture scaled to fit the canvas, not put on it yet: uint8 (h, w, 3) with h and w the canvas's at most."""
    width, height = picture.size
    ratio = min(canvas.width / width, canvas.height / height)
    size = (max(1, min(canvas.width, round(width * ratio))), max(1, min(canvas.height, round(height * ratio))))
    scaled = picture if size == picture.size else picture.resize(size, canvas.geometry.resample)
    return np.asarray(scaled, dtype=np.uint8)


def collate_canvas(pictures: Sequence[np.ndarray], canvas: Canvas) -> torch.Tensor:
    """``pixel_values`` (B, 3, H, W) float32 of fitted pictures: put on the canvas, scaled and normalised."""
    whole = np.empty((len(pictures), canvas.height, canvas.width, 3), dtype=np.uint8)
    whole[:] = np.array(canvas.fill, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        whole[number, : picture.shape[0], : picture.shape[1]] = picture
    return normalised(torch.from_numpy(whole).float(), canvas.geometry)
