"""Scores of rows that may have several labels, as functions of sums over rows; and the threshold that makes labels of probabilities.

Shapes: N rows, C classes, K = 3C + 4 columns of statistics: truth (C), predicted (C), correct (C), wholly right, F1 of the
row's labels, log loss, 1. Mean average precision is not among the scores: it ranks all rows of a class against each other,
so no sums over rows give it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np

from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums
from pretune.metrics.classification import averaged_specs, averages, ratio

__all__ = [
    "MultilabelMetric",
    "MultilabelSums",
    "best_threshold",
    "label_matrix",
    "multilabel_scores",
    "multilabel_statistics",
    "named_multilabel_sums",
    "threshold_of_cardinality",
]

_AVERAGED = tuple(f"{score}_{how}" for how in ("micro", "macro", "weighted") for score in ("precision", "recall", "f1"))


class MultilabelSums(NamedTuple):
    """Named views of ``(..., K)`` statistics."""

    truth: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    exact: np.ndarray
    f1: np.ndarray
    log_loss: np.ndarray
    rows: np.ndarray


def named_multilabel_sums(sums_K: np.ndarray, num_classes: int) -> MultilabelSums:
    """The parts of sums ``(..., K)``, by name."""
    expected = 3 * num_classes + 4
    assert sums_K.shape[-1] == expected, f"{sums_K.shape[-1]} statistics, {expected} expected"
    truth, predicted, correct, rest = np.split(sums_K, np.cumsum([num_classes] * 3), axis=-1)
    return MultilabelSums(truth, predicted, correct, *np.moveaxis(rest, -1, 0))


def multilabel_statistics(probabilities_NC: np.ndarray, predicted_NC: np.ndarray, truth_NC: np.ndarray) -> np.ndarray:
    """What each row adds to the sums, float64 ``(N, 3C + 4)``; ``predicted_NC`` and ``truth_NC`` are bool.

    The F1 of a row is that of its label sets, 1 where both are empty. Its log loss is the mean over the classes of the binary
    cross entropy, in nats, probabilities held above the float64 epsilon.
    """
    assert probabilities_NC.shape == predicted_NC.shape == truth_NC.shape, "one value a row and class"
    correct_NC = predicted_NC & truth_NC
    given_NC = np.where(truth_NC, probabilities_NC, 1.0 - probabilities_NC)
    losses_NC = -np.log(np.clip(given_NC, np.finfo(np.float64).eps, 1.0))
    sizes_N = truth_NC.sum(axis=1) + predicted_NC.sum(axis=1)
    f1_N = np.where(sizes_N > 0, ratio(2.0 * correct_NC.sum(axis=1), sizes_N), 1.0)
    rest_N4 = np.stack(
        [(predicted_NC == truth_NC).all(axis=1), f1_N, losses_NC.mean(axis=1), np.ones(len(truth_NC))], axis=1
    )
    return np.concatenate([truth_NC, predicted_NC, correct_NC, rest_N4], axis=1).astype(np.float64)


def multilabel_scores(sums_K: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Every score of :class:`MultilabelMetric`, from sums ``(..., K)`` to arrays ``(...)``.

    ``subset_accuracy`` is the share of rows whose labels are all right and complete, ``hamming_loss`` the share of wrong
    answers to "has this row this label?", ``f1_samples`` the mean F1 of rows. Averages over classes: see
    :func:`pretune.metrics.classification.averages`.
    """
    sums = named_multilabel_sums(sums_K, num_classes)
    wrong = (sums.truth + sums.predicted - 2 * sums.correct).sum(-1)
    return {
        "subset_accuracy": ratio(sums.exact, sums.rows),
        "f1_samples": ratio(sums.f1, sums.rows),
        **averages(sums.truth, sums.predicted, sums.correct),
        "hamming_loss": ratio(wrong, sums.rows * num_classes),
        "log_loss": ratio(sums.log_loss, sums.rows),
    }


