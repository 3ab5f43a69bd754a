"""Where named points lie in a picture of one body or one thing: joints, landmarks.

Each point has a heat map; learned by cross entropy between the map, which sums to 1, and a bell around the true place, over points
that are known (the map as a distribution: Sun et al. 2018, arXiv 1711.08229, section 3, trains maps of the kind of Tompson et al.
2014, arXiv 1406.2984). Shapes: B pictures of a batch, J points, H and W the size that pictures are fitted into, h and w a map, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Keypoints
from pretune.answers.peaks import peaks_of
from pretune.answers.sides import mirrored_places
from pretune.backbones.places.augment_points import vary_with_points
from pretune.backbones.places.fitted import fit_picture, fitted_size, mean_colour
from pretune.data.media.image import decode_image
from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.places.keypoints import KeypointMetric
from pretune.tasks.base import refuse_unlabelled
from pretune.tasks.baselines.keypoints import keypoint_baselines
from pretune.tasks.blocks.keypoints import keypoint_blocks
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.places.dense import OWN, DenseTask
from pretune.tasks.places.placed import PointPlace
from pretune.tasks.rows.pointed import PointedRows, fit_points, store_pointed
from pretune.tasks.soft_losses import softened_divergence
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["KeypointDetection"]

_SPREAD = 1.0
"""Of the bell around a true place, in places of the map."""
_CLOSE_PX = 0.5
_FEWEST, _FEW_RECORDS, _STILL = 2, 5, 0.02


@final
class KeypointDetection(DenseTask):
    """One place a point; ``labels`` are the names of the points."""

    name: ClassVar[str] = "keypoint-detection"
    hub_task: ClassVar[str] = "keypoint-detection"
    columns: ClassVar[tuple[str, ...]] = ("image", "keypoints")
    answer: ClassVar[str] = Keypoints.kind
    metric_type: ClassVar[type[Metric]] = KeypointMetric
    heads: ClassVar[tuple[str, ...]] = ("heatmap",)
    default_batch_size: ClassVar[int] = 16
    default_updates: ClassVar[int] = 1500

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.partners = mirrored_places(self.labels)

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there two points or more?"""
        cls._names_of(data)

    @classmethod
    def _names_of(cls, data: Splits) -> tuple[str, ...]:
        """The names of the points, or their numbers where the data gives none."""
        train = training_rows(data, cls.answer)
        num = next((len(cell) for cell in train[cls.answer] if cell is not None), 0)
        if num < _FEWEST:
            raise DataError(
                f"the training rows have {counted(num, 'point')} a picture",
                "distances are measured by how far known points lie apart: mark two points or more",
            )
        given = tuple(data.facts.get("classes") or data.facts.get("read", {}).get("classes", ()))
        return given if len(given) == num else tuple(f"point {number}" for number in range(1, num + 1))

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        geometry, head = cls.fit_of(data, backbone, settings), cls.head_for(backbone, settings.head)
        return cls(cls._names_of(data), geometry, head=head, augment=cls.level_of(settings))

    def encode(self, example: Example) -> list[Encoded]:
        """One item."""
        picture = decode_image(example.inputs["image"])
        own = (picture.size[1], picture.size[0])
        answer = example.target
        assert answer is None or isinstance(answer, Keypoints), f"{type(answer).__name__} is no keypoints"
        target = None if answer is None else fit_points(np.array(answer.points), own, self.geometry.crop)
        arrays = {"pixels": fit_picture(picture, self.geometry), OWN: np.array(own)}
        return [Encoded(example.id, arrays, self.cost, target, example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> PointedRows:
        """See :class:`pretune.tasks.base.Task`."""
        return store_pointed(self, dataset, fingerprint=fingerprint)

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """Picture and points turned, scaled, moved, mirrored, coloured anew."""
        points_J3 = self._blank() if row.target is None else row.target
        pixels, varied = vary_with_points(
            self.augmentation, row.arrays["pixels"], points_J3, mean_colour(self.geometry), self.partners, rng
        )
        target = None if row.target is None else varied
        return Encoded(row.id, {**row.arrays, "pixels": pixels}, row.cost, target, row.weight)

    def _blank(self) -> np.ndarray:
        return np.zeros((len(self.labels), 3), dtype=np.float32)

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B, J, 3) are x and y in pixels of the fitted picture and whether they are known; ``extras``: ``weights`` (B,),
        ``labelled`` (B,), and each picture's own size (B, 2).
        """
        inputs, cost = self.inputs_of(rows)
        targets_BJ3 = torch.from_numpy(np.stack([self._blank() if row.target is None else row.target for row in rows]))
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        known_B = (targets_BJ3[..., 2] > 0).sum(dim=1).double()
        return Batch(
            inputs=inputs,
            targets=targets_BJ3,
            counts={TERM: max(1.0, float((known_B * weights_B).sum()))},
            ids=tuple(row.id for row in rows),
            num_tokens=cost,
            num_padded=cost,
            extras={
                "weights": weights_B,
                "labelled": torch.tensor([row.target is not None for row in rows]),
                OWN: torch.from_numpy(np.stack([row.arrays[OWN] for row in rows])),
            },
        )

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy, summed over points that are known."""
        refuse_unlabelled(self, batch, rows="pictures without keypoints", answer="point or more")
        return Loss.of(self.hard_losses(self.logits_of(model, batch), batch).sum())

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Points, the one measure of rows with and without known ones."""
        return batch.extras["weights"] * float(len(self.labels))

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy between each known point's map and a bell of one place's spread, summed over the points of a picture."""
        assert batch.targets is not None
        points_BJ3 = batch.targets.to(logits.device, torch.float32)
        height, width = logits.shape[-2:]
        fitted = self.geometry.crop
        bell_BJh = _bell(points_BJ3[..., 1] * (height / fitted[0]), height)
        bell_BJw = _bell(points_BJ3[..., 0] * (width / fitted[1]), width)
        logs_BJhw = functional.log_softmax(logits.float().flatten(2), dim=-1).unflatten(2, (height, width))
        losses_BJ = -torch.einsum("bjhw,bjh,bjw->bj", logs_BJhw, bell_BJh, bell_BJw)
        known_BJ = points_BJ3[..., 2] > 0
        return torch.where(known_BJ, losses_BJ, 0.0).sum(dim=1) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`: of a point on average, times the points of a picture."""
        if teachers.shape[-2:] != logits.shape[-2:]:
            teachers = functional.interpolate(
                teachers.float(), size=logits.shape[-2:], mode="bilinear", align_corners=False
            )
        apart_BJ = softened_divergence(logits.flatten(2), teachers.flatten(2), temperature)
        return apart_BJ.mean(dim=1) * self.item_weights(batch)

    def explained_place(self, logits: torch.Tensor, label: str | None) -> PointPlace:
        """A point."""
        return PointPlace(self.labels, self.geometry.crop, logits, label)

    def outputs_of(self, logits_BChw: torch.Tensor) -> torch.Tensor:
        """The share of each place in its point's map; a map sums to 1."""
        return torch.softmax(logits_BChw.flatten(2), dim=-1).unflatten(2, logits_BChw.shape[-2:])

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """The peak of each point's map, in pixels of the picture as it came, and the share of the map around it."""
        shares_BJhw = self.outputs(model, batch).cpu().numpy()
        sizes_B2 = batch.extras[OWN].cpu().tolist()
        found = []
        for row, shares_Jhw, own in zip(batch.ids, shares_BJhw, sizes_B2, strict=True):
            height, width = fitted_size(own[1], own[0], self.geometry.crop)
            reach = np.array([self.geometry.crop[1] * own[1] / width, self.geometry.crop[0] * own[0] / height, 1.0])
            points_J3 = np.minimum(peaks_of(shares_Jhw) * reach, [own[1], own[0], 1.0])
            found.append(Prediction(row, [[round(part, 4) for part in point] for point in points_J3.tolist()]))
        return found

    def truths(self, dataset: Dataset) -> list[Any]:
        """The points."""
        return self.cells(dataset)

    @property
    def tolerance(self) -> float:
        """Half a pixel."""
        return _CLOSE_PX

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when all pictures are given the same points."""
        if len(records) < _FEW_RECORDS:
            return []
        said_NJ2 = np.array([record[self.answer] for record in records])[..., :2]
        spread, reach = said_NJ2.std(axis=0).mean(), float(np.ptp(said_NJ2)) or 1.0
        if spread > _STILL * reach:
            return []
        return [
            f"Nearly the same points are answered to {counted(len(records), 'picture')}: the model found nothing. Learn longer (--epochs) or "
            "from a pre-trained backbone."
        ]

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Scores by point, pictures with truth and answer."""
        return keypoint_blocks(records, rows, self.labels)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The mean place of each point."""
        measured = keypoint_baselines(self.metric, train, rows)
        notes = [] if self.partners is not None else [
            "Pictures were not mirrored while learning: the names of the points do not say which are left and right (left_..., right_...)."
        ]  # fmt: skip
        return measured, notes


def _bell(centre_BJ: torch.Tensor, num: int) -> torch.Tensor:
    """(B, J, num) a bell over places whose middles are at 0.5, 1.5, ...; it sums to 1."""
    middles = torch.arange(num, device=centre_BJ.device, dtype=torch.float32) + 0.5
    return torch.softmax(-((middles - centre_BJ[..., None]) ** 2) / (2 * _SPREAD**2), dim=-1)
