"""What a detector's head promises to its task.

Shapes: B pictures of a batch, P places that are answered for, C classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pretune.tasks.protocols import PartsPace
from pretune.types import Batch, Encoded

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["DetectionHead", "Places", "Targets"]

_SAME_PLACE = 0.005
"""Boxes of two models whose sides lie as near, in shares of the canvas, are of the same place."""


class Targets(NamedTuple):
    """What the pictures of a batch are to give, tensors by name, and what each counts for (B,)."""

    tensors: Mapping[str, torch.Tensor]
    counts_B: torch.Tensor


class Places(NamedTuple):
    """Boxes in pixels of the canvas (B, P, 4), and the probability of each class (B, P, C), float64."""

    boxes_BP4: torch.Tensor
    scores_BPC: torch.Tensor


@dataclass(frozen=True)
class DetectionHead(ABC):
    """A head for ``num_classes`` on a canvas of ``sides`` (height, width): its model, what that learns, and what its numbers say."""

    sides: tuple[int, int]
    num_classes: int

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Numbers of a place."""

    @property
    @abstractmethod
    def chooses(self) -> bool:
        """Are the places that are answered for chosen by what the model has found?"""

    @abstractmethod
    def kept(self) -> dict[str, Any]:
        """What ``pretune.json`` keeps of it beside its name and the canvas, of the fields of :data:`pretune.tasks.places.detection.kinds.KEPT`."""

    @abstractmethod
    def portable(self) -> dict[str, Any]:
        """What makes boxes of the numbers of a graph elsewhere."""

    @abstractmethod
    def build(self, backbone: Backbone, labels: Sequence[str], *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The model, its trunk the backbone's."""

    @abstractmethod
    def parts_pace(self, model: Any, backbone: Backbone) -> PartsPace:
        """How fast its parts learn."""

    @abstractmethod
    def processor(self, own: Any, settings: Mapping[str, Any]) -> Any:
        """An image processor of these settings to stand beside the model; ``own`` is the backbone's."""

    @abstractmethod
    def targets(self, rows: Sequence[Encoded]) -> Targets:
        """Boxes are matched here as far as they can be, so that what a loss is divided by is known before it is."""

    @abstractmethod
    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """All that the model says of a batch, (B, ..., numbers)."""

    def learned_logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The same where it is learned by the batch's targets."""
        return self.logits_of(model, batch)

    @abstractmethod
    def losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,) sums over a picture, whatever pictures are beside it."""

    @abstractmethod
    def distances(self, logits: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
        """(B,) how far the logits are from those of a teacher with the same head, of one thing that counts on average."""

    def answers_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What answers are made of, (B, P, numbers): all that a graph of another engine gives."""
        return model(**batch.inputs).logits

    @abstractmethod
    def answers_in(self, logits: torch.Tensor) -> torch.Tensor:
        """The same as a part of :meth:`logits_of`."""

    @abstractmethod
    def places_of(self, answers: torch.Tensor) -> Places:
        """Boxes and scores of these numbers."""

    def difference(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """The largest between the places of two models, (B, P, 4 + C) with boxes in shares of the canvas; NaN where one says NaN. Where
        a model chooses its places, of those that both look at, wherever they stand in the order: rounding decides between places that score
        alike. What one model alone looks at shows in its answers.
        """
        return _of_same_places(one, other) if self.chooses else float((one - other).abs().max())


def _of_same_places(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference between places (B, P, 4 + C) of two models that lie alike; NaN where one says NaN."""
    if bool((one - other).isnan().any()):
        return math.nan
    largest = 0.0
    for mine_PK, theirs_QK in zip(one, other, strict=True):
        apart_PQ = torch.cdist(mine_PK, theirs_QK, p=math.inf)
        moved_PQ = torch.cdist(mine_PK[:, :4], theirs_QK[:, :4], p=math.inf)
        nearest_P = apart_PQ.masked_fill(moved_PQ > _SAME_PLACE, math.inf).amin(dim=1)
        largest = max(largest, float(torch.where(nearest_P.isfinite(), nearest_P, 0.0).max()))
    return largest
