"""What an aim promises: one figure of an answer.

Shapes: B rows of a batch, M items, C classes, F frames, V characters of the vocabulary; H and W the sides of a picture in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from pretune.errors import UsageError
from pretune.types import Batch, Encoded

__all__ = ["Aim", "EmptyAnswer"]


class EmptyAnswer(UsageError):
    """The model answers with nothing, which nothing speaks for."""


class Aim(ABC):
    """One figure of an answer. ``explained`` names it, ``probability`` is the model's confidence in it (or what ``figure`` calls it).

    ``measure`` says in words what :meth:`score` gives.
    """

    measure: str
    figure: str
    answer: str | tuple[str, ...]
    explained: str
    probability: float
    notes: tuple[str, ...]

    @abstractmethod
    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What is shared among the parts, (B,), of the model's logits; gradients flow through it."""

    @abstractmethod
    def probabilities(self, items: Sequence[Encoded]) -> np.ndarray:
        """The model's confidence in ``explained`` for each item, (M,) from 0 to 1."""

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """The picture uint8 (H, W, 3) with what is explained drawn on it, where it lies somewhere; perhaps at another size."""
        return pixels
