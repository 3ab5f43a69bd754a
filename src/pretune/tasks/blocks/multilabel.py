"""Report blocks of rows that may have several labels: scores of each label, what was given for what, the threshold, mistakes.

Shapes: N rows, C classes, M = N C answers to "has this row this label?", T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pretune.metrics.classification import ratio
from pretune.tasks.blocks.classification import Rows, class_table, mistakes_block, pairs_table

__all__ = ["NOTHING", "multilabel_blocks"]

NOTHING = "none of the labels"
"""What people read for an empty set."""

MAX_CONFUSIONS = 20
_STEPS = 99


def multilabel_blocks(
    probabilities_NC: np.ndarray,
    predicted_NC: np.ndarray,
    truth_NC: np.ndarray,
    labels: Sequence[str],
    rows: Rows,
    *,
    threshold: float,
    shown: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> list[dict[str, Any]]:
    """The report blocks; ``predicted_NC`` and ``truth_NC`` are bool. ``rows[i]`` is row i, of which ``shown`` makes what the page shows."""
    note = f"A row gets the labels whose probability is {threshold:.3f} or more (fitted on the validation rows)."
    truth_C, predicted_C, correct_C = (part.sum(axis=0) for part in (truth_NC, predicted_NC, predicted_NC & truth_NC))
    return [
        class_table(truth_C, predicted_C, correct_C, labels, note=note),
        _confusions(predicted_NC, truth_NC, labels),
        _thresholds(probabilities_NC, truth_NC, threshold),
        _mistakes(probabilities_NC, predicted_NC, truth_NC, labels, rows, shown),
    ]


def _confusions(predicted_NC: np.ndarray, truth_NC: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    missed_NC, extra_NC = truth_NC & ~predicted_NC, predicted_NC & ~truth_NC
    counts_CC = missed_NC.T.astype(np.float32) @ extra_NC.astype(np.float32)
    pairs = [(labels[a], labels[b], int(counts_CC[a, b])) for a, b in np.argwhere(counts_CC > 0).tolist()]
    note = "a row counts for every pair of a label it lacks and one too many."
    return pairs_table(pairs, ("missed", "given instead"), note, at_most=MAX_CONFUSIONS)


def _thresholds(probabilities_NC: np.ndarray, truth_NC: np.ndarray, threshold: float) -> dict[str, Any]:
    """Micro precision, recall and F1 had another threshold been taken."""
    thresholds_T = np.linspace(0, 1, _STEPS + 2)[1:-1]
    every_M, given_M = np.sort(probabilities_NC, axis=None), np.sort(probabilities_NC[truth_NC])
    predicted_T = len(every_M) - np.searchsorted(every_M, thresholds_T)
    correct_T = len(given_M) - np.searchsorted(given_M, thresholds_T)
    parts = {
        "precision": ratio(correct_T, predicted_T),
        "recall": correct_T / max(len(given_M), 1),
        "F1": ratio(2 * correct_T, predicted_T + len(given_M)),
    }
    x = thresholds_T.round(4).tolist()
    series = [{"name": name, "x": x, "y": np.asarray(y).tolist()} for name, y in parts.items()]
    note = (
        f"Over all labels together (micro). This model's threshold is {threshold:.3f}; a lower one gives more labels."
    )
    titles = {"title": "Had another threshold been taken", "x_title": "threshold", "y_title": "score"}
    return {"type": "curve", **titles, "note": note, "series": series}


def _mistakes(
    probabilities_NC: np.ndarray,
    predicted_NC: np.ndarray,
    truth_NC: np.ndarray,
    labels: Sequence[str],
    rows: Rows,
    shown: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Rows by their surest wrong answer: the probability of a label too many, or what a missed one lacks to 1."""
    sure_NC = np.where(predicted_NC, probabilities_NC, 1.0 - probabilities_NC).clip(min=1e-12)
    confidence_N = np.where(predicted_NC != truth_NC, sure_NC, 0.0).max(axis=1)

    def words(number: int, chosen_C: np.ndarray) -> str:
        found = [f"{labels[c]} ({probabilities_NC[number, c]:.0%})" for c in np.flatnonzero(chosen_C).tolist()]
        return ", ".join(found) or NOTHING

    def answer(number: int) -> dict[str, Any]:
        return {"truth": words(number, truth_NC[number]), "predicted": words(number, predicted_NC[number])}

    return mistakes_block(confidence_N, answer, rows, shown)
