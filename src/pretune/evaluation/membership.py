"""Can it be told which rows a model learned from? Membership inference by loss, a lower bound of epsilon, exposure of canaries.

A row's score is the log likelihood of its right answer, the attack of who has the model and the row (Yeom et al. 2018, arXiv 1709.01604). What it
finds is a lower bound: stronger attacks exist.
Shapes: M members (training rows), O others (held-out rows), C canaries, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pretune.types import Interval, Score

__all__ = ["CONFIDENCE", "FALSE_POSITIVES", "NOTABLE_SHARE", "epsilon_bound", "exposure", "membership"]

FALSE_POSITIVES = 0.01
NOTABLE_SHARE = 2 * FALSE_POSITIVES
"""So many training rows are found by more than luck where the interval lies above."""
CONFIDENCE = 0.95
_SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Shares of the rows of which a guess is ventured, half of them from either end; how many are tried is paid for (Bonferroni)."""

_NORMAL_975 = 1.959963984540054
_MOST_EPSILON = 100.0


def membership(
    members_M: np.ndarray, others_O: np.ndarray, *, delta: float, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """``auc`` of the scores, the share of members found at 1 % false positives (both with 95 % intervals), and the lower bound of epsilon
    at ``delta``, which as many rows of either kind decide, drawn with ``seed``.
    """
    rng = np.random.default_rng(seed)
    count = min(len(members_M), len(others_O))
    scores = np.concatenate([rng.permutation(members_M)[:count], rng.permutation(others_O)[:count]])
    is_in = np.repeat([True, False], count)
    return {
        "members": len(members_M), "others": len(others_O), "auc": _auc(members_M, others_O).to_dict(),
        "found": _found(members_M, others_O, resamples, rng).to_dict(),
        "epsilon": {"low": epsilon_bound(scores, is_in, delta=delta), "n": 2 * count, "delta": delta, "confidence": CONFIDENCE},
    }  # fmt: skip


def _auc(members_M: np.ndarray, others_O: np.ndarray) -> Score:
    """The probability that a member scores above another row, with DeLong's interval (DeLong et al. 1988, Biometrics 44:837)."""
    over_M, over_O = _share_below(members_M, others_O), 1 - _share_below(others_O, members_M)
    value = float(over_M.mean())
    spread = math.sqrt(np.var(over_M, ddof=1) / len(over_M) + np.var(over_O, ddof=1) / len(over_O))
    half = _NORMAL_975 * spread
    return Score(value, Interval(max(0.0, value - half), min(1.0, value + half)), len(members_M) + len(others_O))


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value the share of others below it, equal ones counted half."""
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * len(others))


def _found(members_M: np.ndarray, others_O: np.ndarray, resamples: int, rng: np.random.Generator) -> Score:
    """The share of members above the score that 1 % of the others exceed; both are drawn again for the interval."""
    drawn_R = np.empty(resamples)
    for number in range(resamples):
        share = _share_above(members_M, rng.choice(others_O, len(others_O)))
        drawn_R[number] = rng.binomial(len(members_M), share) / len(members_M)
    value = _share_above(members_M, others_O)
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Score(value, Interval(min(float(low), value), max(float(high), value)), len(members_M))


def _share_above(members_M: np.ndarray, others_O: np.ndarray) -> float:
    allowed = math.floor(FALSE_POSITIVES * len(others_O))
    threshold = np.partition(others_O, len(others_O) - 1 - allowed)[len(others_O) - 1 - allowed]
    return float(np.mean(members_M > threshold))


def epsilon_bound(scores_N: np.ndarray, is_in_N: np.ndarray, *, delta: float) -> float:
    """The least epsilon that guessing so well leaves possible, with 95 % confidence: Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846,
    theorem 5.2), for rows of which a coin decided whether they were learned from. 0 where nothing speaks against privacy.
    """
    order = np.argsort(-scores_N, kind="stable")
    right_N, wrong_N = is_in_N[order], ~is_in_N[order]
    alpha = (1 - CONFIDENCE) / (2 * len(_SHARES))
    found = [0.0]
    for share in _SHARES:
        many = max(1, int(share * len(order)) // 2)
        found.append(
            _least_epsilon(len(order), 2 * many, int(right_N[:many].sum() + wrong_N[-many:].sum()), delta, alpha)
        )
        found.append(_least_epsilon(len(order), many, int(right_N[:many].sum()), delta, alpha))
    return max(found)


def _least_epsilon(rows: int, guesses: int, right: int, delta: float, alpha: float) -> float:
    low, high = 0.0, _MOST_EPSILON
    if _p_of(rows, guesses, right, 0.0, delta) > alpha:
        return 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if _p_of(rows, guesses, right, middle, delta) <= alpha else (low, middle)
    return low


def _p_of(rows: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The probability of so many right guesses under (epsilon, delta): a binomial one, and what delta adds to it (the paper's appendix D)."""
    from scipy.stats import binom

    share = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(right - 1, guesses, share))
    ahead = np.cumsum(binom.pmf(right - np.arange(1, right + 1), guesses, share))
    worst = float(np.max(ahead / np.arange(1, right + 1), initial=0.0))
    return min(1.0, beta + 2 * rows * delta * worst)


def exposure(planted_C: np.ndarray, unplanted_C: np.ndarray) -> Mapping[str, float | int]:
    """The mean exposure in bits of planted canaries among those that were not (Carlini et al. 2019, arXiv 1802.08232, section 4.2), with a t
    interval; ``none`` is what it is where nothing was learned by heart, ``most`` the largest that so many canaries can show.
    """
    from scipy.stats import t

    ranks_C = 1 + len(unplanted_C) * (1 - _share_below(planted_C, unplanted_C))
    bits_C = math.log2(len(unplanted_C) + 1) - np.log2(ranks_C)
    half = (
        float(t.ppf(0.975, len(bits_C) - 1) * bits_C.std(ddof=1) / math.sqrt(len(bits_C))) if len(bits_C) > 1 else 0.0
    )
    count = len(unplanted_C) + 1
    none = math.log2(count) - float(np.mean(np.log2(np.arange(1, count + 1))))
    mean = min(float(bits_C.mean()), math.log2(count))
    return {
        "value": mean, "low": max(0.0, mean - half), "high": mean + half, "n": len(bits_C), "none": none, "most": math.log2(count),
    }  # fmt: skip
