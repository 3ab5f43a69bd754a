"""Temperature scaling: one number, fitted on validation rows, that calibrates probabilities.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = [
    "MAX_TEMPERATURE",
    "MIN_TEMPERATURE",
    "Calibration",
    "apply_temperature",
    "choose_temperature",
    "fit_temperature",
]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_FOLDS = 5


class Calibration(NamedTuple):
    """The ``temperature`` that is used. ``before`` and ``after`` are the log losses (nats a row) of rows as trained, and scaled
    by a temperature that was fitted on others.
    """

    temperature: float
    before: float
    after: float

    @property
    def is_used(self) -> bool:
        """Did scaling help rows that it was not fitted on?"""
        return self.after < self.before


def choose_temperature(log_probabilities_NC: np.ndarray, truth_N: np.ndarray) -> Calibration:
    """:func:`fit_temperature`, where such a temperature helps rows that it was not fitted on (five parts of like shares of the
    classes, each scaled by what the others give); 1 where it does not: few rows may ask for more than they know.
    """
    logits_NC, truth_N = _finite(log_probabilities_NC), np.asarray(truth_N, dtype=np.int64)
    if len(truth_N) < 2:
        return Calibration(1.0, 0.0, 0.0)
    fold_N = np.empty(len(truth_N), dtype=np.int64)
    fold_N[np.argsort(truth_N, kind="stable")] = np.arange(len(truth_N)) % min(_FOLDS, len(truth_N))
    losses_N = np.empty(len(truth_N))
    for fold in range(fold_N.max() + 1):
        out_N = fold_N == fold
        scale = fit_temperature(logits_NC[~out_N], truth_N[~out_N])
        losses_N[out_N] = _log_losses(logits_NC[out_N] / scale, truth_N[out_N])
    found = Calibration(1.0, float(_log_losses(logits_NC, truth_N).mean()), float(losses_N.mean()))
    return found._replace(temperature=fit_temperature(logits_NC, truth_N)) if found.is_used else found


def fit_temperature(log_probabilities_NC: np.ndarray, truth_N: np.ndarray) -> float:
    """The temperature that minimises the log loss of ``softmax(log_probabilities / T)`` (Guo et al. 2017, section 4.2).

    ``truth_N`` holds class indices. Searched between 0.05 and 20. Logits serve as well as log probabilities. Where the
    most probable class is right in every row (or there is no row) no temperature is best: the answer is 1, no change.
    """
    from scipy.optimize import minimize_scalar

    logits_NC = _finite(log_probabilities_NC)
    truth_N = np.asarray(truth_N, dtype=np.int64)
    if np.all(logits_NC.argmax(axis=1) == truth_N) if len(truth_N) else True:
        return 1.0

    def log_loss(log_temperature: float) -> float:
        return float(_log_losses(logits_NC / np.exp(log_temperature), truth_N).mean())

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def apply_temperature(probabilities_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities ``(N, C)`` after scaling; the order of the classes in a row does not change."""
    with np.errstate(divide="ignore"):
        logits_NC = _finite(np.log(np.asarray(probabilities_NC, dtype=np.float64)))
    return np.exp(_log_softmax(logits_NC / temperature))


def _log_losses(logits_NC: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Of each row, in nats: (N,)."""
    return -_log_softmax(logits_NC)[np.arange(len(truth_N)), truth_N]


def _finite(logits_NC: np.ndarray) -> np.ndarray:
    """A probability of 0 becomes the smallest float64."""
    return np.maximum(np.asarray(logits_NC, dtype=np.float64), np.log(np.finfo(np.float64).tiny))


def _log_softmax(logits_NC: np.ndarray) -> np.ndarray:
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    return shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True))
