"""Tasks that answer for the places of a picture: a trunk with a decoder, pictures fitted whole into one size.

Shapes: B pictures of a batch, C outputs a place, H and W the size that pictures are fitted into, h and w a map of the model.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.backbones.loading.limits import MOST_SIDE
from pretune.backbones.places.augment_masks import LEVELS
from pretune.backbones.places.decoders import DECODERS
from pretune.backbones.places.dense import build_dense, is_dense, own_head
from pretune.backbones.places.fitted import ROUND_TO, common_size, fitted_size, fitted_transform
from pretune.config import READ_BY_MODALITY
from pretune.errors import UsageError, did_you_mean
from pretune.modalities import Modality
from pretune.modalities.image.transform import (
    ImageTransform,
    image_transform_of,
    interpolate_positions,
    normalised,
    patches_of,
)
from pretune.schema import Check, listed, text, whole
from pretune.tasks.base import Task, finite_answers
from pretune.tasks.places.placed import PlacedTask
from pretune.tasks.protocols import PartsPace
from pretune.tasks.shown.parts import Parts, fitted_parts
from pretune.types import Batch, Encoded, Example, Prediction

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["OWN", "OWN_HEAD", "DenseTask"]

OWN_HEAD = "own"
TRUNK_RATE = 0.3
OWN = "own_size"
"""Of an item: the height and width of its picture as it came (2,)."""


class DenseTask(PlacedTask):
    """Answers for places. ``head`` is the decoder (of :data:`pretune.backbones.places.decoders.DECODERS`, or ``own`` for a model of transformers
    that has one), ``geometry`` how pictures become inputs, ``augmentation`` how they are varied.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["image"], "augment", "head")
    heads: ClassVar[tuple[str, ...]]
    fixed_inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    default_batch_size: ClassVar[int] = 8
    default_updates: ClassVar[int] = 600
    kept: ClassVar[Mapping[str, Check]] = {
        "labels": listed(text(), least=1, unique=True),
        "size": listed(whole(1, MOST_SIDE), least=2),
        "head": text(OWN_HEAD, *DECODERS),
        "augment": text(*LEVELS),
    }

    def __init__(self, labels: Sequence[str], geometry: ImageTransform, *, head: str, augment: str = "none") -> None:
        self.labels = tuple(labels)
        self.index = {label: number for number, label in enumerate(self.labels)}
        self.geometry, self.head, self.augmentation = geometry, head, augment
        self.cost = patches_of(geometry)

    @classmethod
    def head_for(cls, backbone: Backbone, asked: str) -> str:
        """The decoder: the one ``asked`` for, or that of the backbone. Raises :class:`UsageError` for another task's, or a second one."""
        allowed = (*cls.heads, "auto")
        if asked not in allowed:
            raise UsageError(
                f"--head is {asked!r}, {cls.name} has {', '.join(cls.heads)}", did_you_mean(asked, allowed)
            )
        held = backbone.config.head if is_dense(backbone.config) else OWN_HEAD if own_head(backbone.config) else None
        if held is None:
            return cls.heads[0] if asked == "auto" else asked
        if (held not in cls.heads and held != OWN_HEAD) or asked not in ("auto", held):
            raise UsageError(
                f"{backbone.name} has the head {held} already, and {cls.heads[0] if asked == 'auto' else asked} was asked for",
                "leave --head out, or begin from the model that it was made of",
            )
        return held

    @classmethod
    def fit_of(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> ImageTransform:
        """The size that the training pictures are fitted into, with the colours of the backbone. Raises :class:`UsageError`."""
        if settings.image_size is not None and settings.image_size < ROUND_TO:
            raise UsageError(f"--image-size is {settings.image_size}", f"{cls.name} needs {ROUND_TO} pixels at least")
        train = data["train"]
        return fitted_transform(
            image_transform_of(backbone.processor), common_size(train["width"], train["height"], settings.image_size)
        )

    @staticmethod
    def level_of(settings: TaskSettings) -> str:
        """How pictures are varied."""
        if settings.augment != "auto":
            return settings.augment
        return "none" if settings.rests else "light"

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The backbone with its decoder, or the model that has one."""
        model, report = build_dense(
            backbone, self.head, seed=seed, num_labels=self.num_outputs,
            id2label=dict(enumerate(self.labels)), label2id=dict(self.index),
        )  # fmt: skip
        interpolate_positions(model, backbone.config, self.geometry)
        return model, report

    def parts_pace(self, model: torch.nn.Module, backbone: Backbone) -> PartsPace:
        """A trained trunk learns at a third of its decoder's rate; a fresh one, and a model made to answer so, as one."""
        is_one = backbone.kind == "scratch" or self.head == OWN_HEAD
        return PartsPace(trunk_scale=1.0 if is_one else TRUNK_RATE)

    def processor_to_save(self, backbone: Backbone) -> Any:
        """Size and colours of the model's inputs, in a form that every trunk has (timm's own writes no file). That pictures are filled up
        and not stretched it cannot say; ``pretune.json`` does.
        """
        from transformers import ViTImageProcessor

        height, width = self.geometry.crop
        return ViTImageProcessor(
            size={"height": height, "width": width}, resample=self.geometry.resample, rescale_factor=self.geometry.scale,
            image_mean=list(self.geometry.mean), image_std=list(self.geometry.std),
        )  # fmt: skip

    def inputs_identity(self) -> str:
        """How pictures are fitted."""
        return f"fitted:{self.geometry.identity()}"

    def same_inputs_as(self, other: Task) -> bool:
        """Pictures fitted alike."""
        return isinstance(other, DenseTask) and other.inputs_identity() == self.inputs_identity()

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: its pictures are fitted as its teacher's, its outputs mean the same."""
        student = type(self).start(data.replace(data, classes=list(self.labels)), backbone, settings)
        student.labels, student.index = self.labels, dict(self.index)
        student.geometry = fitted_transform(student.geometry, self.geometry.crop)
        student.cost = self.cost
        return student

    @property
    def varies_rows(self) -> bool:
        """All levels but ``none`` do."""
        return LEVELS[self.augmentation] is not None

    def without_trunk(self, row: Encoded, *, first_only: bool) -> Encoded:
        """The item without its pixels."""
        return dataclasses.replace(row, arrays={name: own for name, own in row.arrays.items() if name != "pixels"})

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int]:
        """``pixel_values`` (B, 3, H, W), and their cost; zeros that take no room where a frozen trunk has read them."""
        if "pixels" not in rows[0].arrays:
            return {"pixel_values": torch.zeros(1).expand(len(rows), 3, *self.geometry.crop)}, len(rows)
        pixels_BHWC = torch.from_numpy(np.stack([row.arrays["pixels"] for row in rows]))
        return {"pixel_values": normalised(pixels_BHWC.float(), self.geometry)}, self.cost * len(rows)

    def parts(self, example: Example) -> Parts:
        """Squares of the fitted picture."""
        (item,) = self.encode(dataclasses.replace(example, target=None))
        height, width = item.arrays[OWN].tolist()
        return fitted_parts(item, fitted_size(width, height, self.geometry.crop))

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, C, h, w)."""
        return model(**batch.inputs).logits

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those with an answer."""
        return batch.extras["labelled"]

    @abstractmethod
    def outputs_of(self, logits_BChw: torch.Tensor) -> torch.Tensor:
        """What is read of the logits, (B, C, h, w)."""

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See :meth:`outputs_of`."""
        return self.outputs_of(finite_answers(self.logits_of(model, batch), batch.ids).float())

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """A picture is one item."""
        return list(predictions)

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, answer, and the truth where it is known."""
        line = {"id": prediction.id, self.answer: prediction.answer, **prediction.detail}
        return line if truth is None else {**line, "truth": truth}

    def portable(self) -> dict[str, Any]:
        """How a picture is fitted, and what its answer is made of."""
        return {"modality": self.modality, "reader": self.answer, **dataclasses.asdict(self.geometry)}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        geometry = fitted_transform(
            image_transform_of(backbone.processor), (int(about["size"][0]), int(about["size"][1]))
        )
        return cls(about["labels"], geometry, head=about["head"], augment=about["augment"])

    def to_dict(self) -> dict[str, Any]:
        """Name, classes, size of the pictures, head, and how they were varied."""
        return {
            "task": self.name, "labels": list(self.labels), "size": list(self.geometry.crop), "head": self.head,
            "augment": self.augmentation,
        }  # fmt: skip
