"""How answers of a kind are scored: the one place where it is said what a score means and which way is better.

A score is a function of row *weights*: how often each row counts. Weights of one are the score itself, weights drawn with
replacement are the bootstrap, weights of zero leave rows out. So any score has an interval and a paired comparison, whether
it is a function of sums over rows (:class:`Sums`) or ranks all rows against each other.
Shapes: N rows, R sets of weights, K statistics of a row, U units of rows that are drawn together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

import numpy as np

__all__ = ["Measured", "Metric", "Record", "ScoreSpec", "Sums", "Unit", "values_of"]

Record: TypeAlias = Mapping[str, Any]
"""A line of a predictions file."""

Unit: TypeAlias = Literal["share", "rate", "number", "nats"]
"""``share``: 0 to 1, shown in percent. ``rate``: errors over a count, shown in percent, can be above 1. ``nats``: of a likelihood."""


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


class Metric(ABC):
    """How answers of one kind are scored. One final class a kind of answer; what it has to know beside the records (the labels)
    comes from ``pretune.json``.

    ``answer`` is the key of the model's answer in a record, ``specs`` has every score. ``primary`` decides which of two models
    is better; where it is equal while learning, ``tie_breaker`` (a finer score) does.
    """

    answer: ClassVar[str]
    specs: ClassVar[Mapping[str, ScoreSpec]]
    primary: ClassVar[str]
    tie_breaker: ClassVar[str | None] = None

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """The metric of a model whose folder's ``pretune.json`` says ``about``."""
        return cls()

    @abstractmethod
    def measure(self, records: Iterable[Record]) -> Measured:
        """Lines of a predictions file, each with its answer and its ``truth``, in their order.

        Raises :class:`pretune.errors.DataError` for a truth that cannot be.
        """


def values_of(measured: Measured) -> dict[str, float]:
    """Every score of the rows, each counting once."""
    return {name: float(value) for name, value in measured.scores().items()}
