"""Do two sets of rows come from one source: a domain classifier, the kernel two-sample test, and tests of single numbers.

A p of this file is that of rows which could be swapped between the sets; false alarms are held by a simulation in the tests.
Shapes: N rows of both sets together, F features, P permutations, R resamples, K numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pretune.types import Interval, Score

__all__ = ["Domain", "NumberTest", "adjusted_by_holm", "domain_classifier", "mmd_test", "number_tests"]

Features = Any
"""(N, F): float32 numbers, or a sparse matrix of scipy's whose rows have length 1."""

_FOLDS = 5
_STRENGTH = {True: 1.0, False: 0.01}
"""scikit-learn's C of sparse terms, and of dense features in units of their spread."""

_MEDIAN_ROWS = 1_000
_EXACT_ROWS = 100
"""Above it Kolmogorov-Smirnov's p is that of the limit, which so many rows have reached; scipy's exact one is slow there and may not come out."""

_PAIRED = np.sqrt(2.0)
"""Cross-fitting looks at each pair of rows twice, once from either fold: the variance that resampling the scored rows sees is doubled."""


class Domain(NamedTuple):
    """``auc``: how often a new row is told from a reference row by a classifier that saw neither; ``p`` is of its being one half.
    ``typical_N``: how typical of the new set each row is, the share of its fold that lies below it.
    """

    auc: Score
    p: float
    typical_N: np.ndarray


def domain_classifier(
    features: Features, is_new_N: np.ndarray, *, permutations: int = 499, resamples: int = 2000, seed: int = 0
) -> Domain:
    """Logistic regression that tells new rows from reference rows, each row scored by a fit without it (Lopez-Paz & Oquab 2017,
    arXiv 1610.06545; cross-fitted in five folds).

    The interval resamples the scored rows and is widened by the square root of two on the log-odds scale (docs/decisions.md, D190). ``p``
    is a permutation test of the same classifier's first Newton step, whose scores are linear in who is new.
    """
    rng = np.random.default_rng(seed)
    folds = _folds(is_new_N, rng)
    sparse = not isinstance(features, np.ndarray)
    scores_N = np.zeros(len(is_new_N))
    for fold in range(_FOLDS):
        held_N = folds == fold
        scores_N[held_N] = _fitted_scores(features, is_new_N, held_N, sparse)
    value = float(_auc(scores_N, folds, is_new_N, np.ones((1, len(is_new_N))))[0])
    drawn_R = _auc(scores_N, folds, is_new_N, _weights(is_new_N, resamples, rng))
    interval = _widened(value, np.percentile(drawn_R, [2.5, 97.5]), 1.0 / len(is_new_N))
    p = _permutation_p(features, is_new_N, folds, sparse, permutations, rng)
    return Domain(Score(value, interval, len(is_new_N)), p, _within_folds(scores_N, folds))


