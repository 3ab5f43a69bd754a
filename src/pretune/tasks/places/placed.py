"""Tasks whose answers lie somewhere in a picture, and the one place of an answer that is explained.

Shapes: B pictures of a batch, P places that a detector answers for, C classes, J points, h and w a map of the model; H and W the sides of
a picture in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pretune.answers.boxes import Box
from pretune.answers.mask import NONE
from pretune.answers.peaks import peaks_of
from pretune.backbones.detection.sampling import overlaps
from pretune.errors import UsageError
from pretune.tasks.base import Task
from pretune.tasks.shown.boxes import drawn
from pretune.tasks.shown.masks import drawn_over
from pretune.tasks.shown.points import drawn_pose
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.tasks.places.detection.head import DetectionHead
    from pretune.tasks.shown.parts import Parts
    from pretune.types import Example

__all__ = ["BoxPlace", "NothingFound", "Place", "PlacedTask", "PointPlace", "RegionPlace"]

_OVERLAP, _LEAST_SCORE, _TINY = 0.5, 0.01, 1e-12
_REACH = 2.5
"""Places of a map around its peak, as :func:`peaks_of` counts them."""


class NothingFound(UsageError):
    """The model finds nothing in the picture."""


class Place(ABC):
    """Something at a place of a picture, of the class or name ``explained``; ``note`` says which, ``measure`` what :meth:`score` is."""

    measure: str
    figure = "probability"
    explained: str
    note: str

    @abstractmethod
    def shares(self, logits: torch.Tensor) -> torch.Tensor:
        """How sure a model is of it, (B,) from 0 to 1."""

    @abstractmethod
    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """What is explained, (B,); gradients flow through it."""

    @abstractmethod
    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """The picture uint8 (H, W, 3) with it."""


class PlacedTask(Task):
    """A task of pictures whose answers have places."""

    index: dict[str, int]

    @abstractmethod
    def parts(self, example: Example) -> Parts:
        """Squares of the picture as the model reads it."""

    @abstractmethod
    def explained_place(self, logits: torch.Tensor, label: str | None) -> Place:
        """What of the answer to one picture is explained, by its logits: something of ``label``, or what is surest or largest. Raises
        :class:`NothingFound`.
        """


class BoxPlace(Place):
    """The surest box. Its class's log-odds at whatever place answers with a box that overlaps it by half (Petsiuk et al. 2021, arXiv
    2006.03204, section 3.2, asks the same of pictures with parts taken out).
    """

    measure = "log-odds of the box's class"

    def __init__(
        self, head: DetectionHead, labels: Sequence[str], threshold: float, logits: torch.Tensor, label: str | None
    ) -> None:
        self._head, self._labels = head, labels
        boxes_BP4, scores_BPC = head.places_of(head.answers_in(logits))
        own_PC = scores_BPC[0]
        if label is not None:
            is_own_C = torch.tensor([name == label for name in labels], device=own_PC.device)
            own_PC = torch.where(is_own_C, own_PC, 0.0)
        self._score = float(own_PC.max())
        if self._score < _LEAST_SCORE:
            named = "nothing" if label is None else f"no {label}"
            raise NothingFound(
                f"the model finds {named} in this picture", "explain a picture in which it finds something"
            )
        place, self._class = divmod(int(own_PC.argmax()), own_PC.shape[1])
        self._box_4 = boxes_BP4[0, place].detach()
        self.explained = labels[self._class]
        least = "" if self._score >= threshold else f", below the {threshold:.2f} from which boxes are told"
        self.note = f"Explained is the surest box{'' if label is None else f' of {label}'}{least}: it is drawn."

    def shares(self, logits: torch.Tensor) -> torch.Tensor:
        """The largest probability of the class among places that answer with this box."""
        boxes_BP4, scores_BPC = self._head.places_of(self._head.answers_in(logits))
        box_B14 = self._box_4.to(boxes_BP4.device).expand(len(boxes_BP4), 1, 4)
        near_BP = overlaps(boxes_BP4.detach(), box_B14)[..., 0] >= _OVERLAP
        return torch.where(near_BP, scores_BPC[..., self._class], 0.0).amax(dim=1)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Its log-odds."""
        return torch.logit(self.shares(logits), eps=_TINY)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """The box with its class and score."""
        from PIL import Image

        x1, y1, x2, y2 = self._box_4.tolist()
        box = Box(self.explained, x1, y1, x2, y2, self._score)
        return drawn(Image.fromarray(pixels), [], [box], self._labels)


