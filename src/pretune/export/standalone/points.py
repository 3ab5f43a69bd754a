"""Pictures to pixels for the keypoint model in this folder, and its heat maps to points; :mod:`predict` uses it.

Shapes: J points, h and w the sides of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Reader:
    """Pictures fitted whole into one size; the peak of each point's map, in pixels of the picture as it came."""

    most_together = 8

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.size = about["inputs"]["crop"]
        self.masks = beside("masks")
        self.fitting = self.masks.Reader(folder, about, beside)
        self.peaks = beside("peaks")

    def items(self, row: dict[str, Any]) -> list[Any]:
        """One item."""
        return self.fitting.items(row)

    def inputs(self, items: list[Any]) -> dict[str, np.ndarray]:
        """``pixel_values`` (B, 3, H, W)."""
        return self.fitting.inputs(items)

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The logits of an item, (J, h, w)."""
        return logits

    def answer(self, outputs: list[np.ndarray], items: list[Any]) -> dict[str, Any]:
        """The points: x, y, and how sure."""
        logits = outputs[0].astype(np.float32)
        powers = np.exp(logits - logits.max(axis=(1, 2), keepdims=True))
        own = items[0].own
        height, width = self.masks.fitted(own, self.size)
        reach = np.array([self.size[1] * own[1] / width, self.size[0] * own[0] / height, 1.0])
        found = self.peaks.peaks_of(powers / powers.sum(axis=(1, 2), keepdims=True)) * reach
        points = np.minimum(found, [own[1], own[0], 1.0]).tolist()
        return {"keypoints": [[round(part, 4) for part in point] for point in points]}
