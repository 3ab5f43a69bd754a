"""What a label-efficiency study says: curves of a score over numbers of labels, each with intervals over seeds and rows.

Shapes: A arms, B budgets in ascending order, S seeds, N rows that all were scored on, R resamples. ``values_ABS`` are the scores
themselves, ``drawn_ABSR`` the same in resamples of the rows, drawn alike for all (:func:`pretune.evaluation.intervals.drawn_alike`).
A resample draws seeds too, with replacement, the same for all arms and budgets: a seed decides which rows are labelled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretune.evaluation.intervals import difference_interval, percentile_interval
from pretune.metrics.base import ScoreSpec
from pretune.types import Interval

__all__ = ["Curves", "fit_power_law", "labels_for"]

_FEWEST_FOR_A_FIT = 4
_MOST_TIMES = 100.0
"""Answers of more labels than this many times the largest budget are not given: the curve was never seen there."""


@dataclass(frozen=True)
class Curves:
    """The scores of a study. ``arms`` are names, the first is the one that others are held against; ``units`` is how many rows (or
    groups of rows) are drawn by themselves.
    """

    arms: tuple[str, ...]
    budgets: tuple[int, ...]
    spec: ScoreSpec
    values_ABS: np.ndarray
    drawn_ABSR: np.ndarray
    units: int
    seed: int = 0

    def _over_seeds(self) -> np.ndarray:
        """(A, B, R): the mean over seeds that are drawn with replacement."""
        seeds, resamples = self.drawn_ABSR.shape[2:]
        draws_RS = np.random.default_rng([self.seed, seeds]).integers(0, seeds, (resamples, seeds))
        return np.mean(self.drawn_ABSR[:, :, draws_RS.T, np.arange(resamples)], axis=2)

    def to_dict(self) -> dict[str, Any]:
        """Points, areas, differences, labels saved and the fitted law of each arm, as JSON values."""
        mean_AB, drawn_ABR = self.values_ABS.mean(axis=2), self._over_seeds()
        return {
            "points": [
                {
                    "arm": arm, "labels": budget, "value": float(mean_AB[a, b]),
                    **_interval(percentile_interval(drawn_ABR[a, b], float(mean_AB[a, b]), self.units)),
                    "seeds": self.values_ABS[a, b].tolist(),
                }
                for a, arm in enumerate(self.arms) for b, budget in enumerate(self.budgets)
            ],
            "areas": self._areas(mean_AB, drawn_ABR),
            "differences": self._differences(mean_AB, drawn_ABR),
            "labels_saved": self._labels_saved(mean_AB, drawn_ABR),
            "laws": self._laws(mean_AB, drawn_ABR),
        }  # fmt: skip

    def _areas(self, mean_AB: np.ndarray, drawn_ABR: np.ndarray) -> list[dict[str, Any]]:
        """The mean score over the budgets' range, labels on a logarithmic scale (trapezoids); and how much larger than the first's."""
        weights_B = _trapezoid_weights(self.budgets)
        area_A, area_AR = mean_AB @ weights_B, np.einsum("abr,b->ar", drawn_ABR, weights_B)
        found = []
        for a, arm in enumerate(self.arms):
            interval = percentile_interval(area_AR[a], float(area_A[a]), self.units)
            told: dict[str, Any] = {"arm": arm, "value": float(area_A[a]), **_interval(interval)}
            if a:
                difference = float(area_A[a] - area_A[0])
                told["difference"] = difference
                told["difference_interval"] = _interval(
                    difference_interval(area_AR[a] - area_AR[0], difference, self.units)[0]
                )
            found.append(told)
        return found

    def _differences(self, mean_AB: np.ndarray, drawn_ABR: np.ndarray) -> list[dict[str, Any]]:
        """Each arm less the first at each budget, on the same rows and seeds."""
        found = []
        for a, arm in enumerate(self.arms[1:], start=1):
            for b, budget in enumerate(self.budgets):
                value = float(mean_AB[a, b] - mean_AB[0, b])
                interval, _ = difference_interval(drawn_ABR[a, b] - drawn_ABR[0, b], value, self.units)
                better = None
                if interval.low > 0 or interval.high < 0:
                    better = arm if (value > 0) == self.spec.rising else self.arms[0]
                found.append({"arm": arm, "labels": budget, "value": value, **_interval(interval), "better": better})
        return found

    def _labels_saved(self, mean_AB: np.ndarray, drawn_ABR: np.ndarray) -> list[dict[str, Any]]:
        """How many labels the first arm needs to do as well as another does with each budget. Beyond the first arm's own curve
        nothing is known: infinity (JSON null) for more than its largest budget, 0 where its smallest does as well.
        """
        found = []
        for a, arm in enumerate(self.arms[1:], start=1):
            for b, budget in enumerate(self.budgets):
                needed = labels_for(mean_AB[a, b], self.budgets, mean_AB[0], rising=self.spec.rising)
                drawn_R = np.array([
                    labels_for(score, self.budgets, curve, rising=self.spec.rising)
                    for score, curve in zip(drawn_ABR[a, b], drawn_ABR[0].T, strict=True)
                ])  # fmt: skip
                low, high = np.quantile(drawn_R, [0.025, 0.975], method="nearest")
                found.append({
                    "arm": arm, "labels": budget, "needed": _finite(needed), "needed_low": _finite(low),
                    "needed_high": _finite(high), "beyond": bool(math.isinf(needed)),
                    "saved": _finite(needed - budget), "saved_low": _finite(low - budget), "saved_high": _finite(high - budget),
                })  # fmt: skip
        return found

    def _laws(self, mean_AB: np.ndarray, drawn_ABR: np.ndarray) -> list[dict[str, Any]]:
        """The law of each arm, how well the law of the smaller budgets foretold the largest, and what two points more would cost."""
        if self.spec.limits is None or len(self.budgets) < _FEWEST_FOR_A_FIT:
            return []
        best = self.spec.limits[1]
        found = []
        for a, arm in enumerate(self.arms):
            errors_B = np.abs(best - mean_AB[a])
            before = fit_power_law(self.budgets[:-1], errors_B[:-1])
            law = fit_power_law(self.budgets, errors_B)
            step = 0.02 * abs(self.spec.limits[1] - self.spec.limits[0])
            wanted = _more_labels(self.budgets, errors_B, step)
            drawn = [_more_labels(self.budgets, np.abs(best - curve), step) for curve in drawn_ABR[a].T[:100]]
            low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
            found.append({
                "arm": arm, "scale": law[0], "exponent": law[1], "floor": law[2],
                "foretold": float(abs(best - _law(before, self.budgets[-1]))), "reached": float(mean_AB[a, -1]),
                "step": step, "more_labels": _finite(wanted), "more_low": _finite(low), "more_high": _finite(high),
            })  # fmt: skip
        return found


def labels_for(score: float, budgets: Sequence[int], curve_B: np.ndarray, *, rising: bool) -> float:
    """With how many labels a curve reaches ``score``: between budgets along the line over the logarithm of labels; 0 where the
    smallest budget does, infinity where the largest does not. The curve counts as its best so far: it never falls.
    """
    sign = 1.0 if rising else -1.0
    best_B, wanted = np.maximum.accumulate(sign * np.asarray(curve_B)), sign * score
    if not wanted > best_B[0]:
        return 0.0
    if wanted > best_B[-1]:
        return math.inf
    at = int(np.searchsorted(best_B, wanted))
    low, high = best_B[at - 1], best_B[at]
    logs = np.log(np.asarray(budgets, dtype=float))
    return float(np.exp(logs[at - 1] + (wanted - low) / (high - low) * (logs[at] - logs[at - 1])))


def fit_power_law(budgets: Sequence[int], errors_B: np.ndarray) -> tuple[float, float, float]:
    """``scale``, ``exponent`` and ``floor`` of error = scale * labels ** -exponent + floor (Hestness et al. 2017, arXiv 1712.00409,
    section 3), least squares; exponent in 0..2, floor in 0..the smallest error.
    """
    from scipy.optimize import least_squares

    labels_B, errors_B = np.asarray(budgets, dtype=float), np.asarray(errors_B, dtype=float)
    least, top = float(errors_B.min()), max(float(errors_B.max()), 1e-9)

    def residuals(law: np.ndarray) -> np.ndarray:
        return (law[0] * (labels_B / labels_B[0]) ** -law[1] + law[2] - errors_B) / top

    starts = ((top - share * least, 0.3, share * least) for share in (0.0, 0.5, 0.9))
    bounds = ([0.0, 0.0, 0.0], [10 * top, 2.0, max(least, 1e-9)])
    tries = [least_squares(residuals, np.clip(start, bounds[0], bounds[1]), bounds=bounds) for start in starts]
    scale, exponent, floor = min(tries, key=lambda tried: tried.cost).x
    return float(scale * labels_B[0] ** exponent), float(exponent), float(floor)


def _law(law: tuple[float, float, float], labels: float) -> float:
    return law[0] * labels ** -law[1] + law[2]


def _more_labels(budgets: Sequence[int], errors_B: np.ndarray, step: float) -> float:
    """Labels beyond the largest budget for an error that is smaller by ``step``, as the law says; infinity beyond what it can say."""
    law = fit_power_law(budgets, errors_B)
    most = float(budgets[-1])
    rest = _law(law, most) - step - law[2]
    if rest <= 0 or law[1] <= 0 or law[0] <= 0:
        return math.inf
    needed = math.log(law[0] / rest) / law[1]
    return math.exp(needed) - most if needed <= math.log(_MOST_TIMES * most) else math.inf


def _trapezoid_weights(budgets: Sequence[int]) -> np.ndarray:
    """(B,) weights of the mean under a line through points over the logarithm of the budgets."""
    if len(budgets) == 1:
        return np.ones(1)
    gaps = np.diff(np.log(np.asarray(budgets, dtype=float)))
    weights_B = np.zeros(len(budgets))
    weights_B[:-1] += gaps / 2
    weights_B[1:] += gaps / 2
    return weights_B / gaps.sum()


def _interval(interval: Interval) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
