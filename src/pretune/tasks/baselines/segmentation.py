"""What simple methods answer to pictures without looking at them: the commonest class, and the commonest at each place.

Shapes: C classes, S the sides of the grid of places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pretune.answers import Mask
from pretune.answers.mask import NONE
from pretune.metrics.base import Measured, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset

__all__ = ["segmentation_baselines"]

_SIDE = 64


def segmentation_baselines(
    metric: Metric, train: Dataset, rows: Dataset, labels: Sequence[str]
) -> tuple[dict[str, Measured], list[str]]:
    """``majority``: the class that most pixels of the training masks have; ``majority-by-place``: that which most have at the same place of
    the picture, on a grid of 64 x 64.
    """
    counts_CSS = np.zeros((len(labels), _SIDE, _SIDE))
    for cell in train["mask"]:
        if cell is not None:
            small_SS = _at_grid(Mask.from_json(cell).pixels(labels), (_SIDE, _SIDE))
            for number in np.unique(small_SS[small_SS != NONE]):
                counts_CSS[number] += small_SS == number
    everywhere = np.full((_SIDE, _SIDE), counts_CSS.sum(axis=(1, 2)).argmax(), dtype=np.uint8)
    by_place = np.where(counts_CSS.sum(axis=0) > 0, counts_CSS.argmax(axis=0), everywhere).astype(np.uint8)
    truths = list(rows["mask"])
    measured = {}
    for name, grid_SS in (("majority", everywhere), ("majority-by-place", by_place)):
        records = [
            {"id": row, "mask": Mask.of(_at_grid(grid_SS, tuple(truth["size"])), labels).to_json(), "truth": truth}
            for row, truth in zip(rows["id"], truths, strict=True)
        ]
        measured[name] = metric.measure(records)
    return measured, []


def _at_grid(mask_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask at another size, each pixel that of its nearest."""
    from PIL import Image

    return np.asarray(Image.fromarray(mask_hw).resize((size[1], size[0]), Image.Resampling.NEAREST))
