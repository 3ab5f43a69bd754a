"""How answers of a kind are scored: the one place where it is said what a score means and which way is better.

A score is a function of row *weights*: how often each row counts. Weights of one are the score itself, weights drawn with
replacement are the bootstrap, weights of zero leave rows out. So any score has an interval and a paired comparison, whether
it is a function of sums over rows (:class:`Sums`) or ranks all rows against each other (:class:`Ranking`). A score that is not defined
(a correlation with truths that are all equal) is NaN: resamples without it are left out, and files hold null.
Shapes: N rows, R sets of weights (r of a slice of them), K statistics of a row, U units of rows that are drawn together.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

import numpy as np

from pretune.errors import DataError

__all__ = [
    "Joined",
    "Measured",
    "Metric",
    "Ranking",
    "Record",
    "ScoreSpec",
    "Sums",
    "Unit",
    "quotient",
    "truth_of",
    "values_of",
]

_SLICE_NUMBERS = 2**19  # 4 MiB of weights of rows at a time

Record: TypeAlias = Mapping[str, Any]
"""A line of a predictions file."""

Unit: TypeAlias = Literal["share", "rate", "number", "points", "nats", "bits", "px"]
"""``share``: 0 to 1, shown in percent. ``rate``: errors over a count, shown in percent, can be above 1. ``points``: 0 to 100, written so by its
field (BLEU). ``nats`` and ``bits``: of a likelihood. ``px``: pixels of the picture."""


class ScoreSpec(NamedTuple):
    """What a score is. ``title`` is its name in words where the underscored name would not do. ``limits`` are its worst and best value where it reaches them only with all rows wrong or all right.

    ``of_right_rows``: it is the share of rows that are right, so that McNemar's test asks the same question.
    """

    rising: bool
    unit: Unit = "share"
    title: str = ""
    limits: tuple[float, float] | None = None
    of_right_rows: bool = False


class Measured(ABC):
    """The answers to N rows, measured: every score of them for any weights of the rows.

    ``right_N`` tells which rows are right, where a row can be right or wrong; None where it cannot.
    """

    num_rows: int
    right_N: np.ndarray | None = None

    @abstractmethod
    def scores(self, weights_RN: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Every score by name: (R,) for weights (R, N), () where each row counts once."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Self:
        """These rows alone, by number (with repeats) or as a mask (N,)."""

    @abstractmethod
    def in_units(self, unit_N: np.ndarray, num_units: int) -> Self:
        """The same rows with one weight a unit: row n counts as often as unit ``unit_N[n]`` of 0..U-1 is drawn."""


class Sums(Measured):
    """Scores that are functions of sums over rows: ``function`` gives every score of sums (..., K), each of shape (...)."""

    def __init__(
        self,
        stats_NK: np.ndarray,
        function: Callable[[np.ndarray], Mapping[str, np.ndarray]],
        right_N: np.ndarray | None = None,
    ) -> None:
        self.stats_NK = stats_NK
        self.function = function
        self.right_N = right_N
        self.num_rows = len(stats_NK)

    def scores(self, weights_RN: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """One matrix product for all sets of weights."""
        if weights_RN is None:
            return dict(self.function(self.stats_NK.sum(axis=0, dtype=np.float64)))
        return dict(self.function(weights_RN @ self.stats_NK.astype(np.float64, copy=False)))

    def take(self, rows: np.ndarray) -> Sums:
        """See :class:`Measured`."""
        return Sums(self.stats_NK[rows], self.function, None if self.right_N is None else self.right_N[rows])

    def in_units(self, unit_N: np.ndarray, num_units: int) -> Sums:
        """Sums of each unit's rows, (U, K)."""
        columns = [
            np.bincount(unit_N, weights=self.stats_NK[:, k], minlength=num_units) for k in range(self.stats_NK.shape[1])
        ]
        return Sums(np.stack(columns, axis=1), self.function)


