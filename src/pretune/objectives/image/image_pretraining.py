"""What every pre-training on pictures shares: stored rows, variations, and features of held-out rows that are looked at.

Shapes: N rows, B rows of a batch, H and W the sides of a picture in pixels, D features, K statistics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch

from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream
from pretune.engine.randomness import row_keys, uniform
from pretune.modalities import Modality
from pretune.modalities.image.transform import ImageTransform, collate_pixels, image_transform_of, pictures_of
from pretune.modalities.image.views import DRAWS, VIEWS
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.representation import collapse_warnings, health_scores
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.pictures import StoredPictures, store_pictures
from pretune.tasks.shown.thumbnails import picture_address
from pretune.types import Batch, Feed

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings

__all__ = ["HeldOut", "ImagePretraining", "classes_of", "pretraining_transform", "told"]

_HELD_OUT_ROWS = 256
"""Held-out rows looked at together: among so many a variation has to find its twin."""

_FEWEST_ROWS = 20
_SHOWN = 6
_REMEDY = "lower --learning-rate, raise --batch-size, or choose another --objective"


def pretraining_transform(backbone: Backbone, settings: PretrainingSettings) -> ImageTransform:
    """The geometry of the backbone's pictures at the size that the settings ask for."""
    return image_transform_of(backbone.processor).at(settings.image_size)


class HeldOut(NamedTuple):
    """A batch of held-out rows: their numbers, keys, pictures, and class numbers (-1 for none)."""

    places: np.ndarray
    keys: np.ndarray
    pictures: list[np.ndarray]
    targets: np.ndarray


class ImagePretraining(Pretraining):
    """Pictures without labels. A paradigm adds model, collate, loss and what it measures on held-out rows.

    A column ``label`` is looked at for the accuracy of nearest neighbours only; nothing is learned from it.
    """

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE,)
    columns: ClassVar[tuple[str, ...]] = ("image",)
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["image"], "augment")
    shown: ClassVar[str]
    """What the page says of :meth:`blocks`."""

    def __init__(self, geometry: ImageTransform, *, augment: str) -> None:
        self.geometry = geometry
        self.augment = augment
        self._last: dict[str, float] = {}

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> StoredPictures:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return store_pictures(dataset, self.geometry, fingerprint=fingerprint, targets=classes_of(dataset))

    @abstractmethod
    def collate(self, pictures: Sequence[np.ndarray], keys_B: np.ndarray, ids: Sequence[str]) -> Batch:
        """The batch of these pictures, its draws a function of the rows' keys."""

    @abstractmethod
    def learned_pixels(self, batch: Batch) -> torch.Tensor:
        """What the model is given of a batch, (B, V, 3, H, W): V variations of each picture, what is hidden at 0."""

    def blocks(self, rows: EncodedRows) -> list[dict[str, Any]]:
        """A few held-out pictures as the model would learn from them."""
        numbers = np.arange(min(_SHOWN, len(rows)))
        pixels = self.learned_pixels(self.batch_of(rows, numbers, row_keys(0, "shown", 0, numbers)))
        shown = [
            {"image": picture_address(picture), "caption": ""}
            for picture in pictures_of(pixels.flatten(0, 1), self.geometry)
        ]
        return [{"type": "pictures", "title": "What it learned from", "note": self.shown, "rows": shown}]

    def views(self, pictures: Sequence[np.ndarray], keys_B: np.ndarray, number: int) -> torch.Tensor:
        """``pixel_values`` (B, 3, H, W): variation ``number`` of each picture; the middle where nothing is varied."""
        if self.augment == "none":
            return collate_pixels(pictures, self.geometry)
        return VIEWS[self.augment].of(pictures, uniform(keys_B, DRAWS, number), self.geometry)

    def stream(self, rows: EncodedRows, *, batch_size: int, is_whole: bool = False, cost: int = 1) -> Stream:
        """The stream of all rows, each of which costs ``cost`` passes through the encoder."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"pictures": self.batch_of(rows, rows_R, keys_R)}

        return Stream(cost * rows.lengths_N, collate, batch_size, False, is_whole)

    def batch_of(self, rows: EncodedRows, rows_R: np.ndarray, keys_R: np.ndarray) -> Batch:
        """The batch of rows by number."""
        items = [rows[int(i)] for i in rows_R]
        return self.collate([item.arrays["pixels"] for item in items], keys_R, [item.id for item in items])

    @staticmethod
    def held_out_batches(rows: EncodedRows) -> Iterator[HeldOut]:
        """Batches of like size, alike at every call."""
        for places in np.array_split(np.arange(len(rows)), max(1, -(-len(rows) // _HELD_OUT_ROWS))):
            items = [rows[int(i)] for i in places]
            targets = np.array([-1 if item.target is None else item.target for item in items], dtype=np.int64)
            yield HeldOut(
                places, row_keys(0, "held-out", 0, places), [item.arrays["pixels"] for item in items], targets
            )

    def remember(self, stats_NK: np.ndarray) -> np.ndarray:
        """Keep the scores of these statistics for :meth:`warnings`; a handful of rows says nothing of directions."""
        if len(stats_NK) >= _FEWEST_ROWS:
            self._last = {name: float(value) for name, value in self.scores(stats_NK.sum(axis=0)).items()}
        return stats_NK

    def health(self, sums_K: np.ndarray) -> dict[str, Any]:
        """See :func:`pretune.objectives.representation.health_scores`."""
        return health_scores(sums_K)

    def warnings(self) -> Sequence[str]:
        """What the last statistics say of the features; nothing before there were any."""
        return collapse_warnings(self._last, remedy=_REMEDY) if self._last else ()

    def to_dict(self) -> dict[str, Any]:
        """Name, side of the pictures, how they were varied."""
        return {"task": self.name, "image_size": self.geometry.crop[0], "augment": self.augment}


def classes_of(dataset: Dataset) -> list[int | None] | None:
    """Class numbers of the labels, None where there is none; None in all without the column."""
    if "label" not in dataset.column_names:
        return None
    names = list(dataset["label"])
    number = {name: place for place, name in enumerate(sorted({name for name in names if name is not None}))}
    return [None if name is None else number[name] for name in names]


def told(on_batch: Callable[[int], None] | None, rows: np.ndarray) -> None:
    """Tell that a batch is done."""
    if on_batch:
        on_batch(len(rows))
