"""Image classification: one label for a picture.

Shapes: B pictures of a batch, H and W their sides in pixels; pictures are uint8 (H, W, 3) until they are collated.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch

from pretune.backbones.augment import AUGMENTS, Augment
from pretune.backbones.image import Geometry, collate_pixels, geometry_of, patches_of, resized
from pretune.backbones.pixels import store_pixels
from pretune.data.media_image import decode_image
from pretune.tasks.classification import Classification
from pretune.tasks.image_baselines import image_baselines
from pretune.tasks.thumbnails import thumbnail
from pretune.types import Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["ImageClassification"]


@final
class ImageClassification(Classification):
    """Single-label classification of pictures.

    ``augment`` is one of :data:`pretune.backbones.augment.AUGMENTS`. A model whose positions are learned for one size of
    picture (a ViT) interpolates them for another.
    """

    name: ClassVar[str] = "image-classification"
    modality: ClassVar[str] = "image"
    columns: ClassVar[tuple[str, ...]] = ("image", "label")
    auto_class: ClassVar[str] = "AutoModelForImageClassification"

    def __init__(self, labels: Sequence[str], geometry: Geometry, *, augment: str = "none", **options: Any) -> None:
        super().__init__(labels, **options)
        self.geometry = geometry
        self.cost = patches_of(geometry)
        self.augmentation: Augment = AUGMENTS[augment]

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> ImageClassification:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        geometry = geometry_of(backbone.processor).at(settings.image_size)
        augment = settings.augment
        if augment == "auto":
            augment = "none" if settings.adapt == "head" or settings.adapt.startswith("top:") else "light"
        return cls(labels, geometry, augment=augment, **options)

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The classifier that transformers has for the backbone."""
        model, report = super().build(backbone, seed=seed)
        told = getattr(backbone.config, "image_size", None)
        size = told if isinstance(told, int) else None
        is_other = size is not None and self.geometry.crop != (size, size)
        if is_other and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
            model.register_forward_pre_hook(_interpolating, with_kwargs=True)
        return model, report

    def encode(self, example: Example) -> list[Encoded]:
        """One picture, decoded and scaled."""
        pixels = resized(decode_image(example.inputs["image"]), self.geometry)
        return [Encoded(example.id, {"pixels": pixels}, self.cost, self.target_of(example.target), example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> _StoredRows:
        """See :class:`pretune.tasks.base.Task`."""
        images = dataset.with_format("arrow")[:]["image"]

        def read(index: int) -> np.ndarray:
            return resized(decode_image(images[index].as_py()), self.geometry)

        pictures = store_pixels(len(dataset), read, self.geometry, fingerprint=fingerprint)
        return _StoredRows(dataset, pictures, self.targets_of(dataset), self.cost)

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The picture cropped, turned or coloured anew."""
        pixels = self.augmentation.picture(row.arrays["pixels"], self.geometry.crop, rng)
        return Encoded(row.id, {"pixels": pixels}, row.cost, row.target, row.weight)

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """``pixel_values`` (B, 3, H, W)."""
        pixels = collate_pixels([row.arrays["pixels"] for row in rows], self.geometry)
        cost = self.cost * len(rows)
        return {"pixel_values": pixels}, cost, cost

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Id and thumbnail."""
        return {"id": row["id"], "image": thumbnail(row["image"])}

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, np.ndarray], list[str]]:
        """The majority class, and logistic regression on tiny pictures and colours."""
        return image_baselines(train, rows, self.labels)

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> ImageClassification:
        """See :class:`pretune.tasks.base.Task`."""
        geometry = geometry_of(backbone.processor).at(about.get("image_size"))
        temperature = float(about.get("temperature", 1.0))
        return cls(about["labels"], geometry, augment=about.get("augment", "none"), temperature=temperature)

    def to_dict(self) -> dict[str, Any]:
        """Name, labels, temperature, side of the pictures and how they were varied."""
        return {**super().to_dict(), "image_size": self.geometry.crop[0], "augment": self.augmentation.name}


def _interpolating(_model: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return arguments, {**named, "interpolate_pos_encoding": True}


class _StoredRows:
    """Pictures on disk with their ids and targets."""

    def __init__(self, dataset: Dataset, pictures: Any, targets_N: np.ndarray | None, cost: int) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._pictures = pictures
        self._targets_N = targets_N
        self.lengths_N = np.full(len(dataset), cost, dtype=np.int64)
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        target = None if self._targets_N is None or self._targets_N[index] < 0 else int(self._targets_N[index])
        return Encoded(self._ids[index].as_py(), {"pixels": self._pictures(index)}, int(self.lengths_N[index]), target)
