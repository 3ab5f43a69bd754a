"""Logistic regression on features of rows, its regularisation chosen inside the training rows.

Shapes: N items, F features, C classes, K folds. Labels are class indices (N,), or 0 and 1 by class (N, C) where a row may have
several.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "FEW_ROWS_STRENGTH",
    "SPARSE_STRENGTH",
    "LinearFit",
    "fit_linear",
    "fit_rows",
    "log_losses",
    "rotated_logits",
]

Features = Any
"""(N, F): float32 numbers, or a sparse matrix of scipy's whose rows have length 1."""

_DECADES = tuple(10.0**power for power in range(-4, 4))
_HALF_A_DECADE = 10.0**0.5
_FOLDS = 5
_MOST_TRIED_ROWS = 4_000
_MOST_WORK = 5e10
"""Rows x features x classes of the last fit: about a minute of one core."""

_PASSES = 300
_SMALL = 20_000_000
"""Numbers up to which the fit is computed in float64."""

SPARSE_STRENGTH, SPARSE_PASSES = 10.0, 15
"""Of texts as terms: SAGA (Defazio et al. 2014) stopped early (docs/decisions.md, D203)."""

FEW_ROWS_STRENGTH = 0.01
"""Of numbers, where the rows are too few to choose it by."""

_LIKE = 1e-3
"""Losses that differ by no more are alike: the stronger regularisation is taken."""

_NEVER = -20.0
"""The logit of a class that no row has: a probability of about 1e-9."""


class LinearFit(NamedTuple):
    """``weight`` (C, F) and ``bias`` (C,): logits of features as they are given. ``strength`` is scikit-learn's C, chosen by ``losses``:
    of each that was tried the mean log loss of rows held out in turn (empty where there was nothing to choose by). ``tried`` rows
    chose it, ``rows`` gave the weights.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    losses: dict[float, float]
    tried: int
    rows: int

    def logits(self, features: Features) -> np.ndarray:
        """(N, C) of the classes of other rows."""
        return _logits(features, self.weight, self.bias)

    def facts(self) -> dict[str, Any]:
        """JSON values for the record."""
        return {
            "strength": self.strength, "rows": self.rows, "rows_tried": self.tried,
            "losses": [[strength, round(loss, 6)] for strength, loss in sorted(self.losses.items())],
        }  # fmt: skip

    def sentence(self) -> str:
        """What was chosen, and by what."""
        if not self.losses:
            return f"C = {self.strength:g}, as there were too few rows to choose it by"
        return f"C = {self.strength:.2g}, the best of {len(self.losses)} by the log loss of rows of train held out in turn ({self.tried} rows)"


def fit_linear(
    features: Features, labels: np.ndarray, weights_N: np.ndarray, units_N: np.ndarray, num_classes: int, *, default: float
) -> LinearFit:  # fmt: skip
    """Fit all rows at the strength that does best on rows held out in turn; rows of one of the ``units_N`` stay together.

    ``weights_N`` is what each row counts for. ``default`` is the strength where the rows are too few to choose one.
    """
    rng = np.random.default_rng(0)
    tried = np.sort(rng.permutation(len(labels))[:_MOST_TRIED_ROWS])
    folds = _folds(labels[tried], units_N[tried])

    def loss(strength: float) -> float:
        total = 0.0
        for kept, held in folds:
            inside, outside = tried[kept], tried[held]
            weight, bias = _solved(features[inside], labels[inside], weights_N[inside], num_classes, strength)
            losses_n = log_losses(_logits(features[outside], weight, bias), labels[outside])
            total += float((losses_n * weights_N[outside]).sum())
        return total / float(weights_N[tried].sum())

    losses = _tried_strengths(loss) if folds else {}
    strength = min(one for one in losses if losses[one] <= min(losses.values()) + _LIKE) if losses else default
    filled = features.shape[1] if isinstance(features, np.ndarray) else features.nnz / features.shape[0] + 1
    most = max(1, int(_MOST_WORK / (filled * num_classes)))
    chosen = np.arange(len(labels)) if len(labels) <= most else np.sort(rng.permutation(len(labels))[:most])
    weight, bias = _solved(features[chosen], labels[chosen], weights_N[chosen], num_classes, strength)
    return LinearFit(weight, bias, strength, losses, len(tried) if losses else 0, len(chosen))


def fit_rows(features: Features, labels: np.ndarray, num_classes: int) -> LinearFit:
    """Fit rows that count alike; sparse features at :data:`SPARSE_STRENGTH`, in the fewer passes the more rows there are."""
    weights_N = np.ones(len(labels))
    if isinstance(features, np.ndarray):
        return fit_linear(features, labels, weights_N, np.arange(len(labels)), num_classes, default=FEW_ROWS_STRENGTH)
    weight, bias = _classes(features, labels, weights_N, num_classes, SPARSE_STRENGTH, passes=min(max(SPARSE_PASSES, 50_000 // len(labels)), _PASSES))  # fmt: skip
    return LinearFit(weight, bias, SPARSE_STRENGTH, {}, 0, len(labels))


def rotated_logits(
    features: Features, labels: np.ndarray, weights_N: np.ndarray, units_N: np.ndarray, num_classes: int, strength: float,
    on_fold: Callable[[int], None],
) -> np.ndarray | None:  # fmt: skip
    """Logits (N, C) of each row by a fit on the rows of the other folds; rows of one of the ``units_N`` are in one fold.

    Sparse features, which could learn wrong labels by heart, are fitted in few passes (:data:`SPARSE_PASSES`). ``on_fold`` is told of
    the rows of each fold. None where rows or classes are too few for that.
    """
    found_NC = np.full((len(labels), num_classes), np.nan)
    for kept, held in _folds(labels, units_N):
        if isinstance(features, np.ndarray):
            weight, bias = _solved(features[kept], labels[kept], weights_N[kept], num_classes, strength)
        else:
            weight, bias = _classes(features[kept], labels[kept], weights_N[kept], num_classes, strength, passes=SPARSE_PASSES)  # fmt: skip
        found_NC[held] = _logits(features[held], weight, bias)
        on_fold(len(held))
    return None if np.isnan(found_NC).any() else found_NC


def _tried_strengths(loss: Callable[[float], float]) -> dict[float, float]:
    """The losses of whole decades until two in a row were worse than the best, then of the halves beside the best."""
    losses: dict[float, float] = {}
    for strength in _DECADES:
        losses[strength] = loss(strength)
        best = min(losses, key=losses.__getitem__)
        if strength > 50 * best:
            break
    best = min(losses, key=losses.__getitem__)
    for strength in (best / _HALF_A_DECADE, best * _HALF_A_DECADE):
        losses[strength] = loss(strength)
    return losses


def _folds(labels: np.ndarray, units_N: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows kept and held out, in turn, classes by their share where a row has one; none where that cannot be."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if not _has_choice(labels):
        return []
    sizes = np.unique(labels, return_counts=True)[1] if labels.ndim == 1 else np.array([len(labels)])
    count = min(_FOLDS, len(np.unique(units_N)), max(2, int(sizes.min())))
    if count < 2 or sizes.max() < count:
        return []
    made = StratifiedGroupKFold if labels.ndim == 1 else GroupKFold
    splitter = made(n_splits=count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer rows than folds
        folds = list(splitter.split(np.zeros(len(labels)), labels, units_N))
    return [(kept, held) for kept, held in folds if len(held) and _has_choice(labels[kept])]


def _has_choice(labels: np.ndarray) -> bool:
    if labels.ndim == 1:
        return len(np.unique(labels)) > 1
    return bool((labels.any(axis=0) & ~labels.all(axis=0)).any())


def log_losses(logits_NC: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The log loss of each row (N,); of several labels a row the sum over them."""
    if labels.ndim == 2:
        return (np.logaddexp(0.0, logits_NC) - labels * logits_NC).sum(axis=1)
    return np.logaddexp.reduce(logits_NC, axis=1) - logits_NC[np.arange(len(labels)), labels]


