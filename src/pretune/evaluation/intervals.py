"""Intervals by resampling rows, for any score (:mod:`pretune.metrics.base`: a score is a function of row weights).

Shapes: N rows, U units that are drawn together (rows, or groups of rows), R resamples.
A resample draws U units with replacement (Efron 1979): weights of the units that are counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pretune.errors import DataError
from pretune.metrics.base import Measured, ScoreSpec
from pretune.types import Interval, Score

__all__ = [
    "bootstrap",
    "difference_interval",
    "drawn_alike",
    "groups_of",
    "num_units",
    "paired_bootstrap",
    "percentile_interval",
]

MAX_UNITS = 20_000
"""Up to this many rows each row is drawn by itself; above, random groups of rows are."""

NUM_RANDOM_GROUPS = 10_000
_CHUNK_NUMBERS = 2**22  # 32 MiB of counts at a time
_ROUNDING = 1e-12
_NORMAL_975 = 1.959963984540054


def bootstrap(
    measured: Measured,
    specs: Mapping[str, ScoreSpec],
    *,
    resamples: int = 2000,
    seed: int = 0,
    groups_N: np.ndarray | None = None,
) -> dict[str, Score]:
    """Every score with its 95 % percentile interval. The same input gives the same output.

    ``groups_N`` (any values) names rows that belong together, such as those of one patient: groups are drawn, not rows. Where
    all are of one group rows are drawn, and the interval says nothing of other groups.
    Above 20,000 rows (or groups), 10,000 random groups are drawn instead: this has the same expected variance (the
    random group method, Wolter 2007, chapter 2), and time and memory no longer grow with N.

    Resampling sees no spread where all rows are alike. For scores with limits (``specs``) that sit
    on a limit in every resample, the open end is that of the Wilson interval (Wilson 1927): 1 - 3.84 / (n + 3.84) for an
    accuracy of 1, near the "rule of three". For averages over classes this is the least width the interval can have.
    An interval always holds its value, also where resampling is biased (calibration error). With one row other scores
    get an interval of no width. A score that is not defined (NaN) has no interval; resamples without it are left out.

    Raises :class:`DataError` when there is no row.
    """
    num_rows = measured.num_rows
    if num_rows == 0:
        raise DataError(
            "there is no labelled row to score", "give data with labels, or name the column: --column label=NAME"
        )
    drawn = _resampled_scores([_in_units(measured, seed, groups_N)], resamples, seed)[0]
    independent = num_units(num_rows, groups_N)
    result = {}
    for name, value in measured.scores().items():
        interval = _percentiles(drawn[name], float(value))
        limits = specs[name].limits if name in specs else None
        if limits is not None:
            interval = _open_at_limit(interval, limits, independent)
        result[name] = Score(float(value), interval, num_rows)
    return result


def paired_bootstrap(
    a: Measured,
    b: Measured,
    specs: Mapping[str, ScoreSpec],
    *,
    resamples: int = 2000,
    seed: int = 0,
    groups_N: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Differences B - A of every score on the same rows, both drawn alike.

    Returns for each score ``a``, ``b``, ``difference``, ``low``, ``high`` (95 %, widened for few units as
    :func:`difference_interval` says) and ``probability_a_better``: the share of resamples in which A is better, equal ones
    counted half.
    """
    assert a.num_rows == b.num_rows, "paired rows are needed"
    if a.num_rows == 0:
        raise DataError("there is no row to compare", "both must predict the same labelled rows")
    value_a, value_b = a.scores(), b.scores()
    drawn_a, drawn_b = _resampled_scores([_in_units(one, seed, groups_N) for one in (a, b)], resamples, seed)
    independent = num_units(a.num_rows, groups_N)
    result = {}
    for name in value_a:
        one, other = float(value_a[name]), float(value_b[name])
        interval, a_wins = difference_interval(drawn_b[name] - drawn_a[name], other - one, independent)
        rising = name not in specs or specs[name].rising
        result[name] = {
            "a": one, "b": other, "difference": other - one, "low": interval.low, "high": interval.high,
            "probability_a_better": a_wins if rising else 1 - a_wins,
        }  # fmt: skip
    return result


def drawn_alike(
    sides: Sequence[Measured], *, resamples: int = 2000, seed: int = 0, groups_N: np.ndarray | None = None
) -> list[dict[str, np.ndarray]]:
    """Every score of each side in ``resamples`` resamples, (R,): in each, the same rows are drawn on all sides. All sides answer the
    same rows in the same order.
    """
    assert len({one.num_rows for one in sides}) == 1, "paired rows are needed"
    return _resampled_scores([_in_units(one, seed, groups_N) for one in sides], resamples, seed)


