"""Intervals by resampling rows, for any score that is a function of sums over rows.

Shapes: N rows, K statistics of a row, U units that are drawn together (rows, or groups of rows), R resamples.
A resample draws U units with replacement (Efron 1979), so its sums are (counts of each unit) @ (sums of each unit):
one matrix product gives all resamples of all scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from pretune.errors import DataError
from pretune.types import Interval, Score

__all__ = ["ScoresFunction", "bootstrap", "difference_interval", "groups_of", "paired_bootstrap"]

ScoresFunction: TypeAlias = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Sums ``(..., K)`` to scores ``(...)`` by name."""

MAX_UNITS = 20_000
"""Up to this many rows each row is drawn by itself; above, random groups of rows are."""

NUM_RANDOM_GROUPS = 10_000
_CHUNK_NUMBERS = 2**22  # 32 MiB of counts at a time
_ROUNDING = 1e-12
_NORMAL_975_SQUARED = 1.959963984540054**2


def bootstrap(
    stats_NK: np.ndarray,
    scores: ScoresFunction,
    *,
    resamples: int = 2000,
    seed: int = 0,
    limits: Mapping[str, tuple[float, float]] | None = None,
    groups_N: np.ndarray | None = None,
) -> dict[str, Score]:
    """Every score with its 95 % percentile interval. The same input gives the same output.

    ``groups_N`` (any values) names rows that belong together, such as those of one patient: groups are drawn, not rows. Where
    all are of one group rows are drawn, and the interval says nothing of other groups.
    Above 20,000 rows (or groups), 10,000 random groups are drawn instead: this has the same expected variance (the
    random group method, Wolter 2007, chapter 2), and time and memory no longer grow with N.

    Resampling sees no spread where all rows are alike. For scores in ``limits`` (name to worst and best value) that sit
    on a limit in every resample, the open end is that of the Wilson interval (Wilson 1927): 1 - 3.84 / (n + 3.84) for an
    accuracy of 1, near the "rule of three". For averages over classes this is the least width the interval can have.
    An interval always holds its value, also where resampling is biased (calibration error). With one row other scores
    get an interval of no width.

    Raises :class:`DataError` when there is no row.
    """
    num_rows = len(stats_NK)
    if num_rows == 0:
        raise DataError(
            "there is no labelled row to score", "give data with labels, or name the column: --column label=NAME"
        )
    units_UK = _units(stats_NK, seed, groups_N)
    values = scores(stats_NK.sum(axis=0, dtype=np.float64))
    drawn = _resampled_scores([units_UK], scores, resamples, seed)[0]
    independent = num_rows if (several := _several(groups_N)) is None else len(np.unique(several))
    result = {}
    for name, value in values.items():
        interval = _percentiles(drawn[name], float(value))
        if limits and name in limits:
            interval = _open_at_limit(interval, limits[name], independent)
        result[name] = Score(float(value), interval, num_rows)
    return result


