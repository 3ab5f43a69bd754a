"""What a task shows to those who use a part of it: rows encoded, what learning needs, answers as they are written, paces, steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from pretune.types import Batch, Encoded, Loss, Prediction

if TYPE_CHECKING:
    from pretune.backbones.detection.anchors import Found

__all__ = ["EncodedRows", "Learnable", "Locating", "PartsPace", "Steps", "Streams"]


class EncodedRows(Protocol):
    """A data set encoded once and read by number. ``lengths_N`` is each item's cost, ``ledger`` what encoding lost."""

    lengths_N: np.ndarray
    ledger: dict[str, Any]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Encoded: ...


class Learnable(Protocol):
    """The part of a task that learning and predicting use; see :class:`~pretune.tasks.base.Task`."""

    mixed_with: ClassVar[int]

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """The keys of its losses' logs."""
        ...

    @property
    def mixes(self) -> float:
        """Share of the items that are learned mixed with ``mixed_with`` others."""
        ...

    @property
    def ties_rows(self) -> bool:
        """Does the loss of a row depend on the others of its update?"""
        ...

    def augment(self, row: Encoded, rng: np.random.Generator, /) -> Encoded:
        """The item as it is learned from this time."""
        ...

    def mixed(self, row: Encoded, others: Sequence[Encoded], rng: np.random.Generator, /) -> Encoded:
        """Augmented items as one that keeps the first's id."""
        ...

    def collate(self, rows: Sequence[Encoded], /) -> Batch:
        """Items as one batch."""
        ...

    def loss(self, model: torch.nn.Module, batch: Batch, /) -> Loss:
        """The loss summed over the batch's items."""
        ...

    def predict(self, model: torch.nn.Module, batch: Batch, /) -> list[Prediction]:
        """One prediction an item."""
        ...

    def merge(self, predictions: Sequence[Prediction], /) -> list[Prediction]:
        """One prediction a row."""
        ...


@runtime_checkable
class Streams(Protocol):
    """The part of a task whose answers can be read while they are written."""

    def written(
        self, model: torch.nn.Module, item: Encoded, device: torch.device, told: Callable[[str], bool], /
    ) -> Prediction:
        """The answer to an item. ``told`` is given the text so far after each token, and says whether to go on."""
        ...


@runtime_checkable
class Locating(Protocol):
    """The part of a task that finds boxes in pictures."""

    def located(self, logits: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (B, P, 4) in pixels of the canvas, and the probability of each class (B, P, C)."""
        ...

    def chosen(self, model: torch.nn.Module, batch: Batch, /) -> Sequence[Found]:
        """Of each picture the boxes that stay after sorting out."""
        ...


@dataclass(frozen=True)
class PartsPace:
    """How fast the parts of a model learn whose head is fresh: ``learning_rate`` of the head where the settings name none (None: the
    one at which the backbone's own rate is its trunk's), ``alone_rate`` where the head alone learns (None: the same), ``trunk_scale`` times that the modules ``trunk`` (none: what lies under the head), and
    ``resting`` modules not at all.
    """

    learning_rate: float | None = None
    alone_rate: float | None = None
    trunk_scale: float = 1.0
    trunk: tuple[torch.nn.Module, ...] = ()
    resting: tuple[torch.nn.Module, ...] = ()


class Steps(NamedTuple):
    """The steps in which a text was written: its tokens, and what stood before each. A decoder reads prompt and text as one: ``read_T``."""

    written_L: np.ndarray
    before_L: np.ndarray
    read_T: np.ndarray | None = None
