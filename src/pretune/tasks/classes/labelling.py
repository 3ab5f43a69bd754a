"""What tasks with labels share, whether a row has one of them (:mod:`pretune.tasks.classes.classification`) or any number
(:mod:`pretune.tasks.classes.multilabel_classification`), and whatever rows are made of.

Shapes: C classes, N rows.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.errors import DataError, did_you_mean
from pretune.schema import Check, listed, text
from pretune.tasks.inputs.row_task import RowTask
from pretune.types import Prediction

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits
    from pretune.tasks.baselines.parts import KnownLabels

__all__ = ["Labelling", "given_order", "in_order"]

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,4000}")
"""Longer ones Python refuses to read."""


def given_order(splits: Splits) -> Sequence[str]:
    """The order that the data gives its classes (a file that names them, the features of a table), or the run that goes on."""
    return splits.facts.get("classes") or splits.facts.get("read", {}).get("classes", ())


def in_order(names: Iterable[str], given: Sequence[str] = ()) -> list[str]:
    """Classes in their one order, whatever order they come in.

    Those that the data itself orders (``given``) keep that order and go before others. The others go by number when all are
    whole numbers in plain digits (equal ones, such as ``1`` and ``01``, then by name), else by name.
    """
    left = set(names)
    first = [name for name in dict.fromkeys(given) if name in left]
    left -= set(first)
    numbers = all(_WHOLE_NUMBER.fullmatch(name) for name in left)
    return [*first, *sorted(left, key=_by_number if numbers else None)]


def _by_number(name: str) -> tuple[int, str]:
    return int(name), name


class Labelling(RowTask):
    """Rows told apart by labels of a closed set."""

    reads: ClassVar[tuple[str, ...]] = ("class_weights", "label_smoothing")
    kept: ClassVar[Mapping[str, Check]] = {"labels": listed(text(), least=2, unique=True)}
    lacks: ClassVar[Mapping[str, str]] = {}
    takes_unseen: bool = False

    def __init__(self, labels: Sequence[str], *, label_smoothing: float = 0.0) -> None:
        super().__init__(labels)
        self.index = {label: number for number, label in enumerate(self.labels)}
        self.label_smoothing = label_smoothing

    def with_training_options(self, data: Splits, settings: Any) -> None:
        """Labels are smoothed as they were."""
        self.label_smoothing = settings.label_smoothing or 0.0

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there enough labels to tell apart?"""
        cls.labels_of(data)

    @classmethod
    @abstractmethod
    def labels_of(cls, data: Splits) -> list[str]:
        """The classes of the training rows, in order. Raises :class:`DataError` when there is nothing to tell apart."""

    def head_config(self) -> dict[str, Any]:
        """The labels by number and back."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": dict(self.index),
        }

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: its classes stand in this task's order."""
        return super().student(data.replace(data, classes=list(self.labels)), backbone, settings)

    def number_of(self, name: str) -> int:
        """The class index of a label. Raises :class:`DataError` for one that was not trained on."""
        if name not in self.index:
            raise DataError(
                f'the label "{name}" is not among those trained on: {", ".join(self.labels[:20])}',
                "correct the label, or train with rows that have it",
            )
        return self.index[name]

    def shares_of(self, target: Any) -> np.ndarray:
        """A target as a share of each class, float32 (C,); -1 for an unlabelled item. Shares (of mixed rows) stay as they are."""
        if isinstance(target, np.ndarray):
            return target
        shares_C = np.full(len(self.labels), -1.0 if target is None else 0.0, dtype=np.float32)
        if target is not None:
            shares_C[np.atleast_1d(np.array(target, dtype=np.int64))] = 1.0
        return shares_C

    @abstractmethod
    def log_odds_of(self, logits_BC: torch.Tensor, index: int) -> torch.Tensor:
        """The logarithm of the odds of a class, (B,): what an explanation of that class explains."""

    def truths(self, dataset: Dataset) -> list[Any]:
        """The right answers: a label, or labels in the order of the classes."""
        cells = self.cells(dataset)
        unknown = sorted(
            {str(name) for cell in cells for name in (cell if isinstance(cell, list) else [cell])} - {*self.labels}
        )
        if unknown and not self.takes_unseen:
            raise DataError(
                f'the rows have the label "{unknown[0]}", which the model never learned',
                did_you_mean(unknown[0], self.labels),
            )
        return [sorted(cell, key=self.index.__getitem__) if isinstance(cell, list) else cell for cell in cells]

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, answer, probabilities by label, and the truth where it is known."""
        line = super().record(prediction)
        line["probabilities"] = dict(zip(self.labels, prediction.outputs_C, strict=True))
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With a calibrated probability for each label."""
        schema = super().record_schema()
        share = {"type": "number", "minimum": 0, "maximum": 1}
        schema["required"].append("probabilities")
        schema["properties"]["probabilities"] = {
            "type": "object",
            "description": "calibrated as `pretune predict` gives them",
            "properties": dict.fromkeys(self.labels, share),
        }
        return schema

    def matrix(self, records: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The probabilities of records, (N, C)."""
        found = [[record["probabilities"][label] for label in self.labels] for record in records]
        return np.array(found).reshape(-1, len(self.labels))

    @abstractmethod
    def known_answers(self, train: Dataset, rows: Dataset) -> KnownLabels:
        """See :class:`~pretune.tasks.inputs.row_task.RowTask`."""
