"""What simple methods reach on the same labelled rows: the shares of the labels, and logistic regression on plain features.

Shapes: N rows, C classes, F features of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pretune.metrics.base import Measured
from pretune.tasks.baseline_parts import KnownLabels, fit_solver, has_choice, majority

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["feature_baselines", "logistic_probabilities"]

MAX_ROWS = 5_000
"""Training rows that the regression sees: what a minute of one core can decode."""


def feature_baselines(
    train: Dataset,
    rows: Dataset,
    known: KnownLabels,
    features: Callable[[Dataset, np.ndarray], np.ndarray],
    *,
    name: str,
    what: str,
    strength: float,
    passes: int,
) -> tuple[dict[str, Measured], list[str]]:
    """Answers to ``rows`` measured, by name (``majority``, ``name``), and notes in sentences.

    ``features(dataset, numbers)`` are those of the rows of these numbers, (numbers, F); ``what`` names them for people.
    ``strength`` is scikit-learn's C, ``passes`` its most iterations.
    """
    result = {"majority": known.score(majority(known), known.truth)}
    notes: list[str] = []
    chosen = np.arange(len(train))
    if len(chosen) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MAX_ROWS])
        notes.append(
            f"The baseline on {what} was fitted on {MAX_ROWS} of the {len(train)} training rows, drawn at random."
        )
    if not has_choice(known.train[chosen]):
        return result, notes
    train_NF, rows_NF = features(train, chosen), features(rows, np.arange(len(rows)))
    found_NC = logistic_probabilities(train_NF, known.train[chosen], rows_NF, known.num_classes, strength, passes)
    result[name] = known.score(found_NC, known.truth)
    return result, notes


def logistic_probabilities(
    train_NF: np.ndarray, y: np.ndarray, rows_NF: np.ndarray, classes: int, strength: float, passes: int
) -> np.ndarray:
    """Probabilities (N, C) of ``rows_NF`` by logistic regression on standardised features; y: see :class:`KnownLabels`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=passes))
    return fit_solver(model, train_NF, y, classes)(rows_NF)
