"""The signature of a task: how rows become batches, losses, predictions and scores.

A task is a final class beside those of its kind and one entry of ``tasks.TASKS``; ``tests/contract`` holds each to the same
promises. How its answers are scored is its metric's to say (:mod:`pretune.metrics.base`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.answers import ANSWERS, answer_of
from pretune.errors import DataError, ModelError
from pretune.metrics.base import Measured, Metric
from pretune.modalities import Modality
from pretune.schema import Check, record, text
from pretune.tasks.protocols import EncodedRows, PartsPace, Steps
from pretune.types import Batch, Encoded, Example, Loss, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = [
    "Task",
    "finite_answers",
    "refuse_unlabelled",
    "windows_of",
]


class Task(ABC):
    """What labels mean. ``labels`` names the classes in the order of the probabilities; a task without classes has none."""

    name: ClassVar[str]
    modality: ClassVar[Modality]
    columns: ClassVar[tuple[str, ...]]
    """Columns of the data that it learns from."""
    answer: ClassVar[str]
    """The column of the right answers, and the key of an answer in a record."""
    metric_type: ClassVar[type[Metric]]
    """How answers are scored."""
    hub_task: ClassVar[str] = ""
    """The hub's name of what its models do, where a pipeline of transformers answers as pretune does."""
    lacks: ClassVar[Mapping[str, str]] = {
        "audit": "that a row was learned from is told by the likelihood of its class, and these answers are no classes",
        "probe": "a probe tells classes apart",
        "ask": "rows to label are looked for where a row is of one class of several",
        "review": "labels that look wrong are looked for where a row is of one class of several",
        "selftrain": "answers that are learned from are one class of several (pretune distill --unlabelled teaches a student)",
    }
    """Verbs that it cannot be used with, each with why not: the others take its runs, and ``pretune list --tasks`` shows both."""

    # How it is found and what people call its inputs.
    by_name: ClassVar[bool] = False
    """It is learned where it was asked for by its name, not wherever rows have its columns."""
    found_by: ClassVar[tuple[str, ...]] = ()
    """Columns that rows must have beside those it learns from where it was not asked for by its name."""
    more_inputs: ClassVar[tuple[str, ...]] = ()
    """Columns that a row to be answered may have beside those it needs."""
    titles: ClassVar[Mapping[str, str]] = {}
    """What people call its inputs, where "text" would not do."""

    # How it learns where the settings do not say.
    mixed_with: ClassVar[int] = 1
    """Rows that one is mixed with, where :attr:`mixes` says that some are."""
    fresh: ClassVar[str] = ""
    """The preset to begin with where there is no trained model, and those of its modality would not do."""
    default_batch_size: ClassVar[int] = 32
    """Rows of an update."""
    default_updates: ClassVar[int] = 300
    """How many updates small data gets."""
    default_cost: ClassVar[float] = math.inf
    """How much data, as :class:`~pretune.tasks.protocols.EncodedRows` counts it, is learned from at most."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Settings that it looks at and other tasks may not; one that was given and is not among them is refused."""
    taught_variation: ClassVar[str] = "light"
    """How the rows of a student are varied whose teacher can be given the same ones (``--augment``)."""
    loss_parts: tuple[str, ...] = ()
    """The keys of its losses' logs."""

    # What its model is given and gives.
    kept: ClassVar[Mapping[str, Check]] = {"task": text()}
    """The fields that it adds to what :meth:`to_dict` of its bases keeps in ``pretune.json`` (:meth:`saved_fields`)."""
    learning_inputs: ClassVar[tuple[str, ...]] = ()
    """Inputs of its batches that say nothing once a model has learned."""
    fixed_inputs: ClassVar[tuple[str, ...]] = ()
    """Inputs of its batches that are as large for every row, so that an exported graph leaves only the number of rows open."""
    by_steps: ClassVar[bool] = False
    """An answer is made step by step, each told those before it."""
    by_tokens: ClassVar[bool] = False
    """The steps of an answer are its tokens."""
    holds_turns: ClassVar[bool] = False
    """It answers what was said in several turns, and can give its answer as it is written (:class:`~pretune.tasks.protocols.Streams`)."""
    answers_alone: ClassVar[bool] = False
    """It learns from pairs of texts, and answers single ones too."""
    answers_untrained: ClassVar[bool] = False
    """A trained model answers before it has learned anything, and stands among those that are chosen from."""
    left_to_pretune: ClassVar[str] = ""
    """What an exported folder's own program does not do, and what to type for it; "" for nothing."""
    labels: tuple[str, ...]

    @classmethod  # noqa: B027
    def check(cls, data: Splits) -> None:
        """Raise :class:`pretune.errors.DataError` where these rows cannot teach it; before any model is looked for."""

    @classmethod
    def lacking(cls, found: Collection[str]) -> list[str]:
        """The columns that it learns from and that are not among those of the rows."""
        return [column for column in cls.columns if column not in found]

    @classmethod
    @abstractmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """The task that these rows ask for, before anything is learned. Raises :class:`pretune.errors.DataError`."""

    @abstractmethod
    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The backbone with this task's head, and which weights are new."""

    def parts_pace(self, model: torch.nn.Module, backbone: Backbone) -> PartsPace:
        """How fast the parts of ``model``, which :meth:`build` made of ``backbone``, learn where all of it does."""
        return PartsPace()

    @abstractmethod
    def encode(self, example: Example) -> list[Encoded]:
        """The example as arrays: one item, or several windows of a long one. Pure."""

    def encode_each(self, examples: Sequence[Example]) -> list[list[Encoded] | DataError]:
        """Of each example what :meth:`encode` gives, or why the model cannot read it. Here they are read one by one."""
        found: list[list[Encoded] | DataError] = []
        for example in examples:
            try:
                found.append(self.encode(example))
            except DataError as error:
                found.append(error)
        return found

    @abstractmethod
    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> EncodedRows:
        """Every row of ``dataset`` encoded as :meth:`encode` would, kept on disk under ``fingerprint``."""

    def in_takes(self, rows: EncodedRows) -> EncodedRows:
        """Rows as they are scored: where a task can answer one question in many ways, each time that it stands there in another."""
        return rows

    def units(self, rows: Dataset) -> list[str] | None:
        """What is asked by each row, where some ask the same: intervals draw these, not rows. None where each row counts for itself."""
        return None

    def asked(self, example: Example) -> Example:
        """An example as it is asked about where models are held against each other: timed, rounded, exported."""
        return example

    def inputs_identity(self) -> str:
        """What decides a row's arrays beside the row itself and :meth:`to_dict`; part of the key of what is kept of rows."""
        return ""

    @property
    def num_outputs(self) -> int:
        """How many numbers the model gives for each answer: one a label."""
        return len(self.labels)

    @property
    def varies_rows(self) -> bool:
        """Does :meth:`augment` change anything? What a model says of a row can be kept only where it does not."""
        return False

    @property
    def runs_in_parts(self) -> bool:
        """Does the model read a batch in several forward passes? What happens inside it then has other rows than the batch."""
        return False

    @property
    def ties_rows(self) -> bool:
        """Does the loss of a row depend on the others of its update, so that none may be cut?"""
        return False

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The item as it is learned from this time. The same ``rng`` gives the same item."""
        return row

    @property
    def mixes(self) -> float:
        """Share of the items that are learned mixed with ``mixed_with`` others, drawn from all training rows."""
        return 0.0

    def mixed(self, row: Encoded, others: Sequence[Encoded], rng: np.random.Generator) -> Encoded:
        """Augmented items as one that keeps the first's id. A task that mixes says how; others keep the item."""
        return row

    def without_trunk(self, row: Encoded, *, first_only: bool) -> Encoded:
        """The item without what a frozen trunk has read already; ``first_only``: just its first position is asked for."""
        return row

    @abstractmethod
    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """Items padded to one batch; padding changes no item's loss."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """The loss summed over the batch's items. Unlabelled rows raise :class:`pretune.errors.DataError`."""

    @abstractmethod
    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What the model says of the batch: (B, C) of the classes, or (B, F, V) of frames and characters."""

    @abstractmethod
    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Which items have a right answer, bool (B,)."""

    @abstractmethod
    def item_weights(self, batch: Batch) -> torch.Tensor:
        """(B,) what each item counts for where items without a right answer are learned from too."""

    @abstractmethod
    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,) of each item the loss that :meth:`loss` sums; 0 without a right answer."""

    def watched(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each item what the metric's ``watch`` score adds up, and by what the sum is divided: both (B,)."""
        raise NotImplementedError(f"the metric of {self.name} names no score to watch")

    @abstractmethod
    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """(B,) of each item how far the answer is from a teacher's, both softened, times the item's weight."""

    @abstractmethod
    def same_inputs_as(self, other: Task) -> bool:
        """Are the items of both tasks the same pieces of the rows, so that one (varied, too) may be given to the other?"""

    def vary_as(self, teacher: Task) -> bool:
        """Vary rows so that ``teacher`` can be given the same ones (:meth:`for_teacher`); False where it cannot."""
        return self.same_inputs_as(teacher)

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """The task of a student of this one's model, on another backbone: its answers mean the same."""
        return type(self).start(data, backbone, settings)

    def check_teacher(self, teacher: Task) -> None:
        """Raise :class:`pretune.errors.ModelError` where the answers of ``teacher`` do not mean the same."""
        if teacher.labels != self.labels:
            raise ModelError(
                f"the teacher tells {', '.join(teacher.labels[:10])} apart, the student {', '.join(self.labels[:10])}",
                "teacher and student have to answer with the same labels in the same order",
            )

    @property
    def learns_alone(self) -> bool:
        """Can it be learned from right answers, without a teacher?"""
        return True

    def lesson(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What a student is told of a batch: what this task's ``model`` answers by; where students need it, more behind that."""
        return self.logits_of(model, batch)

    def learned_from(self, batch: Batch, lesson: torch.Tensor) -> None:  # noqa: B027 - most learn from a teacher's answers alone
        """Let a batch have what its model is told of a lesson before it answers; rows without it weigh nothing from then on."""

    def lessons_told(self, lessons: Iterable[np.ndarray]) -> str:
        """What a person is to know of the lessons of all rows, in a sentence; nothing in most cases."""
        return ""

    def for_teacher(self, item: Encoded) -> Encoded:
        """A varied item as a teacher is given it: without what is hidden from the student alone, and without its answer."""
        return Encoded(item.id, item.arrays, item.cost, None, item.weight)

    @abstractmethod
    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """One prediction an item, in the batch's order."""

    @abstractmethod
    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What :meth:`predict` decides by, (B, ...): probabilities (0 behind an item's end), or numbers in units of their spread."""

    @property
    def chooses(self) -> bool:
        """Does its model choose by what it has found (a token, a region), so that a difference as small as rounding may lead elsewhere?"""
        return self.by_steps

    def difference(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """The largest between :meth:`outputs` of two models for the same items; NaN where one says NaN."""
        return float((one - other).abs().max())

    @abstractmethod
    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """One prediction a row: items of one id (windows) become one, in order of first appearance."""

    def cells(self, dataset: Dataset) -> list[Any]:
        """The answers of labelled rows as the data has them. Raises :class:`DataError` where there is no such column."""
        if self.answer not in dataset.column_names:
            raise DataError(
                f"the rows have no {ANSWERS[self.answer].lacked()} to score against",
                f"name their column with --column {self.answer}=NAME, or use pretune predict",
            )
        return list(dataset[self.answer])

    @abstractmethod
    def truths(self, dataset: Dataset) -> list[Any]:
        """The right answers of labelled rows, as JSON values. Raises :class:`DataError` for one the model cannot give."""

    @abstractmethod
    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """A line of a predictions file."""

    def with_picks(
        self, model: torch.nn.Module, records: Sequence[dict[str, Any]], rows: Dataset
    ) -> Sequence[dict[str, Any]]:
        """The records of labelled rows with what is asked of a model beside its answers: which of several it takes for the right one."""
        return records

    def with_training_options(self, data: Splits, settings: Any) -> None:  # noqa: B027 - a task may weigh all rows alike
        """Weigh rows as ``settings`` of the run asked that first learned from ``data``: a restored task does not know it."""

    def calibrate(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Fit on validation records what calibrates the probabilities; what is to be said of it, in sentences."""
        return []

    def calibrated(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
        """The records with calibrated probabilities; None where there is nothing to calibrate."""
        return None

    def calibration_on(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
        """What :meth:`calibrated` does to records with a truth (``temperature``, ``log_loss``, ``calibrated_log_loss``); None where it
        changes nothing.
        """
        return None

    def with_fitted_threshold(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Validation records with the answers that :meth:`calibrate` on them would give; as they are where it changes none."""
        return records

    @property
    def metric(self) -> Metric:
        """What scores lines of its predictions files."""
        return self.metric_type.of(self.to_dict())

    @abstractmethod
    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Report blocks (tables, matrices, examples) of an evaluated split."""

    def explained(  # what a modality can show beside scores
        self, model: torch.nn.Module, records: Sequence[Mapping[str, Any]], rows: Any
    ) -> list[dict[str, Any]]:
        """Report blocks that need the model: where it looks."""
        return []

    @abstractmethod
    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """What simple methods fitted on ``train`` answer to ``rows``, measured, by name; and notes in sentences."""

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """What is wrong with these predictions as a whole, in plain words; nothing when all is well."""
        return ()

    def steps_of(self, example: Example, text: str) -> Steps:
        """The steps in which its model writes ``text`` for an example."""
        raise NotImplementedError(f"{self.name} does not write token by token")

    def unexplained(self) -> tuple[str, str]:
        """Why its answers are not explained row by row, and what to do instead; nothing where they are."""
        why = self.lacks.get("explain", "")
        return why, "pretune report RUN shows the rows that it answers worst" if why else ""

    @property
    def tolerance(self) -> float:
        """How far two answers of one row may lie apart and still be the same (numbers of two engines)."""
        return 0.0

    def same_answer(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Do two records give the same answer?"""
        a, b = (answer_of(self.answer, record[self.answer]) for record in (one, other))
        return a is not None and b is not None and a.same(b, self.tolerance)

    def record_schema(self) -> dict[str, Any]:
        """JSON schema of a line of a predictions file, without its truth."""
        answer = dict(ANSWERS[self.answer].schema(self.labels))
        return {
            "type": "object",
            "required": ["id", self.answer],
            "properties": {"id": {"type": "string"}, self.answer: answer},
        }

    def answering(self) -> dict[str, Any]:
        """How answers are searched, for the record of an evaluation; nothing where there is but one way."""
        return {}

    def processor_to_save(self, backbone: Backbone) -> Any:
        """What is written beside the weights to make inputs (and words of outputs)."""
        return backbone.processor

    @abstractmethod
    def portable(self) -> dict[str, Any]:
        """How rows become the model's inputs, as JSON values for a program without pretune (``export/standalone``)."""

    @classmethod
    @abstractmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """The task as :meth:`to_dict` kept it, on the backbone of the same folder."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What ``pretune.json`` beside the model keeps to rebuild the task."""

    @classmethod
    def saved_fields(cls) -> Check:
        """What :meth:`restore` needs of ``pretune.json``: ``kept`` of the class and of all its bases."""
        fields: dict[str, Check] = {}
        for base in reversed(cls.__mro__):
            fields.update(base.__dict__.get("kept", {}))
        return record(fields)


def finite_answers(values: torch.Tensor, ids: Sequence[str], real: torch.Tensor | None = None) -> torch.Tensor:
    """What a model says of the items ``ids``, (B, ...), where ``real`` (B, ...) is true. Raises :class:`ModelError` for NaN and infinity."""
    is_finite = values.isfinite()
    if real is not None:
        is_finite = is_finite | ~real.reshape(*real.shape, *[1] * (values.ndim - real.ndim))
    odd_B = ~is_finite.reshape(len(ids), -1).all(dim=1)
    if bool(odd_B.any()):
        named = [row for row, odd in zip(ids, odd_B.tolist(), strict=True) if odd]
        raise ModelError(
            f"the model's answers are no numbers (NaN or infinite) for {len(named)} of {len(ids)} rows, the first is {named[0]}",
            "its weights are damaged, or too large for the number format: copy the model again, try --precision fp32, or train again",
        )
    return values


def windows_of(predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """The predictions of each row together, rows in order of first appearance."""
    by_row: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_row.setdefault(prediction.id, []).append(prediction)
    return [*by_row.values()]


def refuse_unlabelled(task: Task, batch: Batch, *, rows: str, answer: str) -> None:
    """Raise :class:`DataError` where an item has no right answer; ``rows`` and ``answer`` are the task's words for both."""
    known_B = task.is_labelled(batch).tolist()
    lacking = [i for i, known in zip(batch.ids, known_B, strict=True) if not known]
    if lacking:
        raise DataError(
            f"{task.name} cannot learn from {rows}: {', '.join(lacking[:5])}",
            f"give them a {answer}, or leave them to `pretune pretrain`",
        )