def label_matrix(answers: Iterable[Iterable[str]], labels: Sequence[str]) -> np.ndarray:
    """Which labels each answer names, bool ``(N, C)``. Raises :class:`DataError` for one that is none of ``labels``."""
    index = {label: number for number, label in enumerate(labels)}
    rows = [list(answer) for answer in answers]
    found_NC = np.zeros((len(rows), len(labels)), dtype=bool)
    for number, row in enumerate(rows):
        if strange := [name for name in row if name not in index]:
            raise DataError(
                f'row {number + 1} has the label "{strange[0]}"', f"the labels are: {', '.join(labels[:10])}"
            )
        found_NC[number, [index[name] for name in row]] = True
    return found_NC


def best_threshold(probabilities_NC: np.ndarray, truth_NC: np.ndarray) -> float:
    """The threshold whose labels (probability at or above it) have the largest micro F1; the highest of equals.

    It lies between two probabilities that occur. 0.5 where no row has a label.
    """
    if not truth_NC.any():
        return 0.5
    order = np.argsort(-probabilities_NC, axis=None, kind="stable")
    falling_M, correct_M = probabilities_NC.reshape(-1)[order], np.cumsum(truth_NC.reshape(-1)[order])
    f1_M = 2.0 * correct_M / (np.arange(1, len(order) + 1) + correct_M[-1])
    below_M = np.append(falling_M[1:], 0.0)
    best = int(np.argmax(np.where(falling_M > below_M, f1_M, -1.0)))  # equal probabilities cannot be told apart
    return float((falling_M[best] + below_M[best]) / 2)


def threshold_of_cardinality(probabilities_NC: np.ndarray, labels_per_row: float) -> float:
    """The threshold that gives rows as many labels on average as ``labels_per_row``, as nearly as probabilities allow.

    It needs no labels of these rows (so Read et al. 2011, Machine Learning 85:333, choose theirs). One label in all at least.
    """
    falling_M = -np.sort(-probabilities_NC, axis=None)
    below_M = np.append(falling_M[1:], 0.0)
    ends_M = np.flatnonzero(falling_M > below_M)
    if len(ends_M) == 0:
        return 0.5
    wanted = labels_per_row * len(probabilities_NC)
    best = int(ends_M[np.argmin(np.abs(ends_M + 1 - wanted))])
    return float((falling_M[best] + below_M[best]) / 2)


@final
class MultilabelMetric(Metric):
    """Scores of any number of labels a row. A row is right where its labels are all right and complete."""

    answer: ClassVar[str] = "labels"
    primary: str = "f1_micro"
    tie_breaker: ClassVar[str | None] = "log_loss"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "subset_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), of_right_rows=True),
        "f1_samples": ScoreSpec(rising=True, title="F1 of a row's labels", limits=(0.0, 1.0)),
        **averaged_specs(_AVERAGED),
        "hamming_loss": ScoreSpec(rising=False, limits=(1.0, 0.0)),
        "log_loss": ScoreSpec(rising=False, unit="nats"),
    }

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """See :class:`~pretune.metrics.base.Metric`."""
        return cls(about["labels"])

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`; predicted is what the records' ``labels`` say.

        Raises :class:`DataError` when a truth is none of the labels.
        """
        records = list(records)
        given = [[float(record["probabilities"].get(label, 0.0)) for label in self.labels] for record in records]
        predicted_NC, truth_NC = (
            label_matrix([record[key] for record in records], self.labels) for key in ("labels", "truth")
        )
        return self.of_probabilities(np.array(given).reshape(-1, len(self.labels)), predicted_NC, truth_NC)

    def of_probabilities(self, probabilities_NC: np.ndarray, predicted_NC: np.ndarray, truth_NC: np.ndarray) -> Sums:
        """The same of probabilities, and of predicted and true labels as bool, all (N, C)."""
        classes = len(self.labels)
        return Sums(
            multilabel_statistics(probabilities_NC, predicted_NC, truth_NC),
            lambda sums_K: multilabel_scores(sums_K, classes),
            (predicted_NC == truth_NC).all(axis=1),
        )
