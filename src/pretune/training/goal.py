"""What "better" means while a run learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Goal"]


@dataclass(frozen=True)
class Goal:
    """What "better" means: the score ``metric`` of ``evaluate``, and how long to wait for it. ``rising``: more is better.

    Where it is equal, a finer score decides (``tie_breaker``: its name, and whether more is better): on few rows many epochs
    have the same accuracy, and the first of them is rarely the best.
    ``evaluate`` calls its argument with the rows done, batch by batch, so that it can be broken off; ``costs_N`` is what they cost.
    """

    metric: str
    rising: bool
    patience: int | None
    evaluate: Callable[[Callable[[int], None]], Mapping[str, float]]
    split: str = "validation"
    tie_breaker: tuple[str, bool] | None = None
    costs_N: np.ndarray | None = None

    def share_of(self, rows: int) -> float:
        """The share of an evaluation's work that its first ``rows`` are: the cheapest come first."""
        if self.costs_N is None or rows >= len(self.costs_N):
            return 1.0
        costs_N = np.sort(self.costs_N).astype(np.float64)
        return float(costs_N[: max(rows, 1)].sum() / costs_N.sum())

    def standing(self, scores: Mapping[str, float]) -> dict[str, float]:
        """What :meth:`is_better` compares of an evaluation: ``value``, and ``tie`` where a finer score breaks ties."""
        value = {"value": scores[self.metric]}
        return value if self.tie_breaker is None else {**value, "tie": scores[self.tie_breaker[0]]}

    def is_better(self, new: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Is one evaluation better than the best so far (empty before the first)? Equal in all keeps the earlier."""
        if "value" not in best:
            return True
        if new["value"] != best["value"] or self.tie_breaker is None or "tie" not in best:
            return _beats(new["value"], best["value"], self.rising)
        return _beats(new["tie"], best["tie"], self.tie_breaker[1])


def _beats(new: float, best: float, rising: bool) -> bool:
    """NaN beats nothing."""
    return new > best if rising else new < best
