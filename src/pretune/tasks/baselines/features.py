"""What simple methods reach on the same labelled rows: the shares of the labels, and logistic regression on plain features.

Shapes: N rows, C classes, F features of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pretune.metrics.base import Measured
from pretune.tasks.baselines.parts import KnownAnswers

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["feature_baselines"]

MAX_ROWS = 5_000
"""Training rows that the regression sees: what a minute of one core can decode."""


def feature_baselines(
    train: Dataset,
    rows: Dataset,
    known: KnownAnswers,
    features: Callable[[Dataset, np.ndarray], np.ndarray],
    *,
    name: str,
    what: str,
    strength: float,
    passes: int,
) -> tuple[dict[str, Measured], list[str]]:
    """Answers to ``rows`` measured, by name (``majority`` or ``mean``, and ``name`` with the method), and notes in sentences.

    ``features(dataset, numbers)`` are those of the rows of these numbers, (numbers, F); ``what`` names them for people.
    ``strength`` is scikit-learn's C, ``passes`` its most iterations.
    """
    result = {known.prior_name: known.measured(known.prior())}
    notes: list[str] = []
    chosen = np.arange(len(train))
    if len(chosen) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MAX_ROWS])
        notes.append(
            f"The baseline on {what} was fitted on {MAX_ROWS} of the {len(train)} training rows, drawn at random."
        )
    if not known.has_choice(chosen):
        return result, notes
    answer = known.fitted(features(train, chosen), chosen, strength=strength, passes=passes, sparse=False)
    result[f"{name}-{known.method}"] = known.measured(answer(features(rows, np.arange(len(rows)))))
    return result, notes
