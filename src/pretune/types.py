"""The things on the arrows between rooms.

Shape legend used in names and comments: B rows of a batch, T tokens of a row, C classes, N rows of a data set; H, W the
sides of a picture in pixels.
Every room imports its vocabulary from this file; the kinds of answers are in :mod:`pretune.answers`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pretune.answers import Answer

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "SPLIT_NAMES",
    "TERM",
    "Batch",
    "Encoded",
    "Example",
    "Feed",
    "Interval",
    "Loss",
    "ParameterGroup",
    "Prediction",
    "Score",
    "Step",
    "Target",
    "Tree",
    "in_double",
    "move_tree",
    "unmapped",
]

SPLIT_NAMES = ("train", "validation", "test", "unlabelled")


Target: TypeAlias = Answer
"""What a row is to be answered by: a label, a number, tags, a text, ..."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as a task sees it. ``target`` is None for an unlabelled row; ``id`` is unique and reaches the prediction.

    ``inputs`` holds the row's columns: texts as strings, pictures and sounds as ``{"path", "bytes"}``.
    """

    id: str
    inputs: Mapping[str, Any]
    target: Target | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as arrays, by the names that its task's collate knows.

    ``cost`` is what it weighs in a batch: tokens of a text, 16 x 16 patches of a picture, 20 ms frames of a sound.
    ``target`` is the task's own form of the answer (a class index, several of them, character ids), None when unlabelled.
    """

    id: str
    arrays: Mapping[str, np.ndarray]
    cost: int
    target: Any = None
    weight: float = 1.0


Tree: TypeAlias = "torch.Tensor | list[Tree] | dict[str, Tree] | None"
"""Tensors in lists and mappings: detectors take a list of pictures and a list of mappings, most models one mapping."""


def move_tree(tree: Any, device: torch.device) -> Any:
    """The same tree with every tensor on ``device``."""
    if isinstance(tree, dict):
        return {name: move_tree(part, device) for name, part in tree.items()}
    if isinstance(tree, list):
        return [move_tree(part, device) for part in tree]
    if tree is None:
        return None
    if device.type == _NO_DOUBLE and tree.dtype.itemsize == 8 and tree.is_floating_point():
        tree = tree.float()
    return tree.to(device, non_blocking=True)


def unmapped(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in memory, where the system neither moves nor replaces a file that is mapped: Windows, which opens no folders either."""
    return tensor if _MOVES_MAPPED_FILES else tensor.clone()


_MOVES_MAPPED_FILES = hasattr(os, "O_DIRECTORY")
_NO_DOUBLE = "mps"


def in_double(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers as float64, where they are; Apple's GPUs have no float64, and what is there comes to the processor."""
    return (tensor.cpu() if tensor.device.type == _NO_DOUBLE else tensor).double()


TERM = "loss"
"""The name of the one term of a loss that has no others."""


@dataclass(slots=True)
class Batch:
    """Rows ready for a model. ``inputs`` are the keyword arguments of its forward.

    ``counts`` tells of each term of the loss by what the whole update's is divided: labelled rows, masked tokens, matched
    boxes, ... It is known before the loss is. ``num_tokens`` counts real tokens, ``num_padded`` all positions.
    """

    inputs: dict[str, Any]
    targets: Any
    counts: Mapping[str, float]
    ids: tuple[str, ...]
    num_tokens: int = 0
    num_padded: int = 0
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def num_items(self) -> float:
        """The count of the loss's only term."""
        return self.counts[TERM]

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor on ``device``."""
        return Batch(
            move_tree(self.inputs, device),
            move_tree(self.targets, device),
            self.counts,
            self.ids,
            self.num_tokens,
            self.num_padded,
            move_tree(self.extras, device),
        )


Feed: TypeAlias = Mapping[str, Batch]
"""One micro-batch of all that an objective draws: rows by name, such as ``labelled``, or ``weak`` and ``strong`` views of the same rows."""


@dataclass(frozen=True, slots=True)
class Loss:
    """``terms`` are sums, never means: the loop divides each by its count over the whole update. ``log`` holds detached sums of
    what is worth logging; each is divided by the count of its name, or by that of the first term.
    """

    terms: Mapping[str, torch.Tensor]
    log: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, total: torch.Tensor, log: Mapping[str, float] | None = None) -> Loss:
        """A loss of one term."""
        return cls({TERM: total}, log or {})

    @property
    def total(self) -> torch.Tensor:
        """The only term."""
        return self.terms[TERM]


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer update did. ``loss`` is the weighted sum of the terms, each per item; ``parts`` are figures for the log
    (the terms too, where there are several); ``num_items`` is the count of the first term; ``data_state`` is where the data stands after it.
    """

    number: int
    loss: float
    parts: Mapping[str, float]
    grad_norm: float
    learning_rate: float
    num_items: float
    num_rows: int
    num_tokens: int
    num_padded: int
    seconds: float
    progress: float
    epoch: float
    data_state: Mapping[str, Any]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn alike: ``lr_scale`` times the learning rate, with this weight decay; ``names`` match one to one."""

    parameters: Sequence[torch.nn.Parameter]
    names: Sequence[str]
    lr_scale: float = 1.0
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one row.

    ``answer`` is the JSON value of a record's answer: a label, several labels, a number, a text, a tag for each word. ``outputs_C`` is
    what windows of a long row are averaged of: probabilities in the order of the task's labels, a number in units of its spread.
    ``detail`` are further fields of the record.
    """

    id: str
    answer: Any
    outputs_C: tuple[float, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval, ``low <= high``."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Score:
    """One figure with its evidence: ``n`` rows and a 95 % interval."""

    value: float
    interval: Interval
    n: int

    def to_dict(self) -> dict[str, float | int]:
        """Flat form for metrics.json."""
        return {"value": self.value, "low": self.interval.low, "high": self.interval.high, "n": self.n}
