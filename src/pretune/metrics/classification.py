"""Scores of single-label classification, as functions of sums over rows.

Shapes: N rows, C classes, B calibration bins, K = 3C + 2 + 3B columns of statistics. Every row becomes K numbers that
may be added up, and every score is a function of the K sums. So scores of thousands of resampled data sets are one
matrix product (:mod:`pretune.evaluation.intervals`).

Columns: truth (C), predicted (C), correct (C), log loss, Brier term, then rows, confidence and correct of each bin (3B).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np

from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums
from pretune.types import Interval

__all__ = [
    "BINS",
    "ClassificationMetric",
    "ClassificationSums",
    "averaged_specs",
    "averages",
    "classification_scores",
    "classification_statistics",
    "named_sums",
    "ratio",
    "wilson",
]

_AVERAGED = tuple(f"{score}_{how}" for how in ("macro", "micro", "weighted") for score in ("precision", "recall", "f1"))

BINS = 15
"""Of confidence, for the expected calibration error (as Guo et al. 2017, arXiv 1706.04599, section 5)."""

_NORMAL_975 = 1.959963984540054


def averaged_specs(names: Iterable[str]) -> dict[str, ScoreSpec]:
    """Of precision, recall and F1 averaged over classes: ``f1_macro`` is "macro F1"."""

    def spec(name: str) -> ScoreSpec:
        score, how = name.rsplit("_", 1)
        return ScoreSpec(rising=True, title=f"{how} {'F1' if score == 'f1' else score}", limits=(0.0, 1.0))

    return {name: spec(name) for name in names}


class ClassificationSums(NamedTuple):
    """Named views of ``(..., K)`` statistics."""

    truth: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    log_loss: np.ndarray
    brier: np.ndarray
    bin_rows: np.ndarray
    bin_confidence: np.ndarray
    bin_correct: np.ndarray


def named_sums(sums_K: np.ndarray, num_classes: int, bins: int) -> ClassificationSums:
    """The parts of sums ``(..., K)``, by name."""
    expected = 3 * num_classes + 2 + 3 * bins
    assert sums_K.shape[-1] == expected, f"{sums_K.shape[-1]} statistics, {expected} expected"
    ends = np.cumsum([num_classes] * 3 + [1, 1] + [bins] * 3)[:-1]
    truth, predicted, correct, log_loss, brier, rows, confidence, right = np.split(sums_K, ends, axis=-1)
    return ClassificationSums(truth, predicted, correct, log_loss[..., 0], brier[..., 0], rows, confidence, right)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, and 0 where nothing is below (scikit-learn's ``zero_division=0``)."""
    below = np.broadcast_to(below, np.shape(above))
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)[()]


def classification_statistics(probabilities_NC: np.ndarray, truth_N: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """What each row adds to the sums, float64 ``(N, 3C + 2 + 3 * bins)``.

    ``truth_N`` holds class indices 0..C-1, and -1 where the truth is none of the classes: no answer to that row is right. The predicted class is the most probable one (the first of equals). Log loss
    is in nats, its probability held above the float64 epsilon. The Brier term is the squared distance over all classes
    (Brier 1950), 0..2, halved for two classes, as scikit-learn has it. The confidence is the largest probability; bins
    are of equal width, their upper edge included (Guo et al. 2017, section 2).
    """
    probabilities_NC = np.asarray(probabilities_NC, dtype=np.float64)
    truth_N = np.asarray(truth_N, dtype=np.int64)
    num_rows, num_classes = probabilities_NC.shape
    assert truth_N.shape == (num_rows,), f"{truth_N.shape} truths for {num_rows} rows"
    assert num_rows == 0 or (truth_N.min() >= -1 and truth_N.max() < num_classes), "a truth is not a class index"
    stats_NK = np.zeros((num_rows, 3 * num_classes + 2 + 3 * bins))
    row_N = np.arange(num_rows)
    predicted_N = probabilities_NC.argmax(axis=1)
    known_M = np.flatnonzero(truth_N >= 0)
    confidence_N, given_N = probabilities_NC[row_N, predicted_N], np.zeros(num_rows)
    given_N[known_M] = probabilities_NC[known_M, truth_N[known_M]]
    correct_N = predicted_N == truth_N
    stats_NK[known_M, truth_N[known_M]] = 1
    stats_NK[row_N, num_classes + predicted_N] = 1
    stats_NK[known_M, 2 * num_classes + truth_N[known_M]] = correct_N[known_M]
    stats_NK[:, 3 * num_classes] = -np.log(np.clip(given_N, np.finfo(np.float64).eps, 1))
    squares_N = np.einsum("nc,nc->n", probabilities_NC, probabilities_NC) - 2 * given_N + 1
    stats_NK[:, 3 * num_classes + 1] = np.maximum(squares_N, 0) * (0.5 if num_classes <= 2 else 1.0)
    bin_N = 3 * num_classes + 2 + np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence_N)
    stats_NK[row_N, bin_N] = 1
    stats_NK[row_N, bin_N + bins] = confidence_N
    stats_NK[row_N, bin_N + 2 * bins] = correct_N
    return stats_NK


