"""Scores of boxes: average precision as COCO counts it, and how right the boxes are that are told.

A prediction finds a box of its class that it overlaps enough and that no surer one has found; precision is averaged over 101 steps of
recall (COCO: Lin et al. 2014, arXiv 1405.0312; cocoapi, ``cocoeval.py``). Which prediction finds what depends on its picture
alone and is worked out once; a score is then a function of how often each picture counts.
Shapes: N rows, D predictions of all rows by falling score, K of them that find something, G true boxes of a row, T overlaps asked for,
r sets of weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np

from pretune.answers import Boxes
from pretune.answers.boxes import Box
from pretune.errors import DataError
from pretune.metrics.base import Joined, Measured, Metric, Ranking, Record, ScoreSpec, Sums, quotient, truth_of

__all__ = [
    "AREAS",
    "OVERLAPS",
    "AveragePrecision",
    "DetectionMetric",
    "Matched",
    "best_threshold",
    "curve_of",
    "matched",
]

OVERLAPS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())
"""Intersections over union that are asked for."""
AREAS = {"": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Square pixels of boxes that count, by name; "" for all."""
MOST_A_CLASS = 100
"""Predictions of a picture and class that are looked at, the surest ones."""
_STEPS = np.linspace(0.0, 1.0, 101)
_MOST_CELLS = 40_000_000
HALF = 0.5


