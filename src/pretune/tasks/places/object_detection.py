"""Boxes around objects of a picture, each with its class.

What its heads learn and say is in :mod:`pretune.tasks.places.detection`. Shapes: B items of a batch, P places that are answered for, C classes,
M boxes, N rows.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch

from pretune.answers import Boxes
from pretune.backbones.loading.limits import MOST_SIDE
from pretune.config import READ_BY_MODALITY
from pretune.data.media.image import decode_image
from pretune.errors import DataError, ModelError, UsageError
from pretune.modalities import Modality
from pretune.modalities.image.augment_boxes import BOX_AUGMENTS, varied_boxes
from pretune.modalities.image.letterbox import Canvas, canvas_for, collate_canvas, fitted
from pretune.modalities.image.mosaic import PICTURES, mosaic
from pretune.modalities.image.transform import ImageTransform, image_transform_of
from pretune.schema import Check, listed, number, text, whole
from pretune.tasks.base import Task, refuse_unlabelled
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.places.detection.box_answers import BoxAnswers
from pretune.tasks.places.detection.head import DetectionHead
from pretune.tasks.places.detection.kinds import HEADS, KEPT, head_for
from pretune.tasks.places.detection.two_stages import LUCK
from pretune.tasks.places.placed import BoxPlace
from pretune.tasks.protocols import PartsPace
from pretune.tasks.rows.boxed import BoxedRows, BoxTarget, scaled_target, store_boxed
from pretune.tasks.shown.parts import Parts, fitted_parts
from pretune.types import TERM, Batch, Encoded, Example, Loss
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["ObjectDetection"]

_MOSAICS = 0.5


@final
class ObjectDetection(BoxAnswers):
    """Boxes with classes. ``canvas`` is what pictures are scaled to, ``learner`` the head of the name ``head`` on it; boxes scored ``threshold``
    or more are told as found.
    """

    name: ClassVar[str] = "object-detection"
    modality: ClassVar[Modality] = Modality.IMAGE
    columns: ClassVar[tuple[str, ...]] = ("image", "boxes")
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["image"], "augment", "head")
    kept: ClassVar[Mapping[str, Check]] = {
        "labels": listed(text(), least=1, unique=True),
        "canvas": listed(whole(1, MOST_SIDE), least=2),
        "head": text(*HEADS),
        **KEPT,
        "augment": text(*BOX_AUGMENTS),
        "threshold": number(0, 1),
    }
    default_batch_size: ClassVar[int] = 8
    default_updates: ClassVar[int] = 1200
    fixed_inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    taught_variation: ClassVar[str] = "none"
    mixed_with: ClassVar[int] = PICTURES - 1

    def __init__(
        self, labels: Sequence[str], canvas: Canvas, learner: DetectionHead, *, head: str, augment: str = "none", threshold: float = 0.5,
    ) -> None:  # fmt: skip
        self.labels = tuple(labels)
        self.index = {label: number for number, label in enumerate(self.labels)}
        self.canvas, self.learner, self.head = canvas, learner, head
        self.augmentation, self.threshold = augment, threshold
        self.cost = max(1, canvas.height * canvas.width // 256)

    @classmethod
    def check(cls, data: Splits) -> None:
        """Is there a box to learn?"""
        cls._counted(data)

    @classmethod
    def _counted(cls, data: Splits) -> Counter[str]:
        train = training_rows(data, cls.answer)
        counts = Counter(box["label"] for boxes in train[cls.answer] for box in boxes or () if not box.get("aside"))
        if not counts:
            raise DataError(
                f"none of the {counted(len(train), 'training picture')} has a box: there is nothing to learn",
                "pretune inspect DATA shows what was read",
            )
        return counts

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        name = head_for(settings.head, backbone)
        labels = sorted(cls._counted(data))
        train = data["train"]
        geometry = image_transform_of(backbone.processor)
        widths, heights = (np.array(train[name]) for name in ("width", "height"))
        canvas = canvas_for(widths, heights, settings.image_size or HEADS[name].longest_px(geometry), geometry)
        learner = HEADS[name].begun(train, canvas, {label: place for place, label in enumerate(labels)}, backbone)
        augment = "light" if settings.augment == "auto" else settings.augment
        return cls(labels, canvas, learner, head=name, augment=augment)

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: with the same head on the same canvas."""
        if not HEADS[self.head].fits(backbone):
            raise UsageError(
                f"the teacher's head, {self.head}, needs {HEADS[self.head].needs}; {backbone.name} ({backbone.config.model_type}) is none",
                "choose a student on which the teacher's head can stand",
            )
        canvas = dataclasses.replace(self.canvas, geometry=image_transform_of(backbone.processor))
        learner = HEADS[self.head].restored(self.learner.kept(), canvas.sides, len(self.labels), backbone)
        return type(self)(self.labels, canvas, learner, head=self.head, threshold=self.threshold)

    def check_teacher(self, teacher: Task) -> None:
        """See :class:`pretune.tasks.base.Task`."""
        super().check_teacher(teacher)
        if teacher.num_outputs != self.num_outputs:
            raise ModelError(
                f"the teacher tells each box by {teacher.num_outputs} numbers, the student by {self.num_outputs}",
                "choose a student of the teacher's family: one of both tells classes apart by softmax, the other by sigmoids",
            )

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The head's model."""
        return self.learner.build(backbone, self.labels, seed=seed)

    def parts_pace(self, model: torch.nn.Module, backbone: Backbone) -> PartsPace:
        """The head's."""
        return self.learner.parts_pace(model, backbone)

    def inputs_identity(self) -> str:
        """How pictures are scaled."""
        return self.canvas.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """One picture, decoded and scaled to the canvas."""
        picture = decode_image(example.inputs["image"])
        pixels = fitted(picture, self.canvas)
        target = example.target
        assert target is None or isinstance(target, Boxes), f"{type(target).__name__} are no boxes"
        boxes = None if target is None else scaled_target(target.boxes, self.index, picture.size, pixels.shape)
        arrays = {"pixels": pixels, "size": np.array(picture.size, dtype=np.int32)}
        return [Encoded(example.id, arrays, self.cost, boxes, example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> BoxedRows:
        """See :class:`pretune.tasks.base.Task`."""
        column = dataset[self.answer] if self.answer in dataset.column_names else [None] * len(dataset)
        found = [None if cell is None else Boxes.from_json(cell).boxes for cell in column]
        return store_boxed(dataset, self.canvas, found, self.index, self.cost, fingerprint=fingerprint)

    @property
    def num_outputs(self) -> int:
        """Numbers of a place that is answered for."""
        return self.learner.num_outputs

    @property
    def varies_rows(self) -> bool:
        """All levels but ``none`` do."""
        return self.augmentation != "none"

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The picture flipped, coloured, moved, drawn nearer or farther, its boxes with it; and the luck by which samples are drawn."""
        row = dataclasses.replace(row, arrays={**row.arrays, LUCK: rng.integers(2**63, dtype=np.uint64)})
        if row.target is None or not self.varies_rows:
            return row
        target: BoxTarget = row.target
        before_M4, _, aside_M = target.arrays()
        pixels, boxes_M4, lost_M = varied_boxes(row.arrays["pixels"], before_M4, self.augmentation, rng)
        changed = BoxTarget.of(boxes_M4, target.classes, aside_M | lost_M)
        return Encoded(row.id, {**row.arrays, "pixels": pixels}, row.cost, changed, row.weight)

    @property
    def mixes(self) -> float:
        """Half of the pictures at level ``strong``."""
        return _MOSAICS if self.augmentation == "strong" else 0.0

    def mixed(self, row: Encoded, others: Sequence[Encoded], rng: np.random.Generator) -> Encoded:
        """Four pictures as one, with the boxes of all."""
        rows = [row, *others]
        targets: list[BoxTarget] = [one.target for one in rows if one.target is not None]
        if len(targets) < len(rows):
            return row
        boxes, _, aside = zip(*(target.arrays() for target in targets), strict=True)
        pixels, boxes_M4, lost_M = mosaic([one.arrays["pixels"] for one in rows], boxes, rng)
        classes = [number for target in targets for number in target.classes]
        whole = BoxTarget.of(boxes_M4, classes, np.concatenate(aside) | lost_M)
        return Encoded(row.id, {**row.arrays, "pixels": pixels}, row.cost, whole, row.weight)

    def without_trunk(self, row: Encoded, *, first_only: bool) -> Encoded:
        """The item with pixels that take no room: their sides still say how the picture was scaled."""
        nothing = np.broadcast_to(np.uint8(0), row.arrays["pixels"].shape)
        return dataclasses.replace(row, arrays={**row.arrays, "pixels": nothing})

    def same_inputs_as(self, other: Task) -> bool:
        """The same canvas and colours."""
        return isinstance(other, ObjectDetection) and other.canvas == self.canvas

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` are the head's; matched here, so that the loss's count is known before the loss."""
        pixels = collate_canvas([row.arrays["pixels"] for row in rows], self.canvas)
        targets, counts_B = self.learner.targets(rows)
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        labelled_B = torch.tensor([row.target is not None for row in rows])
        scales = [
            (
                row.arrays["pixels"].shape[1] / row.arrays["size"][0],
                row.arrays["pixels"].shape[0] / row.arrays["size"][1],
            )
            for row in rows
        ]
        return Batch(
            inputs={"pixel_values": pixels},
            targets=dict(targets),
            counts={TERM: float((counts_B * weights_B)[labelled_B].sum())},
            ids=tuple(row.id for row in rows),
            num_tokens=self.cost * len(rows),
            num_padded=self.cost * len(rows),
            extras={
                "weights": weights_B,
                "labelled": labelled_B,
                "counts": counts_B,
                "scales": torch.tensor(scales, dtype=torch.float64),
                "sizes": torch.from_numpy(np.stack([row.arrays["size"] for row in rows])),
            },
        )

    @property
    def geometry(self) -> ImageTransform:
        """How pictures are scaled and normalised."""
        return self.canvas.geometry

    def parts(self, example: Example) -> Parts:
        """Squares of the scaled picture."""
        (item,) = self.encode(dataclasses.replace(example, target=None))
        return fitted_parts(item, item.arrays["pixels"].shape[:2])

    def explained_place(self, logits: torch.Tensor, label: str | None) -> BoxPlace:
        """A box."""
        return BoxPlace(self.learner, self.labels, self.threshold, logits, label)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See the head: :mod:`pretune.tasks.places.detection`."""
        return self.learner.logits_of(model, batch)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """The head's, summed over pictures."""
        refuse_unlabelled(self, batch, rows="pictures without boxes", answer="list of boxes, which may be empty")
        return Loss.of(self.hard_losses(self.learner.learned_logits_of(model, batch), batch).sum())

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those whose boxes are told, be it none."""
        return batch.extras["labelled"]

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """What the head counts a picture for."""
        return batch.extras["weights"] * batch.extras["counts"]

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,) the head's loss."""
        return self.learner.losses(logits, batch) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :class:`pretune.tasks.base.Task`."""
        return self.learner.distances(logits, teachers, temperature) * self.item_weights(batch)

    def processor_to_save(self, backbone: Backbone) -> Any:
        """A processor that scales to the canvas and normalises as this model wants it."""
        geometry = self.canvas.geometry
        settings = {
            "size": {"height": self.canvas.height, "width": self.canvas.width}, "resample": geometry.resample,
            "image_mean": list(geometry.mean), "image_std": list(geometry.std), "rescale_factor": geometry.scale,
        }  # fmt: skip
        return self.learner.processor(backbone.processor, settings)

    def portable(self) -> dict[str, Any]:
        """The canvas, and what makes boxes of the graph's numbers."""
        return {
            "modality": self.modality, "reader": "boxed", "canvas": [*self.canvas.sides], "fill": [*self.canvas.fill],
            "mean": [*self.canvas.geometry.mean], "std": [*self.canvas.geometry.std], "scale": self.canvas.geometry.scale,
            "resample": self.canvas.geometry.resample, "threshold": self.threshold, **self.learner.portable(),
        }  # fmt: skip

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        height, width = about["canvas"]
        canvas = Canvas(height, width, image_transform_of(backbone.processor))
        learner = HEADS[about["head"]].restored(about, canvas.sides, len(about["labels"]), backbone)
        return cls(
            about["labels"], canvas, learner, head=about["head"], augment=about["augment"], threshold=about["threshold"]
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Classes, canvas, head, and the score from which boxes are told."""
        return {
            "task": self.name, "labels": list(self.labels), "head": self.head, "canvas": [*self.canvas.sides], **self.learner.kept(),
            "augment": self.augmentation, "threshold": self.threshold,
        }  # fmt: skip
