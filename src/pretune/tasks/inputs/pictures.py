"""Rows of one picture, whatever is answered to them.

Shapes: B pictures of a batch, H and W their sides in pixels; pictures are uint8 (H, W, 3) until they are collated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.answers import answer_of
from pretune.backbones.loading.limits import MOST_SIDE
from pretune.config import READ_BY_MODALITY
from pretune.data.media.image import decode_image
from pretune.metrics.base import Measured
from pretune.modalities import Modality
from pretune.modalities.image.augment import AUGMENTS, Augment
from pretune.modalities.image.transform import (
    ImageTransform,
    collate_pixels,
    image_transform_of,
    interpolate_positions,
    patches_of,
    resized,
    scaled_to,
)
from pretune.schema import Check, maybe, text, whole
from pretune.tasks.base import Task
from pretune.tasks.baselines.image import image_baselines
from pretune.tasks.blocks.multilabel import NOTHING
from pretune.tasks.inputs.row_task import RowTask
from pretune.tasks.rows.pictures import StoredPictures, store_pictures
from pretune.tasks.shown.parts import Parts, picture_parts
from pretune.tasks.shown.saliency import overlay, saliency
from pretune.tasks.shown.thumbnails import picture_address, thumbnail
from pretune.types import Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["OfPictures"]

LOOKS = 6
_VIEW = "view"
MOST_DROPOUT = 0.2
"""Before the classifier. MobileNetV2's config says 0.8, of which small data sets learn little (docs/decisions.md, D22)."""