class Ranking(Measured):
    """Scores that rank all rows against each other: each kind gives them for any weights of its rows (:meth:`scores_of`), a slice of
    the sets at a time, so that memory does not grow with their number.

    ``unit_N`` is the unit that gives each row its weight; None where each row has its own.
    """

    unit_N: np.ndarray | None = None

    @abstractmethod
    def scores_of(self, weights_rN: np.ndarray) -> dict[str, np.ndarray]:
        """Every score (r,) for float64 weights of the rows themselves."""

    @abstractmethod
    def rows_of(self, rows: np.ndarray) -> Self:
        """These rows by number, with repeats, each with its own weight."""

    @property
    def slice_numbers(self) -> int:
        """Numbers that a set of weights takes while it is worked on."""
        return self.num_rows if self.unit_N is None else len(self.unit_N)

    def scores(self, weights_RN: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """See :class:`Measured`."""
        if weights_RN is None:
            return {name: value[0] for name, value in self.scores(np.ones((1, self.num_rows))).items()}
        size = max(1, _SLICE_NUMBERS // max(self.slice_numbers, 1))
        parts = [self._slice(weights_RN[at : at + size]) for at in range(0, max(len(weights_RN), 1), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _slice(self, weights_rU: np.ndarray) -> dict[str, np.ndarray]:
        return self.scores_of(weights_rU if self.unit_N is None else weights_rU[:, self.unit_N])

    def take(self, rows: np.ndarray) -> Self:
        """See :class:`Measured`; after :meth:`in_units` these are units."""
        chosen = np.arange(self.num_rows)[rows]
        if self.unit_N is None:
            return self.rows_of(chosen)
        members = [np.flatnonzero(self.unit_N == unit) for unit in chosen]
        unit_M = np.repeat(np.arange(len(chosen)), [len(one) for one in members])
        return self.rows_of(np.concatenate([np.zeros(0, dtype=int), *members])).in_units(unit_M, len(chosen))

    def in_units(self, unit_N: np.ndarray, num_units: int) -> Self:
        """See :class:`Measured`."""
        united = copy.copy(self)
        united.unit_N = np.asarray(unit_N) if self.unit_N is None else np.asarray(unit_N)[self.unit_N]
        united.num_rows = num_units
        united.right_N = None
        return united


class Joined(Measured):
    """Scores of the same rows from several parts, such as sums and a ranking."""

    def __init__(self, parts: Sequence[Measured]) -> None:
        self.parts = tuple(parts)
        self.num_rows = self.parts[0].num_rows
        assert all(part.num_rows == self.num_rows for part in self.parts), "parts of the same rows"
        self.right_N = next((part.right_N for part in self.parts if part.right_N is not None), None)

    def scores(self, weights_RN: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """See :class:`Measured`."""
        return {name: value for part in self.parts for name, value in part.scores(weights_RN).items()}

    def take(self, rows: np.ndarray) -> Joined:
        """See :class:`Measured`."""
        return Joined([part.take(rows) for part in self.parts])

    def in_units(self, unit_N: np.ndarray, num_units: int) -> Joined:
        """See :class:`Measured`."""
        return Joined([part.in_units(unit_N, num_units) for part in self.parts])


class Metric(ABC):
    """How answers of one kind are scored. One final class a kind of answer; what it has to know beside the records (the labels)
    comes from ``pretune.json``.

    ``answer`` is the key of the model's answer in a record, ``specs`` has every score. ``primary`` decides which of two models
    is better (a metric of several uses may say another one for itself than its class does); where it is equal while learning,
    ``tie_breaker`` (a finer score) does. Where answers are costly to make, ``watch`` has the one cheap score that decides while learning in
    place of ``primary``, and that the task gives without them (:meth:`pretune.tasks.base.Task.watched`). ``needs_truth`` is False where a record says by itself how good it is (a likelihood, a rank).
    """

    answer: ClassVar[str]
    specs: ClassVar[Mapping[str, ScoreSpec]]
    primary: str
    needs_truth: ClassVar[bool] = True
    tie_breaker: ClassVar[str | None] = None
    watch: ClassVar[Mapping[str, ScoreSpec]] = {}

    @classmethod
    def spec(cls, name: str) -> ScoreSpec | None:
        """What the score of this name is, the watched one too."""
        return cls.specs.get(name) or cls.watch.get(name)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """The metric of a model whose folder's ``pretune.json`` says ``about``."""
        return cls()

    def signature(self, records: Iterable[Record]) -> str:
        """How the scores of these records were computed, where another program may do so otherwise; "" where there is one way."""
        return ""

    @abstractmethod
    def measure(self, records: Iterable[Record]) -> Measured:
        """Lines of a predictions file, each with its answer and (where the metric needs one) its ``truth``, in their order.

        Raises :class:`pretune.errors.DataError` for a truth that cannot be.
        """


def values_of(measured: Measured) -> dict[str, float]:
    """Every score of the rows, each counting once."""
    return {name: float(value) for name, value in measured.scores().items()}


def quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, and NaN where nothing is below: not defined."""
    below = np.broadcast_to(below, np.shape(above))
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)[()]


def truth_of(record: Record, fits: Callable[[Any], bool], expected: str) -> Any:
    """The record's truth. Raises :class:`DataError` where it has none, or one that does not fit what is expected."""
    truth = record.get("truth")
    if not fits(truth):
        raise DataError(f"row {record.get('id')} has the truth {str(truth)[:80]!r}", f"{expected} is expected")
    return truth