def percentile_interval(drawn_R: np.ndarray, value: float, units: int) -> Interval:
    """The 95 % interval of ``value`` among its resamples, widened for few ``units`` as :func:`difference_interval` says."""
    return _percentiles(drawn_R, value, _expanded_tail(units))


def difference_interval(drawn_R: np.ndarray, value: float, units: int) -> tuple[Interval, float]:
    """The 95 % interval of a difference of ``units`` rows (or groups), and the share of draws below zero, those at zero
    counted half; draws without a score (NaN) are left out of both.

    Percentiles alone are too narrow where units are few: they are moved outwards to where a t interval of the same spread
    ends (the expanded percentile interval, Hesterberg 2015, The American Statistician 69:371, section 4.2).
    """
    drawn_R = drawn_R[np.isfinite(drawn_R)]
    below = float(np.mean(drawn_R < 0) + np.mean(drawn_R == 0) / 2) if len(drawn_R) else 0.5
    return _percentiles(drawn_R, value, _expanded_tail(units)), below


def _expanded_tail(units: int) -> float:
    """The share of draws left out on each side, 0.025 for many units."""
    from scipy.stats import norm, t

    if units < 2:
        return 0.0
    return float(norm.cdf(-np.sqrt(units / (units - 1)) * t.ppf(0.975, units - 1)))


def groups_of(records: Iterable[Mapping[str, Any]]) -> np.ndarray | None:
    """The ``group`` of each record (N,), for ``groups_N``; None unless all have one."""
    named = [record.get("group") for record in records]
    return None if None in named else np.array(named)


def num_units(num_rows: int, groups_N: np.ndarray | None) -> int:
    """How many rows, or groups of rows, are drawn."""
    return num_rows if (several := _several(groups_N)) is None else len(np.unique(several))


def _several(groups_N: np.ndarray | None) -> np.ndarray | None:
    """The groups, where there is more than one to draw."""
    return groups_N if groups_N is not None and bool(np.any(groups_N != groups_N[0])) else None


def _in_units(measured: Measured, seed: int, groups_N: np.ndarray | None) -> tuple[Measured, int]:
    """The rows with a weight for each unit, and the number of units."""
    unit_N, units = None, measured.num_rows
    if (several := _several(groups_N)) is not None:
        names, unit_N = np.unique(several, return_inverse=True)
        units = len(names)
    if units > MAX_UNITS:
        member = np.random.default_rng(seed).permutation(units) % NUM_RANDOM_GROUPS
        unit_N = member if unit_N is None else member[unit_N]
        units = NUM_RANDOM_GROUPS
    return (measured if unit_N is None else measured.in_units(unit_N, units)), units


def _counts(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, ``(r, U)`` a chunk: exactly multinomial, R rows in all."""
    random = np.random.default_rng([seed, units])
    chunk = max(1, min(resamples, _CHUNK_NUMBERS // units))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = (random.integers(0, units, units) for _ in range(size))
        yield np.stack([np.bincount(one, minlength=units) for one in drawn]).astype(np.float64)


def _resampled_scores(sides: list[tuple[Measured, int]], resamples: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Scores ``(R,)`` of every side, all drawn alike."""
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in sides]
    for counts_rU in _counts(sides[0][1], resamples, seed):
        for found, (measured, _) in zip(parts, sides, strict=True):
            found.append(measured.scores(counts_rU))
    return [{name: np.concatenate([part[name] for part in found]) for name in found[0]} for found in parts]


def _percentiles(drawn_R: np.ndarray, value: float, tail: float = 0.025) -> Interval:
    drawn_R = drawn_R[np.isfinite(drawn_R)]
    if len(drawn_R) == 0 or not np.isfinite(value):
        return Interval(value, value)
    low, high = np.percentile(drawn_R, [100 * tail, 100 * (1 - tail)])
    return Interval(min(float(low), value), max(float(high), value))


def _open_at_limit(interval: Interval, limits: tuple[float, float], n: int) -> Interval:
    low, high = min(limits), max(limits)
    width = (high - low) * _NORMAL_975**2 / (n + _NORMAL_975**2)
    if interval.low >= high - _ROUNDING:
        return Interval(high - width, high)
    if interval.high <= low + _ROUNDING:
        return Interval(low, low + width)
    return interval