def paired_bootstrap(
    stats_a_NK: np.ndarray,
    stats_b_NK: np.ndarray,
    scores: ScoresFunction,
    *,
    higher_is_better: Mapping[str, bool] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    groups_N: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Differences B - A of every score on the same rows, both drawn alike.

    Returns for each score ``a``, ``b``, ``difference``, ``low``, ``high`` (95 %) and ``probability_a_better``: the share
    of resamples in which A is better, equal ones counted half. A score left out of ``higher_is_better`` counts as rising.
    """
    assert stats_a_NK.shape == stats_b_NK.shape, "paired rows are needed"
    if len(stats_a_NK) == 0:
        raise DataError("there is no row to compare", "both must predict the same labelled rows")
    units = [_units(stats, seed, groups_N) for stats in (stats_a_NK, stats_b_NK)]
    value_a, value_b = (scores(stats.sum(axis=0, dtype=np.float64)) for stats in (stats_a_NK, stats_b_NK))
    drawn_a, drawn_b = _resampled_scores(units, scores, resamples, seed)
    result = {}
    for name in value_a:
        a, b = float(value_a[name]), float(value_b[name])
        interval, a_wins = difference_interval(drawn_b[name] - drawn_a[name], b - a)
        rising = higher_is_better is None or higher_is_better.get(name, True)
        better = {"probability_a_better": a_wins if rising else 1 - a_wins}
        result[name] = {"a": a, "b": b, "difference": b - a, "low": interval.low, "high": interval.high, **better}
    return result


def difference_interval(drawn_R: np.ndarray, value: float) -> tuple[Interval, float]:
    """The 95 % interval of a difference and the share of draws below zero, those at zero counted half."""
    below = float(np.mean(drawn_R < 0) + np.mean(drawn_R == 0) / 2)
    return _percentiles(drawn_R, value), below


def groups_of(records: Iterable[Mapping[str, Any]]) -> np.ndarray | None:
    """The ``group`` of each record (N,), for ``groups_N``; None unless all have one."""
    named = [record.get("group") for record in records]
    return None if None in named else np.array(named)


def _several(groups_N: np.ndarray | None) -> np.ndarray | None:
    """The groups, where there is more than one to draw."""
    return groups_N if groups_N is not None and bool(np.any(groups_N != groups_N[0])) else None


def _units(stats_NK: np.ndarray, seed: int, groups_N: np.ndarray | None) -> np.ndarray:
    """Sums of each unit, float64 ``(U, K)``."""
    unit_N = None
    num_units = len(stats_NK)
    if (several := _several(groups_N)) is not None:
        names, unit_N = np.unique(several, return_inverse=True)
        num_units = len(names)
    if num_units > MAX_UNITS:
        member = np.random.default_rng(seed).permutation(num_units) % NUM_RANDOM_GROUPS
        unit_N = member if unit_N is None else member[unit_N]
        num_units = NUM_RANDOM_GROUPS
    if unit_N is None:
        return np.asarray(stats_NK, dtype=np.float64)
    columns = [np.bincount(unit_N, weights=stats_NK[:, k], minlength=num_units) for k in range(stats_NK.shape[1])]
    return np.stack(columns, axis=1)


def _counts(num_units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, ``(r, U)`` a chunk: exactly multinomial, R rows in all."""
    random = np.random.default_rng([seed, num_units])
    chunk = max(1, min(resamples, _CHUNK_NUMBERS // num_units))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = (random.integers(0, num_units, num_units) for _ in range(size))
        yield np.stack([np.bincount(one, minlength=num_units) for one in drawn]).astype(np.float64)


def _resampled_scores(
    units: list[np.ndarray], scores: ScoresFunction, resamples: int, seed: int
) -> list[dict[str, np.ndarray]]:
    """Scores ``(R,)`` of every statistics matrix in ``units``, all drawn alike."""
    sums: list[list[np.ndarray]] = [[] for _ in units]
    for counts_rU in _counts(len(units[0]), resamples, seed):
        for kept, units_UK in zip(sums, units, strict=True):
            kept.append(counts_rU @ units_UK)
    return [dict(scores(np.concatenate(kept))) for kept in sums]


def _percentiles(drawn_R: np.ndarray, value: float) -> Interval:
    drawn_R = drawn_R[np.isfinite(drawn_R)]
    if len(drawn_R) == 0:
        return Interval(value, value)
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Interval(min(float(low), value), max(float(high), value))


def _open_at_limit(interval: Interval, limits: tuple[float, float], n: int) -> Interval:
    low, high = min(limits), max(limits)
    width = (high - low) * _NORMAL_975_SQUARED / (n + _NORMAL_975_SQUARED)
    if interval.low >= high - _ROUNDING:
        return Interval(high - width, high)
    if interval.high <= low + _ROUNDING:
        return Interval(low, low + width)
    return interval
