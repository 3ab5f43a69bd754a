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
from pretune.study.laws import FEWEST_POINTS, Laws, laws_of, smaller_half
from pretune.types import Interval

__all__ = ["Curves", "labels_for"]


@dataclass(frozen=True)
class Curves:
    """The scores of a study. ``arms`` are names, the first is the one that others are held against; ``units`` is how many rows (or
    groups of rows) are drawn by themselves; ``target`` is a score of which is asked how many labels it takes.
    """

    arms: tuple[str, ...]
    budgets: tuple[int, ...]
    spec: ScoreSpec
    values_ABS: np.ndarray
    drawn_ABSR: np.ndarray
    units: int
    seed: int = 0
    target: float | None = None

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
        """The likeliest law of each arm, what two points more would cost, and how well laws of fewer labels foretold what was reached with more."""
        if self.spec.limits is None or len(self.budgets) <= FEWEST_POINTS:
            return []
        best = self.spec.limits[1]
        step = 0.02 * abs(best - self.spec.limits[0])
        seeds = self.values_ABS.shape[2]
        noise_AB = drawn_ABR.std(axis=2) * math.sqrt(seeds / max(seeds - 1, 1))
        half = smaller_half(len(self.budgets))
        found = []
        for a, arm in enumerate(self.arms):
            errors_B = np.abs(best - mean_AB[a])
            laws = laws_of(self.budgets, errors_B, noise_AB[a])
            scale, exponent, floor = laws.likeliest()
            more, low, high = laws.more_labels_for(step)
            found.append({
                "arm": arm, "scale": scale, "exponent": exponent, "floor": floor,
                "last": self._foretold(mean_AB[a], noise_AB[a], known=len(self.budgets) - 1, at=len(self.budgets) - 1),
                "of_half": [self._foretold(mean_AB[a], noise_AB[a], known=half, at=b) for b in range(half, len(self.budgets))],
                "step": step, "more_labels": _finite(more), "more_low": _finite(low), "more_high": _finite(high),
                **self._for_target(laws, best),
            })  # fmt: skip
        return found

    def _for_target(self, laws: Laws, best: float) -> dict[str, Any]:
        """Labels, in all, for the score that was asked for."""
        if self.target is None:
            return {}
        value, low, high = (_finite(one) for one in laws.labels_for(abs(best - self.target)))
        return {"target": self.target, "target_labels": value, "target_low": low, "target_high": high}

    def _foretold(self, values_B: np.ndarray, noise_B: np.ndarray, *, known: int, at: int) -> dict[str, Any]:
        """The score of budget ``at`` by the laws of the first ``known`` ones, beside what was reached."""
        assert self.spec.limits is not None, "a law is about errors, and only scores with a best value have them"
        best, sign = self.spec.limits[1], 1.0 if self.spec.rising else -1.0
        told = laws_of(self.budgets[:known], np.abs(best - values_B[:known]), noise_B[:known]).error_at(
            self.budgets[at]
        )
        value, *ends = (float(best - sign * max(error, 0.0)) for error in told)  # no score is better than the best
        low, high = sorted(ends)
        reached = float(values_B[at])
        return {"labels": self.budgets[at], "value": value, "low": low, "high": high, "reached": reached, "inside": low <= reached <= high}  # fmt: skip


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