def _overlaps(found_D4: np.ndarray, true_G4: np.ndarray, crowd_G: np.ndarray) -> np.ndarray:
    """(D, G) intersection over union; over the prediction's own area where the true box is drawn around a crowd."""
    low = np.maximum(found_D4[:, None, :2], true_G4[None, :, :2])
    high = np.minimum(found_D4[:, None, 2:], true_G4[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    own_D, true_G = _areas(found_D4), _areas(true_G4)
    whole = np.where(crowd_G[None], own_D[:, None], own_D[:, None] + true_G[None] - shared)
    return shared / np.maximum(whole, 1e-12)


def _areas(boxes_M4: np.ndarray) -> np.ndarray:
    return (boxes_M4[:, 2] - boxes_M4[:, 0]) * (boxes_M4[:, 3] - boxes_M4[:, 1])


@dataclass(frozen=True)
class Matched:
    """The predictions of one picture and class by falling score, and for each overlap asked for and range of areas whether it finds a box
    (``right`` (A, T, D)) and whether it counts for nothing (``aside`` (A, T, D)); ``truths`` (A,) boxes that count. ``partner`` (D,)
    is the true box that it finds at half an overlap, -1 for none.
    """

    scores_D: np.ndarray
    right: np.ndarray
    aside: np.ndarray
    truths: np.ndarray
    partner: np.ndarray


def matched(found: Sequence[Box], true: Sequence[Box]) -> Matched:
    """Match predictions of one picture and class to its true boxes, the surest first."""
    order = np.argsort([-(box.score or 0.0) for box in found], kind="stable")[:MOST_A_CLASS]
    found = [found[place] for place in order]
    found_D4, true_G4 = (
        np.array([(box.x1, box.y1, box.x2, box.y2) for box in side], dtype=np.float64).reshape(-1, 4)
        for side in (found, true)
    )
    crowd_G = np.array([box.aside == "crowd" for box in true], dtype=bool)
    ignored_G = np.array([box.aside != "" for box in true], dtype=bool)
    overlap_DG = _overlaps(found_D4, true_G4, crowd_G)
    area_D, area_G = _areas(found_D4), _areas(true_G4)
    shape = (len(AREAS), len(OVERLAPS), len(found))
    right, aside = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    truths = np.zeros(len(AREAS))
    partner = np.full(len(found), -1)
    for place, (low, high) in enumerate(AREAS.values()):
        outside_G = ignored_G | (area_G < low) | (area_G > high)
        truths[place] = np.count_nonzero(~outside_G)
        beyond_D = (area_D < low) | (area_D > high)
        for step, least in enumerate(OVERLAPS):
            number_D = _partners(overlap_DG, outside_G, crowd_G, least)
            has_D = number_D >= 0
            off_D = has_D & outside_G[number_D] if len(true) else np.zeros(len(found), dtype=bool)
            right[place, step] = has_D & ~off_D
            aside[place, step] = off_D | (~has_D & beyond_D)
            if place == 0 and least == HALF:
                partner = number_D
    return Matched(np.array([box.score or 0.0 for box in found]), right, aside, truths, partner)


def _partners(overlap_DG: np.ndarray, outside_G: np.ndarray, crowd_G: np.ndarray, least: float) -> np.ndarray:
    """(D,) the true box that each prediction takes, -1 for none: one that counts before one that does not, and of these the one that it
    overlaps most (the later of equals).
    """
    number_D = np.full(len(overlap_DG), -1)
    if not overlap_DG.shape[1]:
        return number_D
    taken_G = np.zeros(overlap_DG.shape[1], dtype=bool)
    bound = min(least, 1 - 1e-10)
    for row in np.flatnonzero(overlap_DG.max(axis=1) >= bound):
        free_G = (overlap_DG[row] >= bound) & (~taken_G | crowd_G)
        for some_G in (free_G & ~outside_G, free_G & outside_G):
            places = np.flatnonzero(some_G)
            if len(places):
                best = places[len(places) - 1 - int(np.argmax(overlap_DG[row, places][::-1]))]
                number_D[row], taken_G[best] = best, True
                break
    return number_D


@dataclass(frozen=True)
class _Ranked:
    """The predictions of one class over all rows by falling score: the row of each (D,), whether it finds a box and whether it counts for
    nothing at each overlap (A, T, D); ``truths_AN`` boxes that count.
    """

    row_D: np.ndarray
    right: np.ndarray
    aside: np.ndarray
    truths_AN: np.ndarray


@final
class AveragePrecision(Ranking):
    """Average precision of each class, its mean over overlaps and classes, and by size; ``precision`` of a class without true boxes is not
    defined and not in a mean. ``classes`` are those that rows have.
    """

    def __init__(self, rows: Sequence[Mapping[str, Matched]]) -> None:
        self.rows = tuple(rows)
        self.num_rows = len(self.rows)
        names = sorted({name for row in self.rows for name in row})
        self.classes = tuple(names)
        self._ranked = [self._rank(name) for name in names]
        self._tables: dict[tuple[int, int, int], Any] = {}

    def _rank(self, name: str) -> _Ranked:
        own = [(number, row[name]) for number, row in enumerate(self.rows) if name in row]
        scores_D = np.concatenate([one.scores_D for _, one in own])
        order_D = np.argsort(-scores_D, kind="stable")
        truths_AN = np.zeros((len(AREAS), self.num_rows))
        for number, one in own:
            truths_AN[:, number] = one.truths
        return _Ranked(
            np.repeat([number for number, _ in own], [len(one.scores_D) for _, one in own])[order_D].astype(np.int64),
            np.concatenate([one.right for _, one in own], axis=2)[:, :, order_D],
            np.concatenate([one.aside for _, one in own], axis=2)[:, :, order_D],
            truths_AN,
        )

    @property
    def slice_numbers(self) -> int:
        """Predictions are worked on, not rows."""
        return max(1, self.num_rows, *(len(one.row_D) for one in self._ranked), 1)

    def scores_of(self, weights_rN: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`~pretune.metrics.base.Ranking`."""
        found = {area: self._by_class(weights_rN, place) for place, area in enumerate(AREAS)}
        whole = found[""]
        means = {"ap50_95": _mean(whole), "ap50": _mean(whole[:, :1]), "ap75": _mean(whole[:, 5:6])}
        return {**means, **{f"ap_{area}": _mean(found[area]) for area in AREAS if area}}

    def by_class(self, weights_rN: np.ndarray | None = None) -> np.ndarray:
        """(C, T, r) of each class and overlap."""
        return self._by_class(np.ones((1, self.num_rows)) if weights_rN is None else weights_rN, 0)

    def _by_class(self, weights_rN: np.ndarray, area: int) -> np.ndarray:
        if not self._ranked:
            return np.full((1, len(OVERLAPS), len(weights_rN)), np.nan)
        return np.stack(
            [
                np.stack([self._average(number, area, step, weights_rN) for step in range(len(OVERLAPS))])
                for number in range(len(self._ranked))
            ]
        )

    def _average(self, number: int, area: int, step: int, weights_rN: np.ndarray) -> np.ndarray:
        """(r,) average precision of a class at an overlap; NaN where no true box is drawn."""
        one = self._ranked[number]
        truths_r = weights_rN @ one.truths_AN[area]
        right_rK, wrong_rK = self._upto(one, area, step, weights_rN, number)
        recall_rK = quotient(right_rK, truths_r[:, None])
        precision_rK = right_rK / np.maximum(right_rK + wrong_rK, np.spacing(1))
        envelope_rK = np.maximum.accumulate(precision_rK[:, ::-1], axis=1)[:, ::-1]
        found = np.full(len(weights_rN), np.nan)
        for draw in np.flatnonzero(truths_r > 0):
            places = np.searchsorted(recall_rK[draw], _STEPS, side="left")
            within = places < recall_rK.shape[1]
            found[draw] = envelope_rK[draw, places[within]].sum() / len(_STEPS)
        return found

    def _upto(
        self, one: _Ranked, area: int, step: int, weights_rN: np.ndarray, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(r, K) right and wrong predictions up to each right one: precision falls between them, and its envelope looks at these alone."""
        right_D, aside_D = one.right[area, step], one.aside[area, step]
        places_K = np.flatnonzero(right_D)
        if self.num_rows * len(places_K) <= _MOST_CELLS and len(weights_rN) > 1:
            key = (number, area, step)
            if key not in self._tables:
                self._tables[key] = _tables_of(one.row_D, right_D, aside_D, places_K, self.num_rows)
            right_NK, wrong_NK = self._tables[key]
            return weights_rN @ right_NK, weights_rN @ wrong_NK
        weights_rD = weights_rN[:, one.row_D]
        right_rK = np.cumsum(weights_rD * right_D, axis=1)[:, places_K]
        wrong_rK = np.cumsum(weights_rD * ~(right_D | aside_D), axis=1)[:, places_K]
        return right_rK, wrong_rK

    def rows_of(self, rows: np.ndarray) -> AveragePrecision:
        """See :class:`~pretune.metrics.base.Ranking`."""
        return AveragePrecision([self.rows[number] for number in rows])


def _tables_of(
    row_D: np.ndarray, right_D: np.ndarray, aside_D: np.ndarray, places_K: np.ndarray, num_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) of each row its right and wrong predictions up to each right one."""
    found = []
    for counts_D in (right_D, ~(right_D | aside_D)):
        table = np.zeros((num_rows, len(places_K)))
        interval_D = np.searchsorted(places_K, np.arange(len(row_D)), side="left")
        kept = counts_D & (interval_D < len(places_K))
        np.add.at(table, (row_D[kept], interval_D[kept]), 1.0)
        found.append(np.cumsum(table, axis=1))
    return found[0], found[1]


def _mean(values_CTr: np.ndarray) -> np.ndarray:
    """(r,) over classes and overlaps, those left out that are not defined."""
    defined = ~np.isnan(values_CTr)
    return quotient(np.where(defined, values_CTr, 0.0).sum(axis=(0, 1)), defined.sum(axis=(0, 1)).astype(np.float64))


def curve_of(measured: AveragePrecision, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of a class at half an overlap, at every prediction: (D,) and (D,)."""
    one = measured._ranked[number]
    right_D, aside_D = one.right[0, 0], one.aside[0, 0]
    right, wrong = np.cumsum(right_D), np.cumsum(~(right_D | aside_D))
    return quotient(right.astype(float), one.truths_AN[0].sum()), right / np.maximum(right + wrong, 1)


def best_threshold(rows: Sequence[Mapping[str, Matched]]) -> tuple[float, float, float, float]:
    """The score from which boxes are told so that F1 (at half an overlap, all classes together) is best; F1, precision and recall there.

    0.5 where there is nothing to be found.
    """
    every = [one for row in rows for one in row.values()]
    scores_D = np.concatenate([np.zeros(0), *(one.scores_D for one in every)])
    right_D = np.concatenate([np.zeros(0, dtype=bool), *(one.right[0, 0] for one in every)])
    aside_D = np.concatenate([np.zeros(0, dtype=bool), *(one.aside[0, 0] for one in every)])
    truths = sum(float(one.truths[0]) for one in every)
    order_D = np.argsort(-scores_D, kind="stable")
    right, told = np.cumsum(right_D[order_D]), np.cumsum(~aside_D[order_D])
    if not truths or not len(right) or not right[-1]:
        return 0.5, 0.0, 0.0, 0.0
    f1_D = 2 * right / (told + truths)
    ends_D = np.append(scores_D[order_D][1:] != scores_D[order_D][:-1], True)  # a threshold lies between scores
    best = int(np.argmax(np.where(ends_D, f1_D, -1.0)))
    after = scores_D[order_D][best + 1] if best + 1 < len(scores_D) else 0.0
    threshold = float((scores_D[order_D][best] + after) / 2)
    return threshold, float(f1_D[best]), float(right[best] / max(told[best], 1)), float(right[best] / truths)


@final
class DetectionMetric(Metric):
    """Average precision, and precision, recall and F1 of the boxes that are told: those scored ``threshold`` or more."""

    answer: ClassVar[str] = "boxes"
    primary: str = "ap50_95"
    tie_breaker: ClassVar[str | None] = "ap50"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "ap50_95": ScoreSpec(rising=True, title="AP50:95", limits=(0.0, 1.0)),
        "ap50": ScoreSpec(rising=True, title="AP50", limits=(0.0, 1.0)),
        "ap75": ScoreSpec(rising=True, title="AP75", limits=(0.0, 1.0)),
        "ap_small": ScoreSpec(rising=True, title="AP50:95 of small boxes (below 32 x 32 px)", limits=(0.0, 1.0)),
        "ap_medium": ScoreSpec(rising=True, title="AP50:95 of middle boxes", limits=(0.0, 1.0)),
        "ap_large": ScoreSpec(rising=True, title="AP50:95 of large boxes (over 96 x 96 px)", limits=(0.0, 1.0)),
        "box_precision": ScoreSpec(rising=True, title="precision of the boxes told", limits=(0.0, 1.0)),
        "box_recall": ScoreSpec(rising=True, title="recall of the boxes told", limits=(0.0, 1.0)),
        "box_f1": ScoreSpec(rising=True, title="F1 of the boxes told", limits=(0.0, 1.0)),
    }

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """See :class:`~pretune.metrics.base.Metric`."""
        return cls(float(about.get("threshold", 0.5)))

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` for a truth that is no list of boxes."""
        rows = [self.matched_row(record) for record in records]
        told = np.array([self._told(row) for row in rows]).reshape(-1, 3)
        return Joined([AveragePrecision(rows), Sums(told, _told_scores)])

    def matched_row(self, record: Record) -> dict[str, Matched]:
        """The predictions of a record by class, matched."""
        truth = truth_of(record, lambda boxes: isinstance(boxes, list | tuple), "a list of boxes")
        try:
            found, true = (Boxes.from_json(boxes).boxes for boxes in (record["boxes"], truth))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"row {record.get('id')} has boxes that are none: {error}", "each has a label and a box"
            ) from None
        names = {box.label for box in (*found, *true)}
        return {
            name: matched([box for box in found if box.label == name], [box for box in true if box.label == name])
            for name in sorted(names)
        }

    def _told(self, row: Mapping[str, Matched]) -> tuple[float, float, float]:
        """Boxes told that are right, told, and true."""
        right = told = true = 0.0
        for one in row.values():
            kept_D = one.scores_D >= self.threshold
            right += np.count_nonzero(kept_D & one.right[0, 0])
            told += np.count_nonzero(kept_D & ~one.aside[0, 0])
            true += one.truths[0]
        return right, told, true


def _told_scores(sums_3: np.ndarray) -> dict[str, np.ndarray]:
    right, told, true = np.moveaxis(sums_3, -1, 0)
    precision = np.where((told <= 0) & (true > 0), 0.0, quotient(right, told))[()]
    return {"box_precision": precision, "box_recall": quotient(right, true), "box_f1": quotient(2 * right, told + true)}