def _logits(features: Features, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.asarray(features @ weight.T + bias)


def _solved(
    features: Features, labels: np.ndarray, weights_N: np.ndarray, num_classes: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (C, F) and bias (C,) of features as they are, by regression on standardised ones (sparse ones as they are)."""
    if isinstance(features, np.ndarray):
        numbers = features.astype(np.float64 if features.size <= _SMALL else np.float32)
        mean_F, scale_F = numbers.mean(axis=0), numbers.std(axis=0)
        scale_F = np.where(scale_F > 1e-6 * np.maximum(1.0, np.abs(mean_F)), scale_F, np.inf)
        numbers = (numbers - mean_F) / scale_F
    else:
        numbers, mean_F, scale_F = features, np.zeros(features.shape[1]), np.ones(features.shape[1])
    weight, bias = _regressed(numbers, labels, weights_N, num_classes, strength)
    weight = weight / scale_F
    return weight, bias - weight @ mean_F


def _regressed(
    numbers: Any, labels: np.ndarray, weights_N: np.ndarray, num_classes: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    if labels.ndim == 1:
        return _classes(numbers, labels, weights_N, num_classes, strength)
    parts = [_yes_or_no(numbers, labels[:, c], weights_N, strength) for c in range(num_classes)]
    return np.stack([weight for weight, _ in parts]), np.array([bias for _, bias in parts])


def _classes(
    numbers: Any, labels: np.ndarray, weights_N: np.ndarray, num_classes: int, strength: float, passes: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """One label of many: logits of every class; those without a row have none of the features."""
    weight, bias = np.zeros((num_classes, numbers.shape[1])), np.full(num_classes, _NEVER)
    present = np.unique(labels)
    if len(present) == 1:
        bias[present] = 0.0
        return weight, bias
    solver = _fitted(numbers, labels, weights_N, strength, passes)
    if len(present) == 2:  # one row of weights: the odds of the second class
        weight[present], bias[present] = np.stack([-solver.coef_[0], solver.coef_[0]]) / 2, np.array([-1, 1]) * solver.intercept_[0] / 2  # fmt: skip
    else:
        weight[present], bias[present] = solver.coef_, solver.intercept_
    return weight, bias


def _yes_or_no(numbers: Any, has_N: np.ndarray, weights_N: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """The odds of one label of several."""
    if has_N.any() and not has_N.all():
        solver = _fitted(numbers, has_N.astype(np.int64), weights_N, strength)
        return solver.coef_[0], float(solver.intercept_[0])
    odds = np.log((has_N.sum() + 1.0) / ((1 - has_N).sum() + 1.0))
    return np.zeros(numbers.shape[1]), float(odds)


def _fitted(numbers: Any, labels: np.ndarray, weights_N: np.ndarray, strength: float, passes: int = 0) -> Any:
    """With ``passes`` a solver that is stopped after so many, else one that goes to the end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ends: Any = {"solver": "saga", "max_iter": passes, "random_state": 0} if passes else {"max_iter": _PASSES}
        return LogisticRegression(C=strength, **ends).fit(numbers, labels, weights_N)
