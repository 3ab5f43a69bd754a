"""What a detector's head promises to its task.

Shapes: B pictures of a batch, A anchors of the canvas, P places that are answered for, C classes, K = C + 1 with the background first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pretune.types import Batch, Encoded

__all__ = ["DetectionHead", "Places", "Targets", "scores_of"]


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
    """``anchors_A4`` are those of the canvas; ``proposals`` the regions that are looked at, 0 for a head of one stage."""

    anchors_A4: torch.Tensor
    num_classes: int
    proposals: int = 0

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Numbers of a place."""

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
        """(B,) how far the logits are from a teacher's of the same anchors, of one thing that counts on average."""

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
        """The largest between the places of two models, (B, P, 4 + C) with boxes in shares of the canvas; NaN where one says NaN."""
        return float((one - other).abs().max())


def scores_of(logits_BPK: torch.Tensor) -> torch.Tensor:
    """(B, P, C) the probability of each class, float64."""
    return torch.softmax(logits_BPK.double(), dim=-1)[..., 1:]
