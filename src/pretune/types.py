"""The things on the arrows between rooms.

Shape legend used in names and comments: B rows of a batch, T tokens of a row, C classes, N rows of a data set; H, W the
sides of a picture in pixels.
Later stages widen the closed unions here (targets, modalities); every room imports its vocabulary from this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "SPLIT_NAMES",
    "Batch",
    "Encoded",
    "Example",
    "Feed",
    "Interval",
    "Label",
    "Labels",
    "Loss",
    "ParameterGroup",
    "Prediction",
    "Score",
    "Step",
    "Target",
    "Text",
]

SPLIT_NAMES = ("train", "validation", "test", "unlabelled")


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a closed set, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Any number of classes of a closed set, by name; none is a label too."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be given as the answer: a transcript."""

    value: str


Target: TypeAlias = Label | Labels | Text


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


@dataclass(slots=True)
class Batch:
    """Rows ready for a model. ``inputs`` are the keyword arguments of its forward.

    ``num_items`` is the weight of the loss's terms (labelled rows, masked tokens, ...), by which an update is normalised.
    ``num_tokens`` counts real tokens, ``num_padded`` all positions.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None
    num_items: float
    ids: tuple[str, ...]
    num_tokens: int = 0
    num_padded: int = 0
    extras: dict[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor on ``device``."""

        def move(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        targets = None if self.targets is None else self.targets.to(device, non_blocking=True)
        return Batch(
            move(self.inputs),
            targets,
            self.num_items,
            self.ids,
            self.num_tokens,
            self.num_padded,
            move(self.extras),
        )


Feed: TypeAlias = Mapping[str, Batch]
"""One micro-batch of every stream an objective draws from: stream name to batch."""


@dataclass(frozen=True, slots=True)
class Loss:
    """``total`` is a sum over items, never a mean; ``parts`` are detached sums for the log."""

    total: torch.Tensor
    num_items: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer update did. ``loss`` is per item; ``data_state`` is where the data stands after it."""

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
    """What a model says of one row, and probabilities in the order of the task's labels (if it has any).

    ``label`` is its answer in words: a label, the labels of a row that may have several, or a transcript.
    """

    id: str
    label: str | tuple[str, ...]
    probabilities_C: tuple[float, ...] = ()


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
