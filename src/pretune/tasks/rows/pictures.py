"""The pictures of a data set, decoded and scaled once and read from disk by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.media.image import decode_image
from pretune.modalities.image.pixels import store_pixels
from pretune.modalities.image.transform import ImageTransform, patches_of, resized
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["StoredPictures", "store_pictures"]


class StoredPictures:
    """Pictures uint8 (H, W, 3), not cut to the crop yet, with their ids and targets."""

    def __init__(
        self,
        dataset: Dataset,
        picture: Callable[[int], np.ndarray],
        targets: Sequence[Any] | None,
        cost: int,
    ) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._picture = picture
        self._targets = targets
        self.lengths_N = np.full(len(dataset), cost, dtype=np.int64)
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        target = None if self._targets is None else self._targets[index]
        return Encoded(self._ids[index].as_py(), {"pixels": self._picture(index)}, int(self.lengths_N[index]), target)


def store_pictures(
    dataset: Dataset, geometry: ImageTransform, *, fingerprint: str, targets: Sequence[Any] | None = None
) -> StoredPictures:
    """Every picture of ``dataset`` scaled as ``geometry`` says, kept on disk under ``fingerprint``.

    Raises :class:`pretune.errors.DataError` for a picture that cannot be read.
    """
    images = dataset.with_format("arrow")[:]["image"]

    def read(index: int) -> np.ndarray:
        return resized(decode_image(images[index].as_py()), geometry)

    picture = store_pixels(len(dataset), read, geometry, fingerprint=fingerprint)
    return StoredPictures(dataset, picture, targets, patches_of(geometry))
