"""What simple methods need of labels, one a row or several.

Shapes: M training rows, N rows to score, C classes, F features of a row. Labels are class indices (M,), or 0 and 1
by class (M, C) where a row may have several.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pretune.metrics.base import Measured

__all__ = ["KnownLabels", "fit_solver", "has_choice", "majority", "num_choices"]


class KnownLabels(NamedTuple):
    """``train`` and ``truth`` are the labels of the training rows and of those to score; ``score`` measures probabilities (N, C)
    against the truth.
    """

    train: np.ndarray
    truth: np.ndarray
    num_classes: int
    score: Callable[[np.ndarray, np.ndarray], Measured]


def majority(known: KnownLabels) -> np.ndarray:
    """For every row the shares of the training labels, (N, C); one is added to each count, so that none is 0."""
    if known.train.ndim == 1:
        counts_C = np.bincount(known.train, minlength=known.num_classes) + 1.0
        shares_C = counts_C / counts_C.sum()
    else:
        shares_C = (known.train.sum(axis=0) + 1.0) / (len(known.train) + 2.0)
    return np.tile(shares_C, (len(known.truth), 1))


def num_choices(train: np.ndarray) -> int:
    """Classes that a method can learn: those with a row, or with rows that have them and rows that have not."""
    if train.ndim == 1:
        return len(np.unique(train))
    return int((train.any(axis=0) & ~train.all(axis=0)).sum())


def has_choice(train: np.ndarray) -> bool:
    """Whether there is anything to learn."""
    return num_choices(train) > (1 if train.ndim == 1 else 0)


def fit_solver(solver: Any, features_MF: Any, train: np.ndarray, num_classes: int) -> Callable[[Any], np.ndarray]:
    """Fit a scikit-learn classifier, for several labels one a class against the rest; gives features (n, F) probabilities (n, C).

    A class without a training row gets 0; one that all rows have, 1.
    """
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if train.ndim == 1:
            solver.fit(features_MF, train)
            parts: dict[int | None, Any] = {None: solver}
        else:
            chosen = np.flatnonzero(train.any(axis=0) & ~train.all(axis=0))
            parts = {}
            for c in chosen.tolist():
                part: Any = clone(solver)
                parts[c] = part.fit(features_MF, train[:, c])
    always_C = np.zeros(num_classes) if train.ndim == 1 else train.all(axis=0).astype(np.float64)

    def probabilities(features_nF: Any) -> np.ndarray:
        found_nC = np.tile(always_C, (features_nF.shape[0], 1))
        for c, part in parts.items():
            if c is None:
                found_nC[:, part.classes_] = part.predict_proba(features_nF)
            else:
                found_nC[:, c] = part.predict_proba(features_nF)[:, 1]
        return found_nC

    return probabilities
