"""Scores of rows that are answered by a number: correlations, errors, and the share of the spread that is explained.

Shapes: N rows, R sets of weights, G groups of equal numbers, K = 8 columns of statistics: 1, truth and answer (each less its
mean), their squares and product, absolute and squared error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from pretune.errors import DataError
from pretune.metrics.base import Joined, Measured, Metric, Ranking, Record, ScoreSpec, Sums, quotient, truth_of

__all__ = ["RankCorrelation", "RegressionMetric", "centred_ranks", "regression_scores", "regression_statistics"]

_ROUNDING = 1e-13  # of a spread that is none, against the squares it is the difference of


def regression_statistics(truth_N: np.ndarray, answer_N: np.ndarray) -> np.ndarray:
    """What each row adds to the sums, float64 (N, 8).

    Numbers are taken less their mean first: sums of squares of numbers far from zero would lose the spread to rounding.
    """
    x_N, y_N = (one - (one.mean() if len(one) else 0.0) for one in (truth_N, answer_N))
    error_N = answer_N - truth_N
    columns = (np.ones(len(x_N)), x_N, y_N, x_N**2, y_N**2, x_N * y_N, np.abs(error_N), error_N**2)
    return np.stack(columns, axis=1)


def _spread(rows: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """``rows`` squared times the variance; exactly 0 where numbers are all equal."""
    spread = rows * squares - total**2
    return np.where(spread > _ROUNDING * rows * squares, spread, 0.0)


def _correlation(together: np.ndarray, spread_truth: np.ndarray, spread_answer: np.ndarray) -> np.ndarray:
    """Not defined where truths are all equal; 0 where answers are, as they tell nothing of the truth."""
    found = quotient(together, np.sqrt(spread_truth) * np.sqrt(spread_answer))
    return np.clip(np.where((spread_answer <= 0) & (spread_truth > 0), 0.0, found), -1.0, 1.0)[()]


def regression_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Every score but Spearman's, from sums (..., 8) to arrays (...).

    R² is 1 - squared errors / squared distances from the mean truth, below 0 where the mean would be nearer; with truths
    that are all equal neither it nor a correlation is defined (NaN).
    """
    rows, x, y, xx, yy, xy, absolute, squared = np.moveaxis(sums_K, -1, 0)
    spread_truth = _spread(rows, x, xx)
    return {
        "pearson": _correlation(rows * xy - x * y, spread_truth, _spread(rows, y, yy)),
        "mae": quotient(absolute, rows),
        "rmse": np.sqrt(quotient(squared, rows)),
        "r2": 1.0 - quotient(rows * squared, spread_truth),
    }


def _tie_groups(values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of the numbers (N,), where each group of equal ones begins in it (G,), and the group of each row (N,)."""
    order_N = np.argsort(values_N, kind="stable")
    sorted_N = values_N[order_N]
    begins_N = np.append(True, sorted_N[1:] != sorted_N[:-1])[: len(values_N)]
    group_N = np.empty(len(values_N), dtype=np.int64)
    group_N[order_N] = np.cumsum(begins_N) - 1
    return order_N, np.flatnonzero(begins_N), group_N


def centred_ranks(values_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Ranks (R, N) less their mean, of rows that count so often; equal numbers share the middle of their ranks."""
    return _centred_ranks(_tie_groups(values_N), weights_RN)


def _centred_ranks(groups: tuple[np.ndarray, np.ndarray, np.ndarray], weights_RN: np.ndarray) -> np.ndarray:
    order_N, begins_G, group_N = groups
    mass_RG = np.add.reduceat(weights_RN[:, order_N], begins_G, axis=1)
    upto_RG = np.cumsum(mass_RG, axis=1)
    return (upto_RG - (mass_RG + upto_RG[:, -1:]) / 2)[:, group_N]


@final
class RankCorrelation(Ranking):
    """Spearman's correlation (1904), ranks drawn anew for each set of weights."""

    def __init__(self, truth_N: np.ndarray, answer_N: np.ndarray) -> None:
        self.truth_N, self.answer_N = truth_N, answer_N
        self.num_rows = len(truth_N)
        self._groups = (_tie_groups(truth_N), _tie_groups(answer_N))

    def scores_of(self, weights_rN: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`~pretune.metrics.base.Ranking`."""
        if not self.num_rows:
            return {"spearman": np.full(len(weights_rN), np.nan)}
        x_rN, y_rN = (_centred_ranks(groups, weights_rN) for groups in self._groups)
        squares = (np.einsum("rn,rn,rn->r", weights_rN, one, one) for one in (x_rN, y_rN))
        return {"spearman": _correlation(np.einsum("rn,rn,rn->r", weights_rN, x_rN, y_rN), *squares)}

    def rows_of(self, rows: np.ndarray) -> RankCorrelation:
        """See :class:`~pretune.metrics.base.Ranking`."""
        return RankCorrelation(self.truth_N[rows], self.answer_N[rows])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@final
class RegressionMetric(Metric):
    """Scores of a number a row."""

    answer: ClassVar[str] = "value"
    primary: str = "pearson"
    tie_breaker: ClassVar[str | None] = "rmse"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "pearson": ScoreSpec(rising=True, unit="number", title="Pearson correlation", limits=(-1.0, 1.0)),
        "spearman": ScoreSpec(rising=True, unit="number", title="Spearman correlation", limits=(-1.0, 1.0)),
        "mae": ScoreSpec(rising=False, unit="number", title="mean absolute error"),
        "rmse": ScoreSpec(rising=False, unit="number", title="root mean squared error"),
        "r2": ScoreSpec(rising=True, unit="number", title="R²"),
    }

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` for a truth or an answer that is no finite number."""
        truths, answers = [], []
        for record in records:
            truths.append(float(truth_of(record, _is_number, "a number")))
            if not _is_number(record["value"]):
                raise DataError(f"row {record['id']} is answered by {record['value']!r}", "a number is expected")
            answers.append(float(record["value"]))
        return self.of_numbers(np.array(truths), np.array(answers))

    def of_numbers(self, truth_N: np.ndarray, answer_N: np.ndarray) -> Joined:
        """The same of numbers (N,) and (N,)."""
        return Joined(
            [
                Sums(regression_statistics(truth_N, answer_N), regression_scores),
                RankCorrelation(truth_N, answer_N),
            ]
        )
