"""What simple methods reach on the same rows of a class each: the majority class, and logistic regression on plain features.

Shapes: N rows, C classes, F features of a row, K statistics.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretune.tasks.classification_scores import classification_statistics

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["feature_baselines", "logistic_probabilities"]

MAX_ROWS = 5_000
"""Training rows that the regression sees: what a minute of one core can decode."""


def feature_baselines(
    train: Dataset,
    rows: Dataset,
    labels: Sequence[str],
    features: Callable[[Dataset, np.ndarray], np.ndarray],
    *,
    name: str,
    what: str,
    strength: float,
    passes: int,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Statistics (N, K) of ``rows`` by name (``majority``, ``name``), and notes in sentences.

    ``features(dataset, numbers)`` are those of the rows of these numbers, (numbers, F); ``what`` names them for people.
    ``strength`` is scikit-learn's C, ``passes`` its most iterations.
    """
    index = {label: number for number, label in enumerate(labels)}
    truth_N = np.array([index[label] for label in rows["label"]])
    train_y = np.array([index[label] for label in train["label"]])
    counts_C = np.bincount(train_y, minlength=len(labels)) + 1.0
    majority_NC = np.tile(counts_C / counts_C.sum(), (len(truth_N), 1))
    result = {"majority": classification_statistics(majority_NC, truth_N)}
    notes: list[str] = []
    chosen = np.arange(len(train))
    if len(chosen) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MAX_ROWS])
        notes.append(
            f"The baseline on {what} was fitted on {MAX_ROWS} of the {len(train)} training rows, drawn at random."
        )
    if len(np.unique(train_y[chosen])) < 2:
        return result, notes
    train_NF, rows_NF = features(train, chosen), features(rows, np.arange(len(rows)))
    found_NC = logistic_probabilities(train_NF, train_y[chosen], rows_NF, len(labels), strength, passes)
    result[name] = classification_statistics(found_NC, truth_N)
    return result, notes


def logistic_probabilities(
    train_NF: np.ndarray, y: np.ndarray, rows_NF: np.ndarray, classes: int, strength: float, passes: int
) -> np.ndarray:
    """Probabilities (N, C) of ``rows_NF`` by logistic regression on standardised features; y are class indices (N,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=passes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_NF, y)
    found_NC = np.zeros((len(rows_NF), classes))
    found_NC[:, model.classes_] = model.predict_proba(rows_NF)
    return found_NC
