"""What features say of an encoder: are they spread, in how many directions, and do like pictures lie near each other.

All are sums over rows, so that they have intervals like any score. Shapes: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pretune.metrics.base import ScoreSpec

__all__ = [
    "HEALTH_READING",
    "HEALTH_SPECS",
    "NUM_HEALTH",
    "SPREAD_SPECS",
    "collapse_warnings",
    "distances",
    "health_scores",
    "health_statistics",
]

SPREAD_SPECS: Mapping[str, ScoreSpec] = {
    "spread": ScoreSpec(rising=True, unit="number", title="spread of the features"),
    "effective_rank": ScoreSpec(rising=True, unit="number", title="directions in which features differ"),
}
HEALTH_SPECS: Mapping[str, ScoreSpec] = {
    **SPREAD_SPECS,
    "knn_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of nearest neighbours"),
}
HEALTH_READING = (
    "Spread is 0 where all pictures get the same features, and 1 at most; directions (effective rank) is in how many ways "
    "the features differ. Nearest neighbours: how often the labelled pictures that are most alike have a picture's own "
    "class. Nothing was learned from labels."
)
NUM_HEALTH = 5
_NEIGHBOURS, _TEMPERATURE = 20, 0.07
_COLLAPSED_SPREAD, _COLLAPSED_RANK = 0.01, 1.1
_COLLAPSED_ANSWERS = 0.05
"""Of projections. One BYOL run on small pictures had 0.26 after ten updates and 0.34 after forty; the same without predictor,
without batch norm in the heads and without a slow teacher 0.04 and 0.013."""


def health_statistics(features_ND: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """(N, 5) per row: 1, squared distance from the mean, mean squared product with the others, near neighbours right, labelled.

    Features are scaled to length 1. ``targets_N`` are class numbers, -1 for none: they are looked at, never learned from.
    """
    stats = np.zeros((len(features_ND), NUM_HEALTH))
    unit_ND = _unit(features_ND.astype(np.float64))
    centred_ND = unit_ND - unit_ND.mean(axis=0)
    stats[:, 0] = 1.0
    stats[:, 1] = distances(unit_ND)
    # Row by row, x' C x with C the features' covariance: the mean over all others of (x' y) squared.
    covariance_DD = centred_ND.T @ centred_ND / max(1, len(centred_ND))
    stats[:, 2] = ((centred_ND @ covariance_DD) * centred_ND).sum(axis=1)
    labelled = np.flatnonzero(targets_N >= 0)
    if len(np.unique(targets_N[labelled])) > 1:
        stats[labelled, 3] = _neighbours_right(unit_ND[labelled], targets_N[labelled])
        stats[labelled, 4] = 1.0
    return stats


def distances(features_ND: np.ndarray) -> np.ndarray:
    """(N,) squared distance of each row's features, scaled to length 1, from the mean row's."""
    unit_ND = _unit(features_ND.astype(np.float64))
    return ((unit_ND - unit_ND.mean(axis=0)) ** 2).sum(axis=1)


def _unit(features_ND: np.ndarray) -> np.ndarray:
    return features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)


def _neighbours_right(unit_ND: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """Is each row's class that of its nearest others, weighted by nearness (Wu et al. 2018, arXiv 1805.01978, section 3.4)?"""
    likeness_NN = unit_ND @ unit_ND.T
    np.fill_diagonal(likeness_NN, -np.inf)
    count = min(_NEIGHBOURS, len(unit_ND) - 1)
    nearest_NK = np.argpartition(-likeness_NN, count - 1, axis=1)[:, :count]
    weights_NK = np.exp((np.take_along_axis(likeness_NN, nearest_NK, axis=1) - 1) / _TEMPERATURE)
    votes_NC = np.zeros((len(unit_ND), int(targets_N.max()) + 1))
    np.add.at(votes_NC, (np.arange(len(unit_ND))[:, None], targets_N[nearest_NK]), weights_NK)
    return votes_NC.argmax(axis=1) == targets_N


def health_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Of (..., 5) sums: ``spread``, ``effective_rank`` and, where there are labels, ``knn_accuracy``.

    ``spread`` is the features' distance from their mean, root mean square: 0 when all are alike, 1 at most (the mean
    deviation that Chen & He 2021, arXiv 2011.10566, section 4.1 watch, times the root of D). ``effective_rank`` is the
    participation ratio of the covariance's eigenvalues: in how many directions the features differ.
    """
    rows, distance, products = (sums_K[..., number] for number in range(3))
    rows = np.maximum(rows, 1e-12)
    variance = distance / rows
    found = {
        "spread": np.sqrt(variance),
        "effective_rank": np.where(products > 0, variance**2 / np.maximum(products / rows, 1e-30), 0.0),
    }
    if np.all(sums_K[..., 4] > 0):
        found["knn_accuracy"] = sums_K[..., 3] / sums_K[..., 4]
    return found


def collapse_warnings(scores: Mapping[str, float], *, remedy: str, rows: str = "picture") -> list[str]:
    """In plain words, when the features no longer tell ``rows`` apart; ``remedy`` says what to do."""
    if scores.get("projected_spread", 1.0) < _COLLAPSED_ANSWERS:
        return [
            f"training has collapsed: the network gives nearly the same answer for every {rows} (spread {scores['projected_spread']:.4f}, of at most 1), which teaches the encoder nothing; {remedy}"
        ]
    if scores["spread"] < _COLLAPSED_SPREAD:
        return [
            f"the encoder has collapsed: its features are the same for every {rows} (spread {scores['spread']:.4f}, of at most 1), so it is of no use to a classifier; {remedy}"
        ]
    if scores["effective_rank"] < _COLLAPSED_RANK:
        return [
            f"the encoder has almost collapsed: its features differ in one direction only (effective rank {scores['effective_rank']:.2f}); {remedy}"
        ]
    return []
