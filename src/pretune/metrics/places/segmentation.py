"""Scores of pictures with a class for every pixel: intersection over union, Dice, pixel accuracy; at the size of the true mask.

Only pixels whose truth has a class are scored. Shapes: N rows, C classes, K = 3C + 2 columns of statistics: right, true and
predicted pixels of each class, right pixels, scored pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, final

import numpy as np

from pretune.answers.mask import NONE, Mask
from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of

__all__ = ["SegmentationMetric", "by_class", "confusions", "overlap_of_rows"]


def _masks_of(record: Record) -> tuple[Mask, Mask]:
    """Truth and answer. Raises :class:`DataError` where they are of other sizes, or no masks."""
    truth = truth_of(record, lambda told: isinstance(told, Mapping) and "counts" in told, "a mask")
    try:
        true, said = Mask.from_json(truth), Mask.from_json(record["mask"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"row {record.get('id')} holds no mask: {error}", "run pretune evaluate again") from None
    if (true.height, true.width) != (said.height, said.width):
        raise DataError(
            f"row {record.get('id')} has a mask of {true.height} x {true.width} pixels and is answered by one of {said.height} x {said.width}",
            "answers are scored at the size of the true mask: run pretune evaluate again",
        )
    return true, said


def confusions(records: Iterable[Record]) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes that occur, and for each row the pixels of each true class by what they are taken for (N, C, C + 1), last for
    no class."""
    pairs = [_masks_of(record) for record in records]
    names = tuple(sorted({name for pair in pairs for mask in pair for name in mask.classes}))
    width = len(names) + 1
    found_NCC = np.zeros((len(pairs), len(names), width), dtype=np.int64)
    for number, (truth, said) in enumerate(pairs):
        true_P, said_P = truth.pixels(names).ravel(), said.pixels(names).ravel().astype(np.int64)
        scored = true_P != NONE
        said_P = np.minimum(said_P[scored], len(names))
        counts = np.bincount(true_P[scored].astype(np.int64) * width + said_P, minlength=width * len(names))
        found_NCC[number] = counts.reshape(len(names), width)
    return names, found_NCC


def _table(confusion_NCC: np.ndarray) -> np.ndarray:
    """Right, true and predicted pixels of each class (N, C, 3)."""
    right_NC = np.diagonal(confusion_NCC[:, :, :-1], axis1=1, axis2=2)
    return np.stack([right_NC, confusion_NCC.sum(2), confusion_NCC[:, :, :-1].sum(1)], axis=-1).astype(np.float64)


def _class_scores(counts_3: np.ndarray) -> dict[str, np.ndarray]:
    right, true, predicted = np.moveaxis(counts_3, -1, 0)
    return {
        "iou": quotient(right, true + predicted - right),
        "dice": quotient(2 * right, true + predicted),
        "recall": quotient(right, true),
        "precision": quotient(right, predicted),
    }


def by_class(names: Sequence[str], confusion_NCC: np.ndarray) -> dict[str, Sums]:
    """For each class its ``iou``, ``dice``, ``recall`` and ``precision``, to draw intervals from."""
    table_NC3 = _table(confusion_NCC)
    return {name: Sums(table_NC3[:, at], _class_scores) for at, name in enumerate(names)}


def overlap_of_rows(confusion_NCC: np.ndarray) -> np.ndarray:
    """The mean intersection over union of each row by itself (N,), over the classes that it or its answer has; NaN without any."""
    return _scores(_columns(confusion_NCC))["mean_iou"]


def _columns(confusion_NCC: np.ndarray) -> np.ndarray:
    table_NC3 = _table(confusion_NCC)
    right_N1, scored_N1 = (table_NC3[..., at].sum(1, keepdims=True) for at in (0, 1))
    return np.concatenate([table_NC3.reshape(len(table_NC3), 3 * table_NC3.shape[1]), right_N1, scored_N1], axis=1)


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    table_C3 = sums_K[..., :-2].reshape((*sums_K.shape[:-1], (sums_K.shape[-1] - 2) // 3, 3))
    found = _class_scores(table_C3)
    means = {name: _mean_of_defined(found[name]) for name in ("iou", "dice", "recall")}
    return {
        "mean_iou": means["iou"],
        "dice": means["dice"],
        "class_accuracy": means["recall"],
        "pixel_accuracy": quotient(sums_K[..., -2], sums_K[..., -1]),
    }


def _mean_of_defined(values_C: np.ndarray) -> np.ndarray:
    """The mean over classes that have a value."""
    has_C = ~np.isnan(values_C)
    return quotient(np.where(has_C, values_C, 0.0).sum(-1), has_C.sum(-1).astype(np.float64))


@final
class SegmentationMetric(Metric):
    """Scores of masks. Pixels are summed over all pictures before classes are averaged (Everingham et al. 2015, "The Pascal Visual Object
    Classes Challenge: A Retrospective", section 4.1.3; Long et al. 2015, arXiv 1411.4038, section 5).

    A class that neither truth nor answers have in any picture is left out of the means; one that is answered and never true counts
    as 0.
    """

    answer: ClassVar[str] = Mask.kind
    primary: str = "mean_iou"
    tie_breaker: ClassVar[str | None] = "pixel_accuracy"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "mean_iou": ScoreSpec(rising=True, title="mean IoU", limits=(0.0, 1.0)),
        "dice": ScoreSpec(rising=True, title="mean Dice", limits=(0.0, 1.0)),
        "class_accuracy": ScoreSpec(rising=True, title="mean share of a class's pixels found", limits=(0.0, 1.0)),
        "pixel_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0)),
    }

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` where a mask is of another size than its truth."""
        _, confusion_NCC = confusions(records)
        return Sums(_columns(confusion_NCC), _scores)

    def of_confusions(self, confusion_NCC: np.ndarray) -> Measured:
        """The same of counts of pixels (N, C, C + 1), as :func:`confusions` gives them."""
        return Sums(_columns(confusion_NCC), _scores)
