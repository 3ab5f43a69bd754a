"""Pictures to pixels for the segmentation model in this folder, and its answers to masks; :mod:`predict` uses it.

Shapes: C classes; H and W the size that pictures are fitted into, h0 and w0 a picture as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Item:
    """A fitted picture uint8 (H, W, 3), and the height and width that it came with."""

    pixels: np.ndarray
    own: tuple[int, int]


class Reader:
    """Pictures fitted whole into one size; the most probable class of each pixel, at the picture's own size."""

    most_together = 8

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.told, self.labels = about["inputs"], about.get("labels", [])
        self.pictures = beside("pictures")
        self.plain = self.pictures.Reader(folder, about, beside)
        self.rle = beside("rle")

    def items(self, row: dict[str, Any]) -> list[Item]:
        """One item."""
        picture = self.pictures.rgb(row["image"])
        own = (picture.size[1], picture.size[0])
        height, width = fitted(own, self.told["crop"])
        scaled = picture if picture.size == (width, height) else picture.resize((width, height), self.told["resample"])
        pixels = np.empty((*self.told["crop"], 3), dtype=np.uint8)
        pixels[:] = [round(min(255.0, max(0.0, one / self.told["scale"]))) for one in self.told["mean"]]
        pixels[:height, :width] = np.asarray(scaled, dtype=np.uint8)
        return [Item(pixels, own)]

    def inputs(self, items: list[Item]) -> dict[str, np.ndarray]:
        """``pixel_values`` (B, 3, H, W)."""
        return self.plain.inputs([item.pixels for item in items])

    def real(self, logits: np.ndarray, item: Item) -> np.ndarray:
        """The logits of an item, (C, h, w)."""
        return logits

    def answer(self, outputs: list[np.ndarray], items: list[Item]) -> dict[str, Any]:
        """The mask: its size, the classes that occur and the run lengths of each, as COCO writes them."""
        powers = np.exp(outputs[0].astype(np.float32) - outputs[0].max(axis=0))
        own = items[0].own
        numbers = largest_of(powers / powers.sum(axis=0), own, self.told["crop"])
        present = [int(number) for number in np.unique(numbers)]
        counts = [self.rle.encode_rle(numbers == number) for number in present]
        return {"mask": {"size": list(own), "classes": [self.labels[number] for number in present], "counts": counts}}


def fitted(own: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture (height, width) scaled to fit."""
    scale = min(size[0] / own[0], size[1] / own[1])
    return min(size[0], max(1, round(own[0] * scale))), min(size[1], max(1, round(own[1] * scale)))


def largest_of(planes_Chw: np.ndarray, own: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The number of the plane that is largest at each pixel of the picture as it came, (h0, w0)."""
    from PIL import Image

    height, width = fitted(own, size)
    box = (0.0, 0.0, width * planes_Chw.shape[2] / size[1], height * planes_Chw.shape[1] / size[0])
    best, number = np.full(own, -np.inf, dtype=np.float32), np.zeros(own, dtype=np.uint8)
    for place, plane in enumerate(planes_Chw):
        picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        other = np.asarray(picture.resize((own[1], own[0]), Image.Resampling.BILINEAR, box=box))
        is_larger = other > best
        best, number = np.where(is_larger, other, best), np.where(is_larger, np.uint8(place), number)
    return number
