"""Temperature scaling: one number, fitted on validation rows, that calibrates probabilities.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import numpy as np

__all__ = ["MAX_TEMPERATURE", "MIN_TEMPERATURE", "apply_temperature", "fit_temperature"]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(log_probabilities_NC: np.ndarray, truth_N: np.ndarray) -> float:
    """The temperature that minimises the log loss of ``softmax(log_probabilities / T)`` (Guo et al. 2017, section 4.2).

    ``truth_N`` holds class indices. Searched between 0.05 and 20. Logits serve as well as log probabilities. Where the
    most probable class is right in every row (or there is no row) no temperature is best: the answer is 1, no change.
    """
    from scipy.optimize import minimize_scalar

    logits_NC = _finite(log_probabilities_NC)
    truth_N = np.asarray(truth_N, dtype=np.int64)
    row_N = np.arange(len(truth_N))
    if np.all(logits_NC.argmax(axis=1) == truth_N) if len(truth_N) else True:
        return 1.0

    def log_loss(log_temperature: float) -> float:
        return -float(_log_softmax(logits_NC / np.exp(log_temperature))[row_N, truth_N].mean())

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def apply_temperature(probabilities_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities ``(N, C)`` after scaling; the order of the classes in a row does not change."""
    with np.errstate(divide="ignore"):
        logits_NC = _finite(np.log(np.asarray(probabilities_NC, dtype=np.float64)))
    return np.exp(_log_softmax(logits_NC / temperature))


def _finite(logits_NC: np.ndarray) -> np.ndarray:
    """A probability of 0 becomes the smallest float64."""
    return np.maximum(np.asarray(logits_NC, dtype=np.float64), np.log(np.finfo(np.float64).tiny))


def _log_softmax(logits_NC: np.ndarray) -> np.ndarray:
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    return shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True))
