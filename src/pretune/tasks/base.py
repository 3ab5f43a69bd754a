"""The signature of a task: how rows become batches, losses, predictions and scores.

A task is a final class beside those of its kind and one entry of ``tasks.TASKS``; ``tests/contract`` holds each to the same
promises. How its answers are scored is its metric's to say (:mod:`pretune.metrics.base`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch

from pretune.answers import ANSWERS, answer_of
from pretune.errors import DataError, ModelError
from pretune.metrics.base import Measured, Metric
from pretune.schema import Check, record, text
from pretune.types import Batch, Encoded, Example, Loss, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = [
    "EncodedRows",
    "Learnable",
    "PartsPace",
    "Steps",
    "Streams",
    "Task",
    "finite_answers",
    "refuse_unlabelled",
    "windows_of",
]


class EncodedRows(Protocol):
    """A data set encoded once and read by number. ``lengths_N`` is each item's cost, ``ledger`` what encoding lost."""

    lengths_N: np.ndarray
    ledger: dict[str, Any]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Encoded: ...


class Learnable(Protocol):
    """The part of a task that learning and predicting use; see :class:`Task`."""

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """The keys of its losses' logs."""
        ...

    @property
    def mixes(self) -> float:
        """Share of the items that are learned mixed with another."""
        ...

    @property
    def ties_rows(self) -> bool:
        """Does the loss of a row depend on the others of its update?"""
        ...

    def augment(self, row: Encoded, rng: np.random.Generator, /) -> Encoded:
        """The item as it is learned from this time."""
        ...

    def mixed(self, row: Encoded, other: Encoded, rng: np.random.Generator, /) -> Encoded:
        """Two augmented items as one that keeps the first's id."""
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


@dataclass(frozen=True)
class PartsPace:
    """How fast the parts of a model learn whose head is fresh: ``learning_rate`` of the head where the settings name none (None: the
    one at which the backbone's own rate is its trunk's), ``trunk_scale`` times that what lies under it, and ``resting`` modules not at all.
    """

    learning_rate: float | None = None
    trunk_scale: float = 1.0
    resting: tuple[torch.nn.Module, ...] = ()


class Steps(NamedTuple):
    """The steps in which a text was written: its tokens, and what stood before each. A decoder reads prompt and text as one: ``read_T``."""

    written_L: np.ndarray
    before_L: np.ndarray
    read_T: np.ndarray | None = None


class Task(ABC):
    """What labels mean. ``labels`` names the classes in the order of the probabilities; a task without classes has none.

    ``columns`` are the columns of the data that it learns from; ``answer`` is the one of the right answers, and the key of an
    answer in a record; ``metric_type`` says how answers are scored. Where the settings name none, ``default_batch_size`` is the rows of an update, ``default_updates`` how
    many of them small data gets and ``default_cost`` how much data (as :class:`EncodedRows` counts it) at most. ``reads``
    names the settings that it looks at and other tasks may not; one that was given and is not among them is refused.
    ``kept`` declares the fields that it adds to what :meth:`to_dict` of its bases keeps in ``pretune.json`` (:meth:`saved_fields`).
    ``taught_variation`` is how the rows of a student are varied whose teacher can be given the same ones (``--augment``), and
    ``loss_parts`` are the keys of its losses' logs, ``learning_inputs`` inputs of its batches that say nothing once a model has learned. ``hub_task`` is the hub's name of what
    its models do, where a pipeline of transformers answers as pretune does. ``more_inputs`` are columns that a row to be answered may have beside those it needs, ``titles`` what people call its inputs, where "text" would not do. ``by_name``: it is
    learned where it was asked for by its name, not wherever rows have its columns. ``by_tokens``: an answer is written token by token, each read
    with those before it. ``answers_alone``: it learns from pairs of texts, and answers
    single ones too. ``answers_untrained``: a trained model answers before it has learned anything, and stands among those that are chosen from. ``found_by`` are columns that rows must have beside them where it was not. ``holds_turns``: it
    answers what was said in several turns, and can give its answer as it is written (:class:`Streams`). ``lacks`` says of verbs that it cannot be used with why not:
    the other verbs take its runs, and ``pretune list --tasks`` shows both.
    """

    name: ClassVar[str]
    modality: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    answer: ClassVar[str]
    metric_type: ClassVar[type[Metric]]
    default_updates: ClassVar[int] = 300
    default_cost: ClassVar[float] = math.inf
    default_batch_size: ClassVar[int] = 32
    reads: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[Mapping[str, Check]] = {"task": text()}
    learning_inputs: ClassVar[tuple[str, ...]] = ()
    fixed_inputs: ClassVar[tuple[str, ...]] = ()
    more_inputs: ClassVar[tuple[str, ...]] = ()
    taught_variation: ClassVar[str] = "light"
    hub_task: ClassVar[str] = ""
    by_name: ClassVar[bool] = False
    by_tokens: ClassVar[bool] = False
    answers_alone: ClassVar[bool] = False
    answers_untrained: ClassVar[bool] = False
    found_by: ClassVar[tuple[str, ...]] = ()
    holds_turns: ClassVar[bool] = False
    titles: ClassVar[Mapping[str, str]] = {}
    loss_parts: tuple[str, ...] = ()
    lacks: ClassVar[Mapping[str, str]] = {
        "probe": "a probe tells classes apart",
        "ask": "rows to label are looked for where a row is of one class of several",
        "review": "labels that look wrong are looked for where a row is of one class of several",
        "selftrain": "answers that are learned from are one class of several (pretune distill --unlabelled teaches a student)",
    }
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

    @abstractmethod
    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> EncodedRows:
        """Every row of ``dataset`` encoded as :meth:`encode` would, kept on disk under ``fingerprint``."""

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
        """Share of the items that are learned mixed with another, drawn from all training rows."""
        return 0.0

    def mixed(self, row: Encoded, other: Encoded, rng: np.random.Generator) -> Encoded:
        """Two augmented items as one that keeps the first's id. A task that mixes says how; others keep the item."""
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
        return self.by_tokens

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
