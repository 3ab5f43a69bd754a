"""What more labels would bring: laws of an arm's curve, each as likely as the curve makes it, and what they foretell.

A law is ``error = scale * labels ** -exponent + floor`` (Hestness et al. 2017, arXiv 1712.00409, section 3). A few noisy points fit many of
them, and the least squares of three parameters on four points pick one without a word of doubt; so all laws of a grid are kept with their
weights, and every answer is an interval over them.

Shapes: B budgets, K laws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["FEWEST_POINTS", "Foretold", "Laws", "laws_of", "smaller_half"]

FEWEST_POINTS = 3
"""Fewer points say nothing of a law that has three numbers."""

_EXPONENTS = np.linspace(0.02, 1.5, 75)
_FLOORS = np.linspace(0.0, 0.98, 50)
"""The floor as a share of the smallest error that was seen."""

_USUAL_EXPONENT, _SPREAD = 0.3, 0.7
"""Exponents that were measured lie between 0.07 and 0.5 (Hestness et al., table 1; Rosenfeld et al. 2020, arXiv 1909.12673): the median and the
standard deviation of the logarithm before a curve is seen."""

_NO_LAW = 0.03
"""What curves of runs miss their law by, as a share of the error, over and above the noise of rows and seeds."""

_DRAWS = 4000
_MOST_TIMES = 100.0
"""Answers of more labels than this many times the largest budget are not given: no curve was ever seen there."""


def smaller_half(points: int) -> int:
    """Of so many points, the first ones whose laws foretell the others: half, and as many as a law needs."""
    return max(FEWEST_POINTS, points // 2)


class Foretold(NamedTuple):
    """What is foretold, and the middle 95 % of all laws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Laws:
    """``exponents_K``, ``scales_K`` and ``floors_K`` with their ``weights_K`` (of sum 1), seen up to ``most`` labels; ``noise`` is the standard
    deviation of a point, as a share of its error.
    """

    exponents_K: np.ndarray
    scales_K: np.ndarray
    floors_K: np.ndarray
    weights_K: np.ndarray
    most: float
    noise: float

    def likeliest(self) -> tuple[float, float, float]:
        """``scale``, ``exponent`` and ``floor`` of the law with the largest weight."""
        k = int(np.argmax(self.weights_K))
        return float(self.scales_K[k]), float(self.exponents_K[k]), float(self.floors_K[k])

    def error_at(self, labels: float) -> Foretold:
        """The error that a new study would see with so many labels: the median of the laws with the noise of a point."""
        rng = np.random.default_rng(0)
        drawn = rng.choice(len(self.weights_K), _DRAWS, p=self.weights_K)
        errors = self.scales_K[drawn] * labels ** -self.exponents_K[drawn] + self.floors_K[drawn]
        seen = errors * (1 + math.hypot(self.noise, _NO_LAW) * rng.standard_normal(_DRAWS))
        return Foretold(*(float(one) for one in np.quantile(seen, [0.5, 0.025, 0.975])))

    def labels_for(self, error: float) -> Foretold:
        """Labels for an error of so much; infinity where a law's floor lies above it, or beyond a hundred times what was seen."""
        return self._labels_for(np.full(len(self.weights_K), error))

    def more_labels_for(self, step: float) -> Foretold:
        """Labels beyond those that were seen, for an error that is smaller by ``step`` than the one there."""
        told = self._labels_for(self.scales_K * self.most**-self.exponents_K + self.floors_K - step)
        return Foretold(*(one - self.most for one in told))

    def _labels_for(self, errors_K: np.ndarray) -> Foretold:
        """Labels for an error that is another for each law, by the likeliest: the median is carried away by laws whose floor is near."""
        rest_K = errors_K - self.floors_K
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            needed_K = np.where(rest_K > 0, (self.scales_K / rest_K) ** (1 / self.exponents_K), np.inf)
        needed_K = np.where(needed_K > _MOST_TIMES * self.most, np.inf, needed_K)
        order = np.argsort(needed_K)
        below_K = np.cumsum(self.weights_K[order])
        low, high = (
            float(needed_K[order][min(int(np.searchsorted(below_K, share)), len(order) - 1)])
            for share in (0.025, 0.975)
        )
        likeliest = float(needed_K[np.argmax(self.weights_K)])
        return Foretold(likeliest, min(low, likeliest), max(high, likeliest))


def laws_of(budgets: Sequence[int], errors_B: np.ndarray, noise_B: np.ndarray) -> Laws:
    """The laws that a curve leaves possible. ``noise_B`` is the standard deviation of each error. ``scale`` is the best for each exponent and
    floor; errors may not rise with more labels, or fall below 0.
    """
    labels_B, errors_B = np.asarray(budgets, dtype=float), np.maximum(np.asarray(errors_B, dtype=float), 1e-9)
    spread_B = np.hypot(noise_B, _NO_LAW * errors_B)
    exponents_K, shares_K = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _FLOORS, indexing="ij"))
    floors_K = shares_K * errors_B.min()
    shape_KB = (labels_B / labels_B[0]) ** -exponents_K[:, None]
    rest_KB = errors_B - floors_K[:, None]
    scales_K = (shape_KB * rest_KB / spread_B**2).sum(axis=1) / (shape_KB**2 / spread_B**2).sum(axis=1)
    missed_KB = (scales_K[:, None] * shape_KB - rest_KB) / spread_B
    usual_K = (np.log(exponents_K / _USUAL_EXPONENT) / _SPREAD) ** 2 + 2 * np.log(exponents_K)
    doubt_K = (missed_KB**2).sum(axis=1) + usual_K
    weights_K = np.exp(-(doubt_K - doubt_K.min()) / 2)
    noise = float(noise_B[-1] / errors_B[-1])
    return Laws(exponents_K, scales_K * labels_B[0] ** exponents_K, floors_K, weights_K / weights_K.sum(), float(labels_B[-1]), noise)  # fmt: skip
