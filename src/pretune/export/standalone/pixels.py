"""Pictures as tiny ones and their colours for the exported model in this folder; :mod:`predict` uses it.

Shapes: B items of a batch, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, BINS = 12, 4


class Reader:
    """A picture as 12 x 12 pixels and a histogram of 4 x 4 x 4 colours."""

    most_together = 32

    def __init__(self, _folder: Path, _about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.rgb = beside("pictures").rgb

    def items(self, row: dict[str, Any]) -> list[np.ndarray]:
        """The features of a picture, float32 (F,)."""
        small = self.rgb(row["image"]).resize((SIDE * 4, SIDE * 4))
        pixels = np.asarray(small, dtype=np.uint8).reshape(-1, 3) // (256 // BINS)
        colours = np.bincount(pixels @ np.array([BINS * BINS, BINS, 1]), minlength=BINS**3) / len(pixels)
        tiny = np.asarray(small.resize((SIDE, SIDE)), dtype=np.float32).reshape(-1) / 255
        return [np.concatenate([tiny, np.sqrt(colours)]).astype(np.float32)]

    def inputs(self, items: list[np.ndarray]) -> dict[str, np.ndarray]:
        """``numbers`` (B, F)."""
        return {"numbers": np.stack(items)}

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The logits of an item."""
        return logits