class OfPictures(RowTask):
    """Labels of pictures.

    ``augment`` is one of :data:`pretune.modalities.image.augment.AUGMENTS`; rows are kept and varied at the size of ``view``, which
    is that of ``geometry`` but for a student whose teacher reads larger pictures (:meth:`vary_as`). A model whose positions
    are learned for one size of picture (a ViT) interpolates them for another.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["image"], "augment")
    kept: ClassVar[Mapping[str, Check]] = {"image_size?": maybe(whole(1, MOST_SIDE)), "augment?": text(*AUGMENTS)}
    auto_class: ClassVar[str] = "AutoModelForImageClassification"
    fixed_inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)

    def __init__(
        self, labels: Sequence[str], geometry: ImageTransform, *, augment: str = "none", **options: Any
    ) -> None:
        super().__init__(labels, **options)
        self.geometry = self.view = geometry
        self.cost = patches_of(geometry)
        self.augmentation: Augment = AUGMENTS[augment]

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        geometry = image_transform_of(backbone.processor).at(settings.image_size)
        augment = settings.augment
        if augment == "auto":
            augment = "none" if settings.rests else "light"
        return cls(labels, geometry, augment=augment, **options)

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The classifier that transformers has for the backbone."""
        if getattr(backbone.config, "classifier_dropout_prob", 0.0) > MOST_DROPOUT:
            backbone.config.classifier_dropout_prob = MOST_DROPOUT
        model, report = super().build(backbone, seed=seed)
        interpolate_positions(model, backbone.config, self.geometry)
        return model, report

    def inputs_identity(self) -> str:
        """How pictures are scaled and cut."""
        return self.geometry.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """One picture, decoded and scaled."""
        pixels = resized(decode_image(example.inputs["image"]), self.geometry)
        return [Encoded(example.id, {"pixels": pixels}, self.cost, self.target_of(example.target), example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> StoredPictures:
        """See :class:`pretune.tasks.base.Task`."""
        targets = self.targets_by_row(dataset)
        return store_pictures(dataset, self.geometry, fingerprint=fingerprint, targets=targets)

    @property
    def varies_rows(self) -> bool:
        """All levels but ``none`` do."""
        return self.augmentation.recipe is not None

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The picture cropped, turned or coloured anew."""
        pixels = self.augmentation.picture(row.arrays["pixels"], self.view.crop, rng)
        return Encoded(row.id, self._seen(pixels), row.cost, row.target, row.weight)

    def _seen(self, varied: np.ndarray) -> dict[str, np.ndarray]:
        """A varied picture at this task's size, and at the teacher's where it is another."""
        if self.view is self.geometry:
            return {"pixels": varied}
        return {"pixels": scaled_to(varied, self.geometry), _VIEW: varied}

    @property
    def mixes(self) -> float:
        """Half of the pictures at level ``strong``."""
        return self.augmentation.mixes

    def mixed(self, row: Encoded, others: Sequence[Encoded], rng: np.random.Generator) -> Encoded:
        """One picture of two, its target shared between their classes."""
        (other,) = others
        if row.target is None or other.target is None:
            return row
        one, two = (each.arrays.get(_VIEW, each.arrays["pixels"]) for each in (row, other))
        pixels, share = self.augmentation.mixed(one, two, rng)
        target_C = share * self.shares_of(row.target) + (1 - share) * self.shares_of(other.target)
        weight = share * row.weight + (1 - share) * other.weight
        return Encoded(row.id, self._seen(pixels), row.cost, target_C.astype(np.float32), weight)

    def same_inputs_as(self, other: Task) -> bool:
        """Pictures scaled and cut alike."""
        return isinstance(other, OfPictures) and other.geometry.identity() == self.geometry.identity()

    def vary_as(self, teacher: Task) -> bool:
        """Pictures are varied at a larger teacher's size, and scaled down from there."""
        if self.same_inputs_as(teacher):
            return True
        if not isinstance(teacher, OfPictures) or min(teacher.geometry.crop) < max(self.geometry.crop):
            return False
        self.view = teacher.geometry
        return True

    def for_teacher(self, item: Encoded) -> Encoded:
        """The varied picture at the teacher's size."""
        asked = super().for_teacher(item)
        return asked if _VIEW not in item.arrays else dataclasses.replace(asked, arrays={"pixels": item.arrays[_VIEW]})

    def without_trunk(self, row: Encoded, *, first_only: bool) -> Encoded:
        """The item without its pixels."""
        return Encoded(row.id, {}, row.cost, row.target, row.weight)

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """``pixel_values`` (B, 3, H, W); one pixel a picture where a frozen trunk has read them."""
        if "pixels" not in rows[0].arrays:
            return {"pixel_values": torch.zeros(len(rows), 3, 1, 1)}, len(rows), len(rows)
        pixels = collate_pixels([row.arrays["pixels"] for row in rows], self.geometry)
        cost = self.cost * len(rows)
        return {"pixel_values": pixels}, cost, cost

    def parts(self, example: Example) -> Parts:
        """Squares of the picture's crop; a blank is the picture's mean colour."""
        return picture_parts(resized(decode_image(example.inputs["image"]), self.geometry), self.geometry, example.id)

    def explained(
        self, model: torch.nn.Module, records: Sequence[Mapping[str, Any]], rows: Any
    ) -> list[dict[str, Any]]:
        """Where the model looks on a few rows, and what the variations of its training did to pictures."""
        is_right = [self._is_right(record) for record in records]
        wrong = [i for i, right in enumerate(is_right) if not right]
        right = [i for i, right in enumerate(is_right) if right]
        wanted = 2 * LOOKS - len(wrong[:LOOKS])
        chosen = [*wrong[:LOOKS], *right[:: max(1, len(right) // wanted)][:wanted]]
        pixels = [resized(decode_image(rows[i]["image"]), self.geometry) for i in chosen]
        return [*self._looks(model, chosen, pixels, records), *self._varied(pixels)]

    def _looks(
        self, model: torch.nn.Module, chosen: list[int], pixels: list[np.ndarray], records: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        found = saliency(model, pixels, self.geometry) if pixels else None
        if found is None:
            return []
        maps, method = found
        shown = [
            {"image": overlay(picture, heat), "caption": self._caption(records[i])}
            for i, picture, heat in zip(chosen, pixels, maps, strict=True)
        ]
        note = f"{method}: warm places moved the decision most. Mistakes come first. A map shows where, never why."
        return [{"type": "pictures", "title": "Where the model looks", "note": note, "rows": shown}]

    def _caption(self, record: Mapping[str, Any]) -> str:
        """What the picture is, and what it is taken for."""
        answers = (answer_of(self.answer, record[key] if record[key] != [] else None) for key in ("truth", self.answer))
        is_so, said = (answer.said() if answer is not None else NOTHING for answer in answers)
        return f"{is_so}, {'right' if self._is_right(record) else 'predicted as ' + said}"

    def _is_right(self, record: Mapping[str, Any]) -> bool:
        return record[self.answer] == record["truth"] or self.same_answer(record, {self.answer: record["truth"]})

    def _varied(self, pixels: list[np.ndarray]) -> list[dict[str, Any]]:
        if not self.varies_rows or not pixels:
            return []
        rng = np.random.default_rng(0)
        varied = [
            self.augmentation.picture(picture, self.geometry.crop, rng) for picture in pixels[:LOOKS] for _ in range(3)
        ]
        note = f"While it learned, the model saw pictures varied like these (--augment {self.augmentation.name})."
        if self.mixes:
            first = varied[::3]
            mixed = [
                self.augmentation.mixed(one, other, rng)[0]
                for one, other in zip(first, first[1:] + first[:1], strict=True)
            ]
            varied += mixed
            note += f" {self.mixes:.0%} of them were mixed with another, as the last {len(mixed)} are."
        shown = [{"image": picture_address(picture), "caption": ""} for picture in varied]
        return [{"type": "pictures", "title": "Varied pictures", "note": note, "rows": shown}]

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Id and thumbnail."""
        return {"id": row["id"], "image": thumbnail(row["image"])}

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The training rows' shares of labels, and logistic regression on tiny pictures and colours."""
        return image_baselines(train, rows, self.known_answers(train, rows))

    def portable(self) -> dict[str, Any]:
        """What is done to a picture."""
        return {"modality": self.modality, **dataclasses.asdict(self.geometry)}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        geometry = image_transform_of(backbone.processor).at(about.get("image_size"))
        return cls(about.get("labels", ()), geometry, augment=about.get("augment", "none"), **cls.saved_options(about))

    def to_dict(self) -> dict[str, Any]:
        """What the labels need, side of the pictures and how they were varied."""
        return {**super().to_dict(), "image_size": self.geometry.crop[0], "augment": self.augmentation.name}
