"""Pictures with their points, fitted into one size once and read from disk by number.

Shapes: N rows, J points, H and W the size that pictures are fitted into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.backbones.places.fitted import fit_picture, fitted_size
from pretune.data.media.image import decode_image
from pretune.modalities.image.pixels import store_pixels
from pretune.tasks.places.dense import OWN, DenseTask
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["PointedRows", "fit_points", "store_pointed"]


def fit_points(points_J3: np.ndarray, own: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Points of a picture of ``own`` size (h0, w0) as float32 in one fitted into ``size`` (H, W)."""
    height, width = fitted_size(own[1], own[0], size)
    return (points_J3 * [width / own[1], height / own[0], 1.0]).astype(np.float32)


def store_pointed(task: DenseTask, dataset: Dataset, *, fingerprint: str) -> PointedRows:
    """Every picture of ``dataset``, kept on disk under ``fingerprint``, with its points.

    Raises :class:`pretune.errors.DataError` for a picture that cannot be read, :class:`~pretune.errors.DiskFull`.
    """
    images = dataset.with_format("arrow")[:]["image"]

    def read(index: int) -> np.ndarray:
        return fit_picture(decode_image(images[index].as_py()), task.geometry)

    picture = store_pixels(len(dataset), read, task.geometry, fingerprint=f"{fingerprint}:{task.inputs_identity()}")
    return PointedRows(dataset, picture, task.geometry.crop, task.cost)


class PointedRows:
    """Fitted pictures uint8 (H, W, 3) by number, their targets the fitted points (J, 3)."""

    def __init__(
        self, dataset: Dataset, picture: Callable[[int], np.ndarray], size: tuple[int, int], cost: int
    ) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._picture, self._size = picture, size
        self._sizes_N2 = np.stack([np.array(dataset["height"]), np.array(dataset["width"])], axis=1).reshape(-1, 2)
        self._points = dataset.with_format("arrow")[:]["keypoints"] if "keypoints" in dataset.column_names else None
        self.lengths_N = np.full(len(dataset), cost, dtype=np.int64)
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        cell = None if self._points is None else self._points[index].as_py()
        own = self._sizes_N2[index]
        target = None if cell is None else fit_points(np.array(cell), (int(own[0]), int(own[1])), self._size)
        arrays = {"pixels": self._picture(index), OWN: own}
        return Encoded(self._ids[index].as_py(), arrays, int(self.lengths_N[index]), target)
