"""Pictures to pixels for the exported model in this folder; :mod:`predict` uses it.

Shapes: B items of a batch; H, W the sides of a picture in pixels.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Reader:
    """Pictures to pixels, scaled and cut to what the model sees."""

    most_together = 32

    def __init__(self, _folder: Path, about: dict[str, Any], _beside: Callable[[str], Any]) -> None:
        self.told = about["inputs"]

    def items(self, row: dict[str, Any]) -> list[np.ndarray]:
        """The crop of a picture: uint8 (H, W, 3)."""
        picture = rgb(row["image"])
        width, height = picture.size
        if self.told["exact"]:
            size = (self.told["exact"][1], self.told["exact"][0])
        else:
            shortest = self.told["shortest"] or max(self.told["crop"])
            longest = int(shortest / min(width, height) * max(width, height))
            size = (longest, shortest) if width >= height else (shortest, longest)
        scaled = picture if size == picture.size else picture.resize(size, self.told["resample"])
        pixels = np.asarray(scaled, dtype=np.uint8)
        most = 2 * min(pixels.shape[:2])
        within = middle(pixels, (min(pixels.shape[0], most), min(pixels.shape[1], most)))
        return [middle(within, self.told["crop"])]

    def inputs(self, items: list[np.ndarray]) -> dict[str, np.ndarray]:
        """``pixel_values`` (B, 3, H, W)."""
        std_C, mean_C = (np.array(self.told[key], dtype=np.float32) for key in ("std", "mean"))
        gain_C = np.float32(self.told["scale"]) / std_C
        values = np.stack(items).astype(np.float32) * gain_C - mean_C / std_C
        return {"pixel_values": np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)}

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The logits of an item."""
        return logits


def rgb(source: Any) -> Any:
    """A picture (path or bytes) upright, in RGB, what is transparent on white; grey of 16 bits by its full range."""
    from PIL import Image, ImageOps

    try:
        picture = Image.open(io.BytesIO(source if isinstance(source, bytes) else Path(source).read_bytes()))
        picture.load()
    except Exception as error:  # decoders raise many kinds
        raise ValueError(f"{'the picture' if isinstance(source, bytes) else source} cannot be read: {error}") from None
    with contextlib.suppress(Exception):  # damaged metadata says nothing
        if picture.getexif().get(0x0112, 1) in range(2, 9):
            picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        values = np.clip(np.asarray(picture).astype(np.int64), 0, 65_535) / 257.0
        return Image.fromarray(np.round(values).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        values = np.clip(np.asarray(picture), 0, None) * (255.0 / max(1.0, float(np.asarray(picture).max())))
        return Image.fromarray(np.round(values).astype(np.uint8)).convert("RGB")
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        over = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return picture.convert("RGB")


def middle(pixels: np.ndarray, crop: Any) -> np.ndarray:
    """The middle (height, width) of a picture; where it is smaller, black is added around it."""
    rows, columns = (max(0, crop[axis] - pixels.shape[axis]) for axis in (0, 1))
    pixels = np.pad(pixels, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)))
    top, left = (pixels.shape[0] - crop[0]) // 2, (pixels.shape[1] - crop[1]) // 2
    return pixels[top : top + crop[0], left : left + crop[1]]
