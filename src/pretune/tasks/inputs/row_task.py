"""Tasks that give a row one answer, made of one vector of outputs: a class, several classes, a number.

A final task is made of two halves: what its rows are made of (:mod:`pretune.tasks.inputs.texts`, ``of_pictures``, ``of_clips``) and what its
answers mean (:mod:`pretune.tasks.classes.classification`, ``multilabel_classification``, ``regression``).
Shapes: B items of a batch, C outputs (one a class), N rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from pretune.answers import ANSWERS
from pretune.errors import DataError
from pretune.metrics.base import Measured
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled, windows_of
from pretune.tasks.shown.parts import Parts
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, Target, in_double

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits
    from pretune.tasks.baselines.parts import KnownAnswers

__all__ = ["RowTask", "training_rows"]


def training_rows(splits: Splits, column: str) -> Dataset:
    """The training rows, which have this column of answers (a kind of :data:`pretune.answers.ANSWERS`). Raises :class:`DataError` where they have not."""
    train = splits.get("train")
    if train is None or len(train) == 0:
        raise DataError("there are no training rows", "pretune inspect DATA shows what was read")
    if column not in train.column_names:
        raise DataError(
            f"the training rows have no {ANSWERS[column].lacked()}",
            f"{splits.label_advice(column)}; `pretune pretrain` needs none",
        )
    return train


class RowTask(Task):
    """One answer a row from one vector of outputs.

    ``problem_type`` is what transformers calls the arity. ``pooling`` are the modes by which the head reads the states of the tokens;
    none: the head that the architecture has of its own. Options of ``__init__`` that a trained model needs again come from
    :meth:`saved_options`.
    """

    auto_class: ClassVar[str]
    problem_type: ClassVar[str]
    pooling: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """A task reads the settings that both of its halves read."""
        super().__init_subclass__()
        halves = (base.__dict__.get("reads", ()) for base in reversed(cls.__mro__))
        cls.reads = tuple(dict.fromkeys(name for half in halves for name in half))

    def __init__(self, labels: Sequence[str] = ()) -> None:
        self.labels = tuple(labels)

    @classmethod
    @abstractmethod
    def options_of(cls, data: Splits, settings: TaskSettings) -> tuple[list[str], dict[str, Any]]:
        """The labels, and the options of ``__init__`` that the settings ask for. Raises :class:`DataError`."""

    @classmethod
    @abstractmethod
    def saved_options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        """The options of ``__init__`` that :meth:`to_dict` kept."""

    @abstractmethod
    def head_config(self) -> dict[str, Any]:
        """What the config of a model with this head says of its outputs."""

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The head that transformers has for the backbone, or a linear one on the pooled states."""
        return backbone.build(
            self.auto_class, seed=seed, pooling=self.pooling, problem_type=self.problem_type, **self.head_config()
        )

    @abstractmethod
    def numbered(self, answer: Any) -> Any:
        """A right answer (a cell of the column) as a target. Raises :class:`DataError` for a label that was never learned."""

    @abstractmethod
    def target_of(self, target: Target | None) -> Any:
        """An example's target as :meth:`numbered` gives it, None for none. Raises :class:`DataError` for a label never learned."""

    def targets_by_row(self, dataset: Dataset) -> list[Any]:
        """The targets of a data set's rows as :meth:`target_of` gives them, None for unlabelled ones."""
        if self.answer not in dataset.column_names:
            return [None] * len(dataset)
        return [None if answer is None else self.numbered(answer) for answer in dataset[self.answer]]

    @abstractmethod
    def shares_of(self, target: Any) -> np.ndarray:
        """A target as a vector that can be mixed with another's, float32 (C,); one that is such a vector stays as it is."""

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
        refuse_unlabelled(self, batch, rows="unlabelled rows", answer=ANSWERS[self.answer].lack)
        return Loss.of(self.plain_loss(model, batch))

    def plain_loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """:meth:`loss` of items that all have an answer, without a look at any value: so it can be mapped over rows (``torch.func.vmap``)."""
        losses_B = self.losses(self.logits_of(model, batch).float(), batch.targets)
        return (losses_B * batch.extras["weights"]).sum()

    def labelled_targets(self, targets: torch.Tensor) -> torch.Tensor:
        """Which targets (B,) or (B, C) are right answers, bool (B,): those below 0 are none."""
        return targets.reshape(len(targets), -1)[:, 0] >= 0

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """See :meth:`labelled_targets`."""
        assert batch.targets is not None
        return self.labelled_targets(batch.targets)

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
    def outputs_of(self, logits_BC: torch.Tensor) -> torch.Tensor:
        """Outputs (B, C) of which windows of a row are averaged: probabilities as trained, numbers in units of their spread."""

    @abstractmethod
    def answer_of(self, outputs_C: Sequence[float]) -> Any:
        """What such outputs say of a row, as a JSON value."""

    @abstractmethod
    def parts(self, example: Example) -> Parts:
        """The example's first item and the parts that it can be asked about: words, squares of a picture, stretches of time."""

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """Outputs as trained, with the answer they give."""
        outputs_BC = self.outputs(model, batch).cpu().tolist()
        return [Prediction(i, self.answer_of(row), tuple(row)) for i, row in zip(batch.ids, outputs_BC, strict=True)]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """As trained, (B, C) float64."""
        return self.outputs_of(in_double(finite_answers(self.logits_of(model, batch), batch.ids)))

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The mean of the outputs over a row's windows."""
        return [windows[0] if len(windows) == 1 else self._mean(windows) for windows in windows_of(predictions)]

    def _mean(self, windows: list[Prediction]) -> Prediction:
        mean_C = np.mean([window.outputs_C for window in windows], axis=0).tolist()
        return Prediction(windows[0].id, self.answer_of(mean_C), tuple(mean_C))

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, answer, and the truth where it is known."""
        line = {"id": prediction.id, self.answer: prediction.answer}
        return line if truth is None else {**line, "truth": truth}

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the report shows of a row: id and texts, and what a modality adds."""
        return {key: row[key] for key in ("id", "text", "text_pair") if key in row}

    @abstractmethod
    def known_answers(self, train: Dataset, rows: Dataset) -> KnownAnswers:
        """The answers of both as arrays, for the simple methods that the task is held against."""

    @abstractmethod
    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """See :class:`pretune.tasks.base.Task`."""

    def to_dict(self) -> dict[str, Any]:
        """Name and labels."""
        return {"task": self.name, "labels": list(self.labels)}
