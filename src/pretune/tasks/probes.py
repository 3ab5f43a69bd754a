"""What a model's features know before anything of it is learned: a linear classifier and nearest neighbours on them.

A linear probe (Alain & Bengio 2017, arXiv 1610.01644) is what the model's own last layer becomes by logistic regression
(:mod:`pretune.tasks.linear.head`); the neighbours are weighted (Wu et al. 2018, arXiv 1805.01978, section 3.4) by what that layer
reads. Shapes: N rows, M items, F features, C classes, K statistics.
"""

from __future__ import annotations

import numpy as np

from pretune.tasks.baselines.parts import KnownLabels
from pretune.tasks.protocols import EncodedRows

__all__ = ["by_row", "neighbour_votes"]

_SHARPNESS = 0.07
"""Temperature of the neighbours' votes (Wu et al. 2018, section 3.4)."""


def by_row(features_MF: np.ndarray, rows: EncodedRows) -> np.ndarray:
    """(N, F): the mean over the windows of a long text, which are items of one id; rows in order of first appearance."""
    ids = [rows[place].id for place in range(len(rows))]
    first: dict[str, int] = {}
    row_M = np.array([first.setdefault(one, len(first)) for one in ids], dtype=np.int64)
    if len(first) == len(ids):
        return features_MF
    sums_NF = np.zeros((len(first), features_MF.shape[1]))
    np.add.at(sums_NF, row_M, features_MF)
    return (sums_NF / np.bincount(row_M)[:, None]).astype(np.float32)


def neighbour_votes(train_NF: np.ndarray, rows_NF: np.ndarray, known: KnownLabels, neighbours: int) -> np.ndarray:
    """Shares (N, C) of the nearest training rows' votes, by cosine after centring, nearer ones weighing more. Where rows may have
    several labels each is voted for by itself.
    """
    from sklearn.neighbors import NearestNeighbors

    def turned(features_NF: np.ndarray) -> np.ndarray:
        centred_NF = features_NF - train_NF.mean(axis=0)
        return centred_NF / np.maximum(np.linalg.norm(centred_NF, axis=1, keepdims=True), 1e-12)

    model = NearestNeighbors(n_neighbors=min(neighbours, len(train_NF))).fit(turned(train_NF))
    apart_NK, nearest_NK = model.kneighbors(turned(rows_NF))
    weights_NK = np.exp(-(apart_NK**2) / 2 / _SHARPNESS)  # of unit vectors: the cosine, but for a constant
    is_several = known.train.ndim == 2
    votes_MC = known.train.astype(float) if is_several else np.eye(known.num_classes)[known.train]
    shares_NK = weights_NK / weights_NK.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", shares_NK, votes_MC[nearest_NK])
