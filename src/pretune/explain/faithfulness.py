"""Can an attribution be believed? What it calls important is taken out first, and the answer is watched.

Shapes: N parts of an item, S steps of the test, R random orders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["ORDERS", "Faithfulness", "deletion_test"]

ORDERS = 20
"""With 20 random orders, one that beats them all does so by luck once in 21 times at most (a permutation test)."""

LEAST_AREA = 0.01
"""One point of probability: less is no reason to believe that the answer hangs on what is marked."""

MOST_STEPS = 10
_SEED = 0


@dataclass(frozen=True)
class Faithfulness:
    """The deletion test. ``shares`` (S,) of the parts are taken out; ``important`` (S,) is the probability of the answer (or what ``figure`` calls it) with the
    most important ones gone, ``random`` (S,) with as many others, the mean over the orders.

    ``area`` is the mean distance between both curves, 0 where the order does not matter; ``low`` to ``high`` is its 95 %
    interval over the random orders.
    """

    shares: tuple[float, ...]
    important: tuple[float, ...]
    random: tuple[float, ...]
    area: float
    low: float
    high: float
    orders: int
    blank: str
    figure: str = "probability"

    @property
    def is_better(self) -> bool:
        """Does the order of the attribution beat random orders?"""
        return self.low > 0

    @property
    def is_shown(self) -> bool:
        """Does it beat them by an amount that matters?"""
        return self.is_better and self.area >= LEAST_AREA

    @property
    def sentence(self) -> str:
        """What the figure says, for a person."""
        # The interval is of what the sentence says: points lower, or points higher.
        sign, way = (1, "lower") if self.area >= 0 else (-1, "higher")
        area = f"the answer's {self.figure} is {abs(100 * self.area):.1f} points {way} on average"
        low, high = sorted(round(100 * sign * end, 1) + 0.0 for end in (self.low, self.high))
        spread = f"[{low:.1f}, {high:.1f}] over {self.orders} random orders"
        told = f"With the parts of the highest scores gone first, {area} than with others gone ({spread})."
        if self.is_shown:
            return f"{told} What is marked does carry the answer here."
        if self.is_better:
            return (
                f"{told} That is better than chance and hardly anything: the answer does not hang on single parts here."
            )
        return f"{told} That is no better than chance: do not believe this picture."

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "shares": list(self.shares), "important": list(self.important), "random": list(self.random), "area": self.area,
            "low": self.low, "high": self.high, "orders": self.orders, "blank": self.blank, "shown": self.is_shown,
            "sentence": self.sentence,
        }  # fmt: skip


def deletion_test(
    scores_N: np.ndarray,
    probability: Callable[[np.ndarray], np.ndarray],
    *,
    blank: str,
    orders: int = ORDERS,
    figure: str = "probability",
) -> Faithfulness | None:
    """Take out the highest scores first, and as many parts in random orders (Samek et al. 2017, arXiv 1509.06321, section 3;
    the comprehensiveness of DeYoung et al. 2020, arXiv 1911.03429, section 4, at each share).

    ``probability(taken_MN)`` gives the answer's probability (M,) with the marked parts made blank. None for a single part,
    which has no order.
    """
    count = len(scores_N)
    if count < 2 or orders < 1:
        return None
    rng = np.random.default_rng(_SEED)
    by_score = np.argsort(-scores_N, kind="stable")
    steps_S = np.unique(np.rint(np.linspace(0, count, min(count, MOST_STEPS) + 1)).astype(int))
    taken = [_first(order, steps_S) for order in (by_score, *(rng.permutation(count) for _ in range(orders)))]
    # Nothing and everything taken out are the same for every order.
    inner = probability(np.concatenate([one[1:-1] for one in taken])).reshape(1 + orders, -1)
    ends = probability(taken[0][[0, -1]])
    curves = np.concatenate([np.full((1 + orders, 1), ends[0]), inner, np.full((1 + orders, 1), ends[1])], axis=1)
    shares_S = steps_S / count
    below_RS = curves[1:] - curves[0]
    areas_R = (0.5 * (below_RS[:, 1:] + below_RS[:, :-1]) * np.diff(shares_S)).sum(axis=1)
    low, high = np.percentile(areas_R, [2.5, 97.5])
    return Faithfulness(
        tuple(shares_S.tolist()), tuple(curves[0].tolist()), tuple(curves[1:].mean(axis=0).tolist()),
        float(areas_R.mean()), float(low), float(high), orders, blank, figure,
    )  # fmt: skip


def _first(order: np.ndarray, steps_S: np.ndarray) -> np.ndarray:
    """Which parts are gone at each step, bool (S, N)."""
    place_N = np.empty(len(order), dtype=int)
    place_N[order] = np.arange(len(order))
    return place_N[None] < steps_S[:, None]
