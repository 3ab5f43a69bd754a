"""What tasks with labels share, whether a row has one of them or any number, and whatever rows are made of.

A final task is made of two halves: a modality (how rows become arrays and batches) and an arity (what their labels mean:
:mod:`pretune.tasks.classification`, :mod:`pretune.tasks.multilabel_classification`).
Shapes: B items of a batch, C classes, N rows, K statistics.
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
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.baseline_parts import KnownLabels
from pretune.tasks.parts import Parts
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, Target

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["Labelling", "given_order", "in_order", "training_rows"]

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,4000}")
"""Longer ones Python refuses to read."""


def given_order(splits: Splits) -> Sequence[str]:
    """The order that the data gives its classes (a file that names them, the features of a table), or the run that goes on."""
    return splits.facts.get("classes") or splits.facts.get("read", {}).get("classes", ())


def training_rows(splits: Splits, column: str) -> Dataset:
    """The training rows, which have this column of labels. Raises :class:`DataError` where they have not."""
    train = splits.get("train")
    if train is None or len(train) == 0:
        raise DataError("there are no training rows", "pretune inspect DATA shows what was read")
    if column not in train.column_names:
        raise DataError(
            "the training rows have no labels",
            f"{splits.label_advice(column)}; `pretune pretrain` needs no labels",
        )
    return train


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


class Labelling(Task):
    """Rows told apart by labels of a closed set.

    ``problem_type`` is what transformers calls the arity. ``pooling`` are the modes by which the classifier reads the states of the
    tokens; none: the head that the architecture has of its own. Options of ``__init__`` that a trained model needs again come
    from :meth:`kept_options`.
    """

    reads: ClassVar[tuple[str, ...]] = ("class_weights", "label_smoothing")
    kept: ClassVar[Mapping[str, Check]] = {"labels": listed(text(), least=2, unique=True)}
    auto_class: ClassVar[str]
    problem_type: ClassVar[str]
    pooling: tuple[str, ...] = ()

    def __init__(self, labels: Sequence[str], *, label_smoothing: float = 0.0) -> None:
        self.labels = tuple(labels)
        self.index = {label: number for number, label in enumerate(self.labels)}
        self.label_smoothing = label_smoothing

    def learn_as(self, data: Splits, settings: Any) -> None:
        """Labels are smoothed as they were."""
        self.label_smoothing = settings.label_smoothing

    @classmethod
    @abstractmethod
    def options_of(cls, data: Splits, settings: TaskSettings) -> tuple[list[str], dict[str, Any]]:
        """The labels, and the options of ``__init__`` that the settings ask for. Raises :class:`DataError`."""

    @classmethod
    @abstractmethod
    def kept_options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        """The options of ``__init__`` that :meth:`to_dict` kept."""

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there enough labels to tell apart?"""
        cls.labels_of(data)

    @classmethod
    @abstractmethod
    def labels_of(cls, data: Splits) -> list[str]:
        """The classes of the training rows, in order. Raises :class:`DataError` when there is nothing to tell apart."""

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The classifier that transformers has for the backbone, or a linear one on the pooled states."""
        return backbone.build(
            self.auto_class,
            seed=seed,
            pooling=self.pooling,
            num_labels=len(self.labels),
            id2label=dict(enumerate(self.labels)),
            label2id=dict(self.index),
            problem_type=self.problem_type,
        )

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: its classes stand in this task's order."""
        return super().student(data.replace(data, classes=list(self.labels)), backbone, settings)

    @abstractmethod
    def numbered(self, answer: Any) -> Any:
        """A right answer (a cell of the column) as a target: class indices. Raises :class:`DataError` for one never learned."""

    def number_of(self, name: str) -> int:
        """The class index of a label. Raises :class:`DataError` for one that was not trained on."""
        if name not in self.index:
            raise DataError(
                f'the label "{name}" is not among those trained on: {", ".join(self.labels[:20])}',
                "correct the label, or train with rows that have it",
            )
        return self.index[name]

    @abstractmethod
    def target_of(self, target: Target | None) -> Any:
        """An example's target as class indices, None for none. Raises :class:`DataError` for a label never learned."""

    def targets_by_row(self, dataset: Dataset) -> list[Any]:
        """The targets of a data set's rows as :meth:`target_of` gives them, None for unlabelled ones."""
        if self.answer not in dataset.column_names:
            return [None] * len(dataset)
        return [None if answer is None else self.numbered(answer) for answer in dataset[self.answer]]

    def shares_of(self, target: Any) -> np.ndarray:
        """A target as a share of each class, float32 (C,); -1 for an unlabelled item. Shares (of mixed rows) stay as they are."""
        if isinstance(target, np.ndarray):
            return target
        shares_C = np.full(len(self.labels), -1.0 if target is None else 0.0, dtype=np.float32)
        if target is not None:
            shares_C[np.atleast_1d(np.array(target, dtype=np.int64))] = 1.0
        return shares_C

    @abstractmethod
    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """The model's keyword arguments for these items, with the cost that is real and the cost with padding."""

    @abstractmethod
    def targets_and_weights(self, rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets (B,) or (B, C), below 0 for unlabelled items, and the items' weights (B,)."""

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` are below 0 for unlabelled items; ``extras["weights"]`` (B,)."""
        inputs, num_tokens, num_padded = self.inputs_of(rows)
        targets, weights_B = self.targets_and_weights(rows)
        is_labelled_B = torch.tensor([row.target is not None for row in rows])
        return Batch(
            inputs=inputs,
            targets=targets,
            counts={TERM: float(weights_B[is_labelled_B].sum())},
            ids=tuple(row.id for row in rows),
            num_tokens=num_tokens,
            num_padded=num_padded,
            extras={"weights": weights_B},
        )

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What the model says of the batch, (B, C)."""
        return model(**batch.inputs).logits

    @abstractmethod
    def losses(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each item (B,), its weight left out."""

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """The items' losses times their weights, summed."""
        assert batch.targets is not None
        refuse_unlabelled(self, batch, rows="unlabelled rows", answer="label")
        losses_B = self.losses(self.logits_of(model, batch).float(), batch.targets)
        return Loss.of((losses_B * batch.extras["weights"]).sum())

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Targets below 0 are none."""
        assert batch.targets is not None
        return batch.targets.reshape(len(batch.ids), -1)[:, 0] >= 0

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """The items' weights, classes' weights in them."""
        return batch.extras["weights"]

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """See :meth:`losses`."""
        assert batch.targets is not None
        places = torch.nonzero(self.is_labelled(batch))[:, 0]
        losses_B = torch.zeros(len(batch.ids), device=logits.device)
        if len(places):
            found = self.losses(logits[places].float(), batch.targets[places])
            losses_B = losses_B.index_put((places,), found)
        return losses_B * batch.extras["weights"]

    @abstractmethod
    def divergences(self, logits_BC: torch.Tensor, teachers_BC: torch.Tensor, temperature: float) -> torch.Tensor:
        """How far the answer to each item is from a teacher's (B,), its weight left out."""

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :meth:`divergences`."""
        return self.divergences(logits, teachers, temperature) * batch.extras["weights"]

    @abstractmethod
    def probabilities_of(self, logits_BC: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, C) as trained."""

    @abstractmethod
    def log_odds_of(self, logits_BC: torch.Tensor, index: int) -> torch.Tensor:
        """The logarithm of the odds of a class, (B,): what an explanation of that class explains."""

    @abstractmethod
    def parts(self, example: Example) -> Parts:
        """The example's first item and the parts that it can be asked about: words, squares of a picture, stretches of time."""

    @abstractmethod
    def answer_of(self, probabilities_C: Sequence[float]) -> str | tuple[str, ...]:
        """What such probabilities say of a row."""

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """Probabilities as trained, with the answer they give."""
        probabilities_BC = self.probabilities(model, batch).cpu().tolist()
        return [
            Prediction(i, self.answer_of(row), tuple(row)) for i, row in zip(batch.ids, probabilities_BC, strict=True)
        ]

    def probabilities(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """As trained, (B, C) float64."""
        return self.probabilities_of(finite_answers(self.logits_of(model, batch), batch.ids).double())

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The mean probability over a row's windows."""
        by_id: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            by_id.setdefault(prediction.id, []).append(prediction)
        return [found[0] if len(found) == 1 else self._mean(found) for found in by_id.values()]

    def _mean(self, windows: list[Prediction]) -> Prediction:
        mean_C = np.mean([window.probabilities_C for window in windows], axis=0).tolist()
        return Prediction(windows[0].id, self.answer_of(mean_C), tuple(mean_C))

    def truths(self, dataset: Dataset) -> list[Any]:
        """The right answers: a label, or labels in the order of the classes."""
        if self.answer not in dataset.column_names:
            raise DataError(
                "the rows have no labels to score against",
                f"name their column with --column {self.answer}=NAME, or use pretune predict",
            )
        found = list(dataset[self.answer])
        unknown = sorted(
            {str(name) for cell in found for name in (cell if isinstance(cell, list) else [cell])} - {*self.labels}
        )
        if unknown:
            raise DataError(
                f'the rows have the label "{unknown[0]}", which the model never learned',
                did_you_mean(unknown[0], self.labels),
            )
        return [sorted(cell, key=self.index.__getitem__) if isinstance(cell, list) else cell for cell in found]

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, answer, probabilities by label, and the truth where it is known."""
        label = prediction.label
        found = {
            "id": prediction.id,
            self.answer: label if isinstance(label, str) else list(label),
            "probabilities": dict(zip(self.labels, prediction.probabilities_C, strict=True)),
        }
        return found if truth is None else {**found, "truth": truth}

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the report shows of a row: id and texts, and what a modality adds."""
        return {key: row[key] for key in ("id", "text", "text_pair") if key in row}

    def matrix(self, records: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The probabilities of records, (N, C)."""
        found = [[record["probabilities"][label] for label in self.labels] for record in records]
        return np.array(found).reshape(-1, len(self.labels))

    @abstractmethod
    def known_labels(self, train: Dataset, rows: Dataset) -> KnownLabels:
        """The labels of both as arrays, for the simple methods that the task is held against."""

    def to_dict(self) -> dict[str, Any]:
        """Name and labels."""
        return {"task": self.name, "labels": list(self.labels)}
