"""What of an answer with places is explained: the surest box, the pixels of a class, or a point; or those of a label that is asked for.

Shapes: B rows of a batch, M items, P places that a detector answers for, C classes, J points, h and w a map of the model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from pretune.answers.boxes import Box
from pretune.answers.peaks import peaks_of
from pretune.backbones.detection.anchors import LEAST_SCORE
from pretune.backbones.detection.sampling import overlaps
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.errors import UsageError, did_you_mean
from pretune.explain.aim import Aim, EmptyAnswer
from pretune.tasks.dense import DenseTask
from pretune.tasks.keypoint_detection import KeypointDetection
from pretune.tasks.object_detection import ObjectDetection
from pretune.tasks.predicting import BUDGET_TOKENS
from pretune.tasks.semantic_segmentation import SemanticSegmentation
from pretune.tasks.shown.boxes import drawn
from pretune.tasks.shown.masks import drawn_over
from pretune.tasks.shown.points import drawn_pose
from pretune.types import Batch, Encoded
from pretune.wording import counted

__all__ = ["PlacedTask", "place_aim"]

PlacedTask = ObjectDetection | DenseTask
_OVERLAP = 0.5
_REACH = 2.5
"""Places of a map around its peak, as :func:`peaks_of` counts them."""
_TINY = 1e-12


def place_aim(task: PlacedTask, model: torch.nn.Module, device: Device, item: Encoded, label: str | None) -> Aim:
    """Raises :class:`UsageError` for a label that the model does not know, :class:`EmptyAnswer` where nothing is found."""
    if label is not None and label not in task.index:
        raise UsageError(f"the label {label!r} is not among those trained on", did_you_mean(label, task.labels))
    if isinstance(task, ObjectDetection):
        return _BoxAim(task, model, device, item, label)
    if isinstance(task, KeypointDetection):
        return _PointAim(task, model, device, item, label)
    assert isinstance(task, SemanticSegmentation)
    return _RegionAim(task, model, device, item, label)


class _PlaceAim(Aim):
    """Something at a place of a picture, of which :meth:`shares` says how sure a model is."""

    figure = "probability"
    notes: tuple[str, ...] = ()

    def __init__(self, task: PlacedTask, model: torch.nn.Module, device: Device) -> None:
        self._task, self._model, self._device = task, model, device

    @abstractmethod
    def shares(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """How sure, (B,) from 0 to 1."""

    def _answered(self, items: Sequence[Encoded]) -> tuple[torch.Tensor, Batch]:
        batch = self._task.collate(list(items)).to(self._device.device)
        with inference(self._device):
            return self._task.logits_of(self._model, batch).float(), batch

    def probabilities(self, items: Sequence[Encoded]) -> np.ndarray:
        found_M = np.zeros(len(items))
        costs_M = np.array([item.cost for item in items])
        for places in cut_by_budget(costs_M, max_cost=BUDGET_TOKENS, max_rows=2**31):
            found_M[places] = (
                self.shares(*self._answered([items[int(place)] for place in places])).double().cpu().numpy()
            )
        return found_M


class _BoxAim(_PlaceAim):
    """The log-odds of a box's class, of whichever place answers with a box that overlaps it by half (Petsiuk et al. 2021, arXiv
    2006.03204, section 3.2, asks the same of pictures with parts taken out).
    """

    measure = "log-odds of the box's class"

    def __init__(
        self, task: ObjectDetection, model: torch.nn.Module, device: Device, item: Encoded, label: str | None
    ) -> None:
        super().__init__(task, model, device)
        self._learner, self._labels = task.learner, task.labels
        boxes_BP4, scores_BPC = self._learner.places_of(self._learner.answers_in(self._answered([item])[0]))
        own_PC = scores_BPC[0]
        if label is not None:
            own_PC = torch.where(torch.arange(len(task.labels), device=own_PC.device) == task.index[label], own_PC, 0.0)
        self.probability = float(own_PC.max())
        if self.probability < LEAST_SCORE:
            named = "nothing" if label is None else f"no {label}"
            raise EmptyAnswer(
                f"the model finds {named} in this picture", "explain a picture in which it finds something"
            )
        place, self._class = divmod(int(own_PC.argmax()), own_PC.shape[1])
        self._box_4 = boxes_BP4[0, place].detach()
        self.explained = self.answer = task.labels[self._class]
        least = (
            f", below the {task.threshold:.2f} from which boxes are told" if self.probability < task.threshold else ""
        )
        self.notes = (f"Explained is the surest box{'' if label is None else f' of {label}'}{least}: it is drawn.",)

    def shares(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        boxes_BP4, scores_BPC = self._learner.places_of(self._learner.answers_in(logits))
        box_B14 = self._box_4.to(boxes_BP4.device).expand(len(boxes_BP4), 1, 4)
        near_BP = overlaps(boxes_BP4.detach(), box_B14)[..., 0] >= _OVERLAP
        return torch.where(near_BP, scores_BPC[..., self._class], 0.0).amax(dim=1)

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.logit(self.shares(logits, batch), eps=_TINY)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        x1, y1, x2, y2 = self._box_4.tolist()
        box = Box(self._labels[self._class], x1, y1, x2, y2, self.probability)
        return drawn(Image.fromarray(pixels), [], [box], self._labels)


class _RegionAim(_PlaceAim):
    """The mean logarithm of a class's probability over the places that are given it."""

    measure = "mean logarithm of the class's probability where it is told"

    def __init__(
        self, task: SemanticSegmentation, model: torch.nn.Module, device: Device, item: Encoded, label: str | None
    ) -> None:
        super().__init__(task, model, device)
        logits, _ = self._answered([item])
        told_hw = logits[0].argmax(dim=0)
        areas_C = torch.bincount(told_hw.flatten(), minlength=len(task.labels))
        self._class = int(areas_C.argmax()) if label is None else task.index[label]
        if not int(areas_C[self._class]):
            raise EmptyAnswer(f"the model tells no place of this picture as {label}", "explain a class that it finds")
        self._region_hw = told_hw == self._class
        self.explained = self.answer = task.labels[self._class]
        self._count, self._sides = len(task.labels), task.geometry.crop
        self.probability = float(self.probabilities([item])[0])
        share = float(self._region_hw.double().mean())
        self.notes = (
            f"Explained are all places told as {self.explained}, {share:.0%} of the picture: they are drawn.",
        )

    def shares(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.softmax(logits, dim=1)[:, self._class, self._region_hw].mean(dim=1)

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return torch.log_softmax(logits, dim=1)[:, self._class, self._region_hw].mean(dim=1)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        from pretune.answers.mask import NONE

        mask_hw = np.where(self._region_hw.cpu().numpy(), self._class, NONE).astype(np.uint8)
        whole = Image.fromarray(mask_hw).resize((self._sides[1], self._sides[0]), Image.Resampling.NEAREST)
        return drawn_over(pixels, np.asarray(whole)[: pixels.shape[0], : pixels.shape[1]], self._count)


class _PointAim(_PlaceAim):
    """The logarithm of the share of a point's map that lies around its peak."""

    measure = "logarithm of the share of the point's map around its peak"
    figure = "share of its map around the peak"

    def __init__(
        self, task: KeypointDetection, model: torch.nn.Module, device: Device, item: Encoded, label: str | None
    ) -> None:
        super().__init__(task, model, device)
        logits, _ = self._answered([item])
        peaks_J3 = peaks_of(task.outputs_of(logits)[0].cpu().numpy())
        self._point = int(peaks_J3[:, 2].argmax()) if label is None else task.index[label]
        x, y, _ = peaks_J3[self._point].tolist()
        height, width = logits.shape[-2:]
        down_h, across_w = (torch.arange(side, device=logits.device) + 0.5 for side in (height, width))
        near_h, near_w = (down_h - y * height).abs() <= _REACH, (across_w - x * width).abs() <= _REACH
        self._near_hw = near_h[:, None] & near_w[None]
        self._place = (x * task.geometry.crop[1], y * task.geometry.crop[0])
        self.explained = self.answer = task.labels[self._point]
        self.probability = float(self.probabilities([item])[0])
        asked = "the surest point" if label is None else "the point asked for"
        self.notes = (f"Explained is {asked} of {counted(len(task.labels), 'point')}: it is drawn.",)

    def shares(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self.score(logits, batch).exp()

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        map_Bhw = logits[:, self._point]
        return torch.logsumexp(map_Bhw[:, self._near_hw], dim=1) - torch.logsumexp(map_Bhw.flatten(1), dim=1)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        return drawn_pose(pixels, [(*self._place, 1.0)], (self.explained,), 1.0)