def _folds(is_new_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fold for each row, (N,), both sets spread evenly over them."""
    folds = np.zeros(len(is_new_N), dtype=np.int64)
    for side in (False, True):
        places = rng.permutation(np.flatnonzero(is_new_N == side))
        folds[places] = np.arange(len(places)) % _FOLDS
    return folds


def _fitted_scores(features: Features, is_new_N: np.ndarray, held_N: np.ndarray, sparse: bool) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    kept, held = _scaled(features, held_N, sparse)
    solver = LogisticRegression(C=_STRENGTH[sparse], class_weight="balanced", max_iter=200)
    solver.fit(kept, is_new_N[~held_N])
    return np.asarray(solver.decision_function(held))


def _scaled(features: Features, held_N: np.ndarray, sparse: bool) -> tuple[Any, Any]:
    """The rows that are fitted and those that are held, dense ones in units of the fitted rows' spread."""
    kept, held = features[np.flatnonzero(~held_N)], features[np.flatnonzero(held_N)]
    if sparse:
        return kept, held
    mean_F, spread_F = kept.mean(axis=0), kept.std(axis=0)
    spread_F = np.where(spread_F > 1e-6 * np.maximum(1.0, np.abs(mean_F)), spread_F, np.inf)
    return (kept - mean_F) / spread_F, (held - mean_F) / spread_F


def _weights(is_new_N: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row is drawn, (R, N), rows of either set among themselves."""
    weights_RN = np.zeros((resamples, len(is_new_N)), dtype=np.float32)
    for side in (False, True):
        places = np.flatnonzero(is_new_N == side)
        weights_RN[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), resamples)
    return weights_RN


def _auc(scores_N: np.ndarray, folds: np.ndarray, is_new_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """The share of pairs (one new, one not, of one fold) in which the new one scores higher, ties half, (R,); rows count as often as
    ``weights_RN`` says.
    """
    above_RN, below_RN = weights_RN * is_new_N, weights_RN * ~is_new_N
    wins_R = pairs_R = np.zeros(len(weights_RN))
    for fold in range(_FOLDS):
        places = np.flatnonzero(folds == fold)
        values, place_n = np.unique(scores_N[places], return_inverse=True)
        below_RV = _summed(below_RN[:, places], place_n, len(values))
        above_RV = _summed(above_RN[:, places], place_n, len(values))
        under_RV = np.cumsum(below_RV, axis=1) - below_RV / 2
        wins_R = wins_R + (above_RV * under_RV).sum(axis=1)
        pairs_R = pairs_R + above_RV.sum(axis=1) * below_RV.sum(axis=1)
    return wins_R / np.maximum(pairs_R, 1e-12)


def _summed(weights_Rn: np.ndarray, place_n: np.ndarray, count: int) -> np.ndarray:
    """The weights of rows with equal scores together, (R, V), values rising."""
    order = np.argsort(place_n, kind="stable")
    starts = np.searchsorted(place_n[order], np.arange(count))
    return np.add.reduceat(weights_Rn[:, order].astype(np.float64), starts, axis=1)


def _widened(value: float, ends: np.ndarray, least: float) -> Interval:
    """The percentile interval with its distances from the value stretched on the log-odds scale."""

    def odds(share: float) -> float:
        held = min(max(share, least), 1 - least)
        return float(np.log(held / (1 - held)))

    low, high = (1 / (1 + np.exp(-(odds(value) + _PAIRED * (odds(end) - odds(value))))) for end in ends.tolist())
    return Interval(min(float(low), value), max(float(high), value))


def _permutation_p(
    features: Features, is_new_N: np.ndarray, folds: np.ndarray, sparse: bool, permutations: int, rng: np.random.Generator
) -> float:  # fmt: skip
    """The share of reshuffles (inside folds) of who is new that are told apart as well."""
    new_PN = np.tile(is_new_N, (permutations + 1, 1))
    for fold in range(_FOLDS):
        places = np.flatnonzero(folds == fold)
        new_PN[1:, places] = rng.permuted(new_PN[1:, places], axis=1)
    wins_P = np.zeros(permutations + 1)
    for fold in range(_FOLDS):
        held_N = folds == fold
        scores_nP = _newton_scores(features, held_N, sparse, new_PN[:, ~held_N].T - float(is_new_N.mean()))
        wins_P += _rank_sums(scores_nP, new_PN[:, held_N].T)
    return float(1 + (wins_P[1:] >= wins_P[0] - 1e-9).sum()) / (permutations + 1)


def _newton_scores(features: Features, held_N: np.ndarray, sparse: bool, targets_MP: np.ndarray) -> np.ndarray:
    """What logistic regression says of the held rows after one Newton step from zero, (n, P): ridge regression of its targets."""
    kept, held = _scaled(features, held_N, sparse)
    alpha = 4.0 / _STRENGTH[sparse]
    if kept.shape[1] <= kept.shape[0] and not sparse:
        inside = kept.T @ kept + alpha * np.eye(kept.shape[1])
        return held @ np.linalg.solve(inside, kept.T @ targets_MP)
    gram, across = kept @ kept.T, held @ kept.T
    gram, across = (one.toarray() if sparse else one for one in (gram, across))
    return across @ np.linalg.solve(gram + alpha * np.eye(len(gram)), targets_MP)


def _rank_sums(scores_nP: np.ndarray, new_nP: np.ndarray) -> np.ndarray:
    """The summed ranks of the new rows, (P,): the AUC of each column but for constants, as each has as many new rows."""
    ranks_nP = np.argsort(np.argsort(scores_nP, axis=0), axis=0)
    return (ranks_nP * new_nP).sum(axis=0).astype(np.float64)


def _within_folds(scores_N: np.ndarray, folds: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    found_N = np.zeros(len(scores_N))
    for fold in range(_FOLDS):
        places = folds == fold
        found_N[places] = rankdata(scores_N[places]) / places.sum()
    return found_N


def mmd_test(
    features: Features, is_new_N: np.ndarray, *, permutations: int = 499, seed: int = 0
) -> tuple[float, float]:
    """The squared maximum mean discrepancy under a Gaussian kernel, unbiased, and the p of a permutation test (Gretton et al. 2012, JMLR 13,
    sections 3 and 5; the kernel's width is the median distance).
    """
    rng = np.random.default_rng(seed)
    apart_NN = _squared_distances(features)
    some = rng.permutation(len(is_new_N))[:_MEDIAN_ROWS]
    inside = apart_NN[np.ix_(some, some)][np.triu_indices(len(some), 1)]
    middle = float(np.median(inside)) or float(inside.mean()) or 1.0
    kernel_NN = np.exp(-apart_NN / middle)
    new_NP = np.empty((len(is_new_N), permutations + 1), dtype=kernel_NN.dtype)
    new_NP[:, 0] = is_new_N
    for number in range(1, permutations + 1):
        new_NP[:, number] = rng.permutation(is_new_N)
    reached_NP = kernel_NN @ new_NP
    news, olds = float(is_new_N.sum()), float((~is_new_N).sum())
    within_P = (new_NP * reached_NP).sum(axis=0, dtype=np.float64)
    across_P = reached_NP.sum(axis=0, dtype=np.float64) - within_P
    others_P = float(kernel_NN.sum(dtype=np.float64)) - within_P - 2 * across_P
    found_P = (within_P - news) / (news * (news - 1)) + (others_P - olds) / (olds * (olds - 1)) - 2 * across_P / (news * olds)  # fmt: skip
    return float(found_P[0]), float(1 + (found_P[1:] >= found_P[0] - 1e-9).sum()) / (permutations + 1)


def _squared_distances(features: Features) -> np.ndarray:
    """(N, N) float32; dense features in units of their spread over all rows."""
    if isinstance(features, np.ndarray):
        scaled, _ = _scaled(features, np.zeros(len(features), dtype=bool), sparse=False)
        gram_NN = scaled.astype(np.float32) @ scaled.astype(np.float32).T
    else:
        gram_NN = (features @ features.T).toarray().astype(np.float32)
    squares_N = np.diag(gram_NN).copy()
    return np.maximum(squares_N[:, None] + squares_N[None] - 2 * gram_NN, 0.0)


class NumberTest(NamedTuple):
    """One number of a row in both sets: medians, the largest distance of the distributions (Kolmogorov-Smirnov), its p, and the p that
    holds the false discovery rate over all numbers.
    """

    name: str
    reference: float
    new: float
    distance: float
    p: float
    adjusted_p: float


def number_tests(numbers: Mapping[str, np.ndarray], is_new_N: np.ndarray) -> list[NumberTest]:
    """Kolmogorov-Smirnov's test of each number that is not the same everywhere, adjusted after Benjamini & Hochberg 1995; the smallest p first.

    Rows without a number (NaN) are left out of its test.
    """
    from scipy.stats import false_discovery_control, ks_2samp

    found: list[tuple[str, float, float, float, float]] = []
    for name, values_N in numbers.items():
        known_N = np.isfinite(values_N)
        olds, news = values_N[known_N & ~is_new_N], values_N[known_N & is_new_N]
        if len(olds) < 2 or len(news) < 2 or np.ptp(values_N[known_N]) == 0:
            continue
        tested: Any = ks_2samp(olds, news, method="exact" if max(len(olds), len(news)) <= _EXACT_ROWS else "asymp")
        medians = float(np.median(olds)), float(np.median(news))
        found.append((name, *medians, float(tested.statistic), float(tested.pvalue)))
    if not found:
        return []
    adjusted = false_discovery_control([one[-1] for one in found], method="bh").tolist()
    tests = [
        NumberTest(name, old, new, apart, p, held)
        for (name, old, new, apart, p), held in zip(found, adjusted, strict=True)
    ]
    return sorted(tests, key=lambda test: (test.adjusted_p, test.p))


def adjusted_by_holm(p_by_name: Mapping[str, float]) -> dict[str, float]:
    """The p of each test such that one false alarm among them all is as rare as is said (Holm 1979)."""
    order = sorted(p_by_name, key=p_by_name.__getitem__)
    found: dict[str, float] = {}
    most = 0.0
    for place, name in enumerate(order):
        most = max(most, min(1.0, (len(order) - place) * p_by_name[name]))
        found[name] = most
    return {name: found[name] for name in p_by_name}
