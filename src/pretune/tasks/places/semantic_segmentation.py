"""A class for every pixel of a picture.

Learned by cross entropy over pixels that have a class, at the size that pictures are fitted into; answered and scored at the picture's
own. Shapes: B pictures of a batch, C classes, H and W the fitted size, h and w a map of the model, N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Mask
from pretune.answers.mask import NONE
from pretune.backbones.places.augment_masks import vary_with_mask
from pretune.backbones.places.fitted import fit_mask, fit_picture, largest_of, mean_colour
from pretune.data.media.image import decode_image
from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.places.segmentation import SegmentationMetric
from pretune.tasks.base import refuse_unlabelled
from pretune.tasks.baselines.segmentation import segmentation_baselines
from pretune.tasks.blocks.segmentation import segmentation_blocks
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.places.dense import OWN, DenseTask
from pretune.tasks.places.placed import RegionPlace
from pretune.tasks.rows.masked import MaskedRows, store_masked
from pretune.tasks.soft_losses import softened_divergence
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, move_tree
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["SemanticSegmentation", "class_weights"]

_SOFTENING = 1.02
_CLOSE_SHARE = 1e-3
"""Pixels that two engines may answer otherwise in one picture: those at which two classes are as probable."""
_FEW_RECORDS = 5


def class_weights(pixels_C: np.ndarray) -> np.ndarray:
    """(C,) 1 / log(1.02 + share) of each class (ENet: Paszke et al. 2016, arXiv 1606.02147, section 5), scaled so that a pixel weighs 1
    on average.
    """
    shares_C = pixels_C / max(1.0, pixels_C.sum())
    weights_C = 1.0 / np.log(_SOFTENING + shares_C)
    return weights_C / float((shares_C * weights_C).sum() or 1.0)


@final
class SemanticSegmentation(DenseTask):
    """One class a pixel. ``weights_C`` is what a pixel of each class counts for while learning."""

    name: ClassVar[str] = "semantic-segmentation"
    hub_task: ClassVar[str] = "image-segmentation"
    columns: ClassVar[tuple[str, ...]] = ("image", "mask")
    answer: ClassVar[str] = Mask.kind
    metric_type: ClassVar[type[Metric]] = SegmentationMetric
    reads: ClassVar[tuple[str, ...]] = (*DenseTask.reads, "class_weights")
    heads: ClassVar[tuple[str, ...]] = ("unet", "deeplabv3plus")
    weights_C: torch.Tensor | None = None

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there two classes to tell apart?"""
        cls._areas_of(data)

    @classmethod
    def _areas_of(cls, data: Splits) -> dict[str, int]:
        """The classes of the training masks in order, with their pixels."""
        train = training_rows(data, cls.answer)
        areas: Counter[str] = Counter()
        for cell in train[cls.answer]:
            if cell is not None:
                areas.update(Mask.from_json(cell).areas())
        if len(areas) < 2:
            raise DataError(
                f"the masks of the training rows show {counted(len(areas), 'class', 'classes')} ({', '.join(areas) or 'none'})",
                "segmentation needs two classes or more: are these the masks that were meant?",
            )
        given = data.facts.get("classes") or data.facts.get("read", {}).get("masks", {}).get("classes", ())
        order = [name for name in given if name in areas]
        return {name: areas[name] for name in [*order, *sorted(set(areas) - set(order))]}

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        areas = cls._areas_of(data)
        geometry, head = cls.fit_of(data, backbone, settings), cls.head_for(backbone, settings.head)
        task = cls(list(areas), geometry, head=head, augment=cls.level_of(settings))
        task.with_training_options(data, settings)
        return task

    def with_training_options(self, data: Splits, settings: Any) -> None:
        """Classes are weighed as they were."""
        if settings.class_weights == "auto":
            areas = self._areas_of(data)
            self.weights_C = torch.tensor(class_weights(np.array([areas.get(name, 0) for name in self.labels])))

    def encode(self, example: Example) -> list[Encoded]:
        """One item."""
        picture = decode_image(example.inputs["image"])
        own = np.array([picture.size[1], picture.size[0]])
        mask = example.target
        assert mask is None or isinstance(mask, Mask), f"{type(mask).__name__} is no mask"
        target = None if mask is None else fit_mask(mask.pixels(self.labels), self.geometry.crop)
        arrays = {"pixels": fit_picture(picture, self.geometry), OWN: own}
        return [Encoded(example.id, arrays, self.cost, target, example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> MaskedRows:
        """See :class:`pretune.tasks.base.Task`."""
        return store_masked(self, dataset, fingerprint=fingerprint)

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """Picture and mask scaled, cut, mirrored, coloured anew."""
        blank = np.full(self.geometry.crop, NONE, dtype=np.uint8)
        mask = blank if row.target is None else row.target
        pixels, varied = vary_with_mask(self.augmentation, row.arrays["pixels"], mask, mean_colour(self.geometry), rng)
        target = None if row.target is None else varied
        return Encoded(row.id, {**row.arrays, "pixels": pixels}, row.cost, target, row.weight)

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B, H, W) are class numbers, 255 for none; ``extras``: ``weights`` (B,), ``labelled`` (B,), and each picture's own
        size (B, 2).
        """
        inputs, cost = self.inputs_of(rows)
        blank = np.full(self.geometry.crop, NONE, dtype=np.uint8)
        targets_BHW = torch.from_numpy(np.stack([blank if row.target is None else row.target for row in rows]))
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        return Batch(
            inputs=inputs,
            targets=targets_BHW,
            counts={TERM: max(1.0, float((self._weight_of(targets_BHW).sum(dim=(1, 2)) * weights_B).sum()))},
            ids=tuple(row.id for row in rows),
            num_tokens=cost,
            num_padded=cost,
            extras={
                "weights": weights_B,
                "labelled": torch.tensor([row.target is not None for row in rows]),
                OWN: torch.from_numpy(np.stack([row.arrays[OWN] for row in rows])),
            },
        )

    def _weight_of(self, targets_BHW: torch.Tensor) -> torch.Tensor:
        """What each pixel counts for, (B, H, W) float64 (where there is that): 0 without a class."""
        by_number = torch.zeros(NONE + 1, dtype=torch.float64)
        by_number[: len(self.labels)] = 1.0 if self.weights_C is None else self.weights_C
        return move_tree(by_number, targets_BHW.device)[targets_BHW.long()]

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy, summed over pixels that have a class."""
        refuse_unlabelled(self, batch, rows="pictures without masks", answer="mask")
        return Loss.of(self.hard_losses(self.logits_of(model, batch), batch).sum())

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Pixels, the one measure of rows with and without masks."""
        return batch.extras["weights"] * float(self.geometry.crop[0] * self.geometry.crop[1])

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy summed over the pixels of a picture that have a class, times their weights."""
        assert batch.targets is not None
        targets_BHW = batch.targets.long()
        large_BCHW = functional.interpolate(
            logits.float(), size=targets_BHW.shape[-2:], mode="bilinear", align_corners=False
        )
        weight = None if self.weights_C is None else self.weights_C.to(logits.device, torch.float32)
        losses_BHW = functional.cross_entropy(
            large_BCHW, targets_BHW, weight=weight, ignore_index=NONE, reduction="none"
        )
        return losses_BHW.sum(dim=(1, 2)) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`: of a pixel on average, times the pixels of a picture."""
        if teachers.shape[-2:] != logits.shape[-2:]:
            teachers = functional.interpolate(
                teachers.float(), size=logits.shape[-2:], mode="bilinear", align_corners=False
            )
        apart_Bhw = softened_divergence(logits.permute(0, 2, 3, 1), teachers.permute(0, 2, 3, 1), temperature)
        return apart_Bhw.mean(dim=(1, 2)) * self.item_weights(batch)

    def explained_place(self, logits: torch.Tensor, label: str | None) -> RegionPlace:
        """The places of a class."""
        return RegionPlace(self.labels, self.geometry.crop, logits, label)

    def outputs_of(self, logits_BChw: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes at each place of the model's map."""
        return torch.softmax(logits_BChw, dim=1)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """The most probable class of each pixel, at the picture's own size."""
        shares_BChw = self.outputs(model, batch).cpu().numpy()
        sizes_B2 = batch.extras[OWN].cpu().tolist()
        found = []
        for row, shares_Chw, (height, width) in zip(batch.ids, shares_BChw, sizes_B2, strict=True):
            numbers_hw = largest_of(shares_Chw, (height, width), self.geometry.crop)
            found.append(Prediction(row, Mask.of(numbers_hw, self.labels).to_json()))
        return found

    def truths(self, dataset: Dataset) -> list[Any]:
        """The masks. A class that was never learned stays in them, and counts as missed."""
        return self.cells(dataset)

    @property
    def tolerance(self) -> float:
        """The share of a picture's pixels."""
        return _CLOSE_SHARE

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when one class is answered everywhere."""
        given = {name for record in records for name in record[self.answer]["classes"]}
        true = {name for record in records for name in record["truth"]["classes"]}
        if len(records) < _FEW_RECORDS or len(given) > 1 or len(true) < 2:
            return []
        return [
            f'All pixels of {counted(len(records), "picture")} are given the class "{next(iter(given), "")}": the model found nothing. Learn longer '
            "(--epochs) or from a pre-trained backbone."
        ]

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Scores by class, what is taken for what, pictures beside their masks."""
        return segmentation_blocks(records, rows, self.labels)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The commonest class of all pixels, and of each place."""
        return segmentation_baselines(self.metric, train, rows, self.labels)