class RegionPlace(Place):
    """All places of a map that are given one class; ``sides`` (height, width) is what the map lies over."""

    measure = "mean logarithm of the class's probability where it is told"

    def __init__(self, labels: Sequence[str], sides: tuple[int, ...], logits: torch.Tensor, label: str | None) -> None:
        told_hw = logits[0].argmax(dim=0)
        areas_C = torch.bincount(told_hw.flatten(), minlength=len(labels))
        self._class = int(areas_C.argmax()) if label is None else labels.index(label)
        if not int(areas_C[self._class]):
            raise NothingFound(f"the model tells no place of this picture as {label}", "explain a class that it finds")
        self._region_hw, self._count, self._sides = told_hw == self._class, len(labels), sides
        self.explained = labels[self._class]
        share = float(self._region_hw.cpu().double().mean())
        self.note = f"Explained are all places told as {self.explained}, {share:.0%} of the picture: they are drawn."

    def shares(self, logits: torch.Tensor) -> torch.Tensor:
        """The mean probability of the class there."""
        return torch.softmax(logits, dim=1)[:, self._class, self._region_hw].mean(dim=1)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """The mean of its logarithm."""
        return torch.log_softmax(logits, dim=1)[:, self._class, self._region_hw].mean(dim=1)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """The region in its colour."""
        from PIL import Image

        mask_hw = np.where(self._region_hw.cpu().numpy(), self._class, NONE).astype(np.uint8)
        whole = Image.fromarray(mask_hw).resize((self._sides[1], self._sides[0]), Image.Resampling.NEAREST)
        return drawn_over(pixels, np.asarray(whole)[: pixels.shape[0], : pixels.shape[1]], self._count)


class PointPlace(Place):
    """Where a point's map has its peak; ``sides`` (height, width) is what the map lies over."""

    measure = "logarithm of the share of the point's map around its peak"
    figure = "share of its map around the peak"

    def __init__(self, labels: Sequence[str], sides: tuple[int, ...], logits: torch.Tensor, label: str | None) -> None:
        shares_Jhw = torch.softmax(logits[0].flatten(1), dim=1).unflatten(1, logits.shape[-2:])
        peaks_J3 = peaks_of(shares_Jhw.cpu().numpy())
        self._point = int(peaks_J3[:, 2].argmax()) if label is None else labels.index(label)
        x, y, _ = peaks_J3[self._point].tolist()
        height, width = logits.shape[-2:]
        down_h, across_w = (torch.arange(side, device=logits.device) + 0.5 for side in (height, width))
        near_h, near_w = (down_h - y * height).abs() <= _REACH, (across_w - x * width).abs() <= _REACH
        self._near_hw = near_h[:, None] & near_w[None]
        self._place = (x * sides[1], y * sides[0])
        self.explained = labels[self._point]
        asked = "the surest point" if label is None else "the point asked for"
        self.note = f"Explained is {asked} of {counted(len(labels), 'point')}: it is drawn."

    def shares(self, logits: torch.Tensor) -> torch.Tensor:
        """The share of the map that lies there."""
        return self.score(logits).exp()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Its logarithm."""
        map_Bhw = logits[:, self._point]
        return torch.logsumexp(map_Bhw[:, self._near_hw], dim=1) - torch.logsumexp(map_Bhw.flatten(1), dim=1)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """The point."""
        return drawn_pose(pixels, [(*self._place, 1.0)], (self.explained,), 1.0)
