"""Which rows to label next, and whether choosing them is better than drawing them.

Shapes: N rows of the pool, L rows with labels, F features, C classes; S seeds, B numbers of labels, M rows that are scored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretune.types import Interval

__all__ = ["RANDOM", "STRATEGIES", "Area", "Pool", "area_weights", "areas_of", "chosen"]

RANDOM = "random"
STRATEGIES = ("margin", "coreset", RANDOM)
"""``margin``: where the two likeliest classes are closest (Scheffer, Decomain & Wrobel 2001); ``coreset``: far from all that is
labelled or asked (Sener & Savarese 2018, arXiv 1708.00489, algorithm 1); ``random``: drawn."""

_BLOCK = 256
_NO_ROW = -np.inf


class Pool(NamedTuple):
    """Rows without labels as the strategies see them: ``features`` (N, F) and those of labelled rows (L, F), numbers or scipy's sparse
    matrices; ``probabilities_NC`` of their classes.
    """

    features: Any
    labelled: Any
    probabilities_NC: np.ndarray


def chosen(pool: Pool, strategies: Sequence[str], rows: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """``rows`` different places of the pool (fewer where it has no more), and by which of ``strategies`` each was chosen: in turns."""
    ranked = {name: _Ranked(pool, name, rng) for name in strategies}
    taken: dict[int, str] = {}
    while len(taken) < min(rows, pool.features.shape[0]):
        name = strategies[len(taken) % len(strategies)]
        taken[ranked[name].next_outside(taken)] = name
    return [*taken.items()]


class _Ranked:
    """The places of a pool in the order of one strategy; of the coreset the order hangs on what was taken."""

    def __init__(self, pool: Pool, strategy: str, rng: np.random.Generator) -> None:
        self._pool, self._is_coreset = pool, strategy == "coreset"
        if self._is_coreset:
            self._apart_N, self._seen = _apart_from(pool.features, pool.labelled), 0
        elif strategy == RANDOM:
            self._order = iter(rng.permutation(pool.features.shape[0]).tolist())
        else:
            two_N2 = np.sort(pool.probabilities_NC, axis=1)[:, -2:]
            self._order = iter(np.argsort(two_N2[:, 1] - two_N2[:, 0], kind="stable").tolist())

    def next_outside(self, taken: Collection[int]) -> int:
        if not self._is_coreset:
            return next(place for place in self._order if place not in taken)
        for place in [*taken][self._seen :]:
            self._apart_N = np.minimum(self._apart_N, _apart_from(self._pool.features, self._pool.features[[place]]))
            self._apart_N[place] = _NO_ROW
        self._seen = len(taken)
        return int(self._apart_N.argmax())


def _apart_from(features: Any, centres: Any) -> np.ndarray:
    """Of each row the squared distance to the nearest of the centres, (N,)."""
    nearest_N = np.full(features.shape[0], np.inf)
    own_N = _squares(features)
    for start in range(0, centres.shape[0], _BLOCK):
        block = centres[start : start + _BLOCK]
        products = features @ block.T
        products = products if isinstance(products, np.ndarray) else products.toarray()
        nearest_N = np.minimum(nearest_N, (own_N[:, None] + _squares(block) - 2 * products).min(axis=1))
    return nearest_N


def _squares(features: Any) -> np.ndarray:
    if isinstance(features, np.ndarray):
        return np.einsum("nf,nf->n", features, features, dtype=np.float64)
    return np.asarray(features.multiply(features).sum(axis=1)).ravel()


class Area(NamedTuple):
    """The mean accuracy over numbers of labels, and how much larger it is than that of drawn rows."""

    value: float
    difference: Interval
    gain: float

    @property
    def is_shown(self) -> bool:
        """Is choosing better, or worse, than drawing?"""
        return self.difference.low > 0 or self.difference.high < 0


def area_weights(labels: Sequence[int]) -> np.ndarray:
    """(B,) weights of the mean under a line through points over numbers of labels (trapezoids)."""
    gaps = np.diff(np.asarray(labels, dtype=float))
    weights_B = np.zeros(len(labels))
    weights_B[:-1] += gaps / 2
    weights_B[1:] += gaps / 2
    return weights_B / weights_B.sum()


def areas_of(
    right: Mapping[str, np.ndarray], weights_B: np.ndarray, groups_M: np.ndarray | None = None
) -> dict[str, Area]:
    """The area of each arm from which rows were right, (S, B, M) of 0 and 1, against that of the arm ``random``.

    The intervals hold together at 95 % (each has its share of the 5 %): for other seeds (two or more) and other rows. Their variance is that of
    the seeds' mean differences over S plus that of the rows' (or groups'), by Student's t with the degrees of freedom of such a sum
    (Satterthwaite 1946).
    """
    from scipy.stats import t

    area_SM = {name: np.einsum("sbm,b->sm", right_SBM, weights_B) for name, right_SBM in right.items()}
    others = max(1, len(right) - 1)
    found = {}
    for name, own_SM in area_SM.items():
        apart_SM = own_SM - area_SM[RANDOM]
        seeds, gain = len(apart_SM), float(apart_SM.mean())
        of_seeds = float(apart_SM.mean(axis=1).var(ddof=1)) / seeds
        of_rows, units = _mean_variance(apart_SM.mean(axis=0), groups_M)
        whole = of_seeds + of_rows
        freedom = whole**2 / (of_seeds**2 / (seeds - 1) + of_rows**2 / max(1, units - 1)) if whole else 1.0
        half = float(t.ppf(1 - 0.025 / others, freedom)) * whole**0.5
        found[name] = Area(float(own_SM.mean()), Interval(gain - half, gain + half), gain)
    return found


def _mean_variance(values_M: np.ndarray, groups_M: np.ndarray | None) -> tuple[float, int]:
    """The variance of the mean of rows, those of a group being alike; and how many units that are."""
    apart_M = values_M - values_M.mean()
    sums_U = apart_M if groups_M is None else np.bincount(np.unique(groups_M, return_inverse=True)[1], apart_M)
    return float((sums_U**2).sum()) / len(values_M) ** 2, len(sums_U)