def _precision_recall_f1(
    truth: np.ndarray, predicted: np.ndarray, correct: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return ratio(correct, predicted), ratio(correct, truth), ratio(2 * correct, truth + predicted)


def averages(truth_C: np.ndarray, predicted_C: np.ndarray, correct_C: np.ndarray) -> dict[str, np.ndarray]:
    """Macro, micro and weighted means of precision, recall and F1, from counts ``(..., C)`` to arrays ``(...)``.

    All C classes count; one that is neither in the truth nor predicted counts as 0, as in scikit-learn with ``labels`` given
    and ``zero_division=0``.
    """
    names = ("precision", "recall", "f1")
    by_class = dict(zip(names, _precision_recall_f1(truth_C, predicted_C, correct_C), strict=True))
    micro = _precision_recall_f1(truth_C.sum(-1), predicted_C.sum(-1), correct_C.sum(-1))
    share_C = ratio(truth_C, truth_C.sum(-1)[..., None])
    scores = {f"{name}_macro": values_C.mean(-1) for name, values_C in by_class.items()}
    scores |= {f"{name}_micro": value for name, value in zip(names, micro, strict=True)}
    return scores | {f"{name}_weighted": (values_C * share_C).sum(-1) for name, values_C in by_class.items()}


def _mcc(sums: ClassificationSums) -> np.ndarray:
    """Matthews correlation for any number of classes (Gorodkin 2004, equation 8); 0 where it is not defined."""
    rows, correct = sums.predicted.sum(-1), sums.correct.sum(-1)
    others = rows - sums.truth.sum(-1)
    together = correct * rows - (sums.truth * sums.predicted).sum(-1)
    spread_truth = rows**2 - (sums.truth**2).sum(-1) - others**2
    spread_predicted = rows**2 - (sums.predicted**2).sum(-1)
    return ratio(together, np.sqrt(spread_truth * spread_predicted))


def classification_scores(sums_K: np.ndarray, num_classes: int, bins: int = BINS) -> dict[str, np.ndarray]:
    """Every score of :class:`ClassificationMetric`, from sums ``(..., K)`` to arrays ``(...)``.

    Averages: see :func:`averages`; with one label a row all micro ones are the accuracy. Balanced accuracy leaves out classes
    without a row, as scikit-learn does. ``ece`` is the expected calibration error (Guo et al. 2017, equation 3).
    """
    sums = named_sums(sums_K, num_classes, bins)
    rows = sums.predicted.sum(-1)
    recall_C = ratio(sums.correct, sums.truth)
    scores = {
        "accuracy": ratio(sums.correct.sum(-1), rows),
        "balanced_accuracy": ratio(recall_C.sum(-1), (sums.truth > 0).sum(-1)),
        **averages(sums.truth, sums.predicted, sums.correct),
    }
    gap = np.abs(sums.bin_confidence - sums.bin_correct).sum(-1)
    scores |= {
        "mcc": _mcc(sums),
        "log_loss": ratio(sums.log_loss, rows),
        "brier": ratio(sums.brier, rows),
        "ece": ratio(gap, rows),
    }
    return scores


def wilson(successes: float, n: float) -> Interval:
    """95 % interval of a share of ``n`` rows (Wilson 1927); 0..1 when there are none."""
    if n <= 0:
        return Interval(0.0, 1.0)
    share, square = successes / n, _NORMAL_975**2
    middle = share + square / (2 * n)
    half = _NORMAL_975 * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    low, high = (middle - half) / (1 + square / n), (middle + half) / (1 + square / n)
    return Interval(float(min(max(low, 0.0), share)), float(max(min(high, 1.0), share)))


@final
class ClassificationMetric(Metric):
    """Scores of one label a row; ``labels`` names the classes. A row is right where its most probable class is the truth, and never where
    the truth is none of them (``takes_unseen``: such rows are scored).
    """

    answer: ClassVar[str] = "label"
    primary: str = "accuracy"
    tie_breaker: ClassVar[str | None] = "log_loss"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), of_right_rows=True),
        "balanced_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0)),
        **averaged_specs(_AVERAGED),
        "mcc": ScoreSpec(rising=True, unit="number", title="Matthews correlation", limits=(-1.0, 1.0)),
        "log_loss": ScoreSpec(rising=False, unit="nats"),
        "brier": ScoreSpec(rising=False, unit="number", title="Brier score"),
        "ece": ScoreSpec(rising=False, title="expected calibration error"),
    }

    def __init__(self, labels: Sequence[str], *, takes_unseen: bool = False) -> None:
        self.labels, self.takes_unseen = tuple(labels), takes_unseen

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """See :class:`~pretune.metrics.base.Metric`."""
        return cls(about["labels"], takes_unseen=about.get("unseen_labels", False))

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` when a truth is none of the labels."""
        index = {label: number for number, label in enumerate(self.labels)}
        probabilities, truths = [], []
        for record in records:
            if record["truth"] not in index and not self.takes_unseen:
                known = ", ".join(self.labels[:10])
                raise DataError(f'row {record["id"]} has the label "{record["truth"]}"', f"the labels are: {known}")
            probabilities.append([float(record["probabilities"].get(label, 0.0)) for label in self.labels])
            truths.append(index.get(record["truth"], -1))
        return self.of_probabilities(
            np.array(probabilities).reshape(-1, len(self.labels)), np.array(truths, dtype=np.int64)
        )

    def of_probabilities(self, probabilities_NC: np.ndarray, truth_N: np.ndarray) -> Sums:
        """The same of probabilities (N, C) and class indices (N,)."""
        classes = len(self.labels)
        return Sums(
            classification_statistics(probabilities_NC, truth_N),
            lambda sums_K: classification_scores(sums_K, classes),
            np.asarray(probabilities_NC).argmax(axis=1) == truth_N,
        )
