"""Scores of points in pictures: the share of points that are answered near enough, measured by the length of the torso.

Only points whose truth is known are scored. Shapes: N rows, J points, K = 5 columns of statistics: points found within 0.2 and within
0.1 of the scale, distances in scales and in pixels, points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, final

import numpy as np

from pretune.answers.keypoints import Keypoints
from pretune.answers.sides import torso_of
from pretune.errors import DataError
from pretune.metrics.base import Joined, Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of
from pretune.metrics.places.poses import PosePrecision, falloffs_of, similarities

__all__ = ["KeypointMetric", "by_point", "point_statistics", "poses_of", "scales_of"]

_NEAR, _NEARER = 0.2, 0.1
_MOST = 1e6


def _points_of(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Truth and answer (J, 3). Raises :class:`DataError` where they are of other numbers of points, or none."""
    truth = truth_of(record, lambda told: isinstance(told, (list, tuple)) and len(told) > 0, "points")
    try:
        true, said = (np.array(Keypoints.from_json(one).points) for one in (truth, record["keypoints"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"row {record.get('id')} holds no points: {error}", "run pretune evaluate again") from None
    if true.shape != said.shape:
        raise DataError(
            f"row {record.get('id')} has {len(true)} points and is answered by {len(said)}",
            "the data names other points than the model learned: give data with the same points",
        )
    return true, said


def scales_of(true_NJ3: np.ndarray, torso: Sequence[tuple[int, int]]) -> np.ndarray:
    """(N,) what distances are measured by, in pixels: from a shoulder to the opposite hip (Sapp and Taskar 2013, "MODEC", section 5), the
    mean of both where both are known; else the larger side of the box around the known points (Yang and Ramanan 2013, "Articulated
    Human Detection with Flexible Mixtures of Parts", section 7). NaN where a row has one point alone.
    """
    known_NJ = true_NJ3[..., 2] > 0
    place_NJ2 = np.where(known_NJ[..., None], true_NJ3[..., :2], np.nan)
    wide_N = np.full(len(true_NJ3), np.nan)
    for row in np.flatnonzero(known_NJ.sum(axis=1) > 1):
        points = place_NJ2[row][known_NJ[row]]
        wide_N[row] = float(np.ptp(points, axis=0).max()) or np.nan
    if not torso:
        return wide_N
    lengths = np.stack([np.linalg.norm(place_NJ2[:, a] - place_NJ2[:, b], axis=-1) for a, b in torso])
    has = np.isfinite(lengths) & (lengths > 0)
    mean_N = quotient(np.where(has, lengths, 0.0).sum(axis=0), has.sum(axis=0).astype(np.float64))
    return np.where(has.any(axis=0), mean_N, wide_N)


def point_statistics(records: Iterable[Record], names: Sequence[str]) -> np.ndarray:
    """(N, J, 5) what each point adds to the sums; 0 where its truth is not known, or nothing tells the picture's scale."""
    return _statistics(*poses_of(records, names), names)


def poses_of(records: Iterable[Record], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Truths and answers, both (N, J, 3). Raises :class:`DataError` where rows have other numbers of points."""
    pairs = [_points_of(record) for record in records]
    if len({len(true) for true, _ in pairs}) > 1:
        raise DataError("the rows have different numbers of points", "give data whose rows have the same points")
    if not pairs:
        empty = np.zeros((0, max(1, len(names)), 3))
        return empty, empty
    return np.stack([true for true, _ in pairs]), np.stack([said for _, said in pairs])


def _statistics(true_NJ3: np.ndarray, said_NJ3: np.ndarray, names: Sequence[str]) -> np.ndarray:
    scale_N = scales_of(true_NJ3, torso_of(names) if len(names) == true_NJ3.shape[1] else [])
    away_NJ = np.linalg.norm(true_NJ3[..., :2] - said_NJ3[..., :2], axis=-1)
    scored_NJ = (true_NJ3[..., 2] > 0) & np.isfinite(scale_N)[:, None]
    part_NJ = np.minimum(away_NJ / np.where(np.isfinite(scale_N), scale_N, 1.0)[:, None], _MOST)
    columns = (part_NJ <= _NEAR, part_NJ <= _NEARER, part_NJ, away_NJ, np.ones_like(away_NJ))
    return np.stack([np.where(scored_NJ, column, 0.0) for column in columns], axis=-1).astype(np.float64)


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    near, nearer, parts, pixels, points = np.moveaxis(sums_K, -1, 0)
    return {
        "pck": quotient(near, points),
        "pck_strict": quotient(nearer, points),
        "distance": quotient(parts, points),
        "distance_px": quotient(pixels, points),
    }


def by_point(stats_NJK: np.ndarray) -> list[Sums]:
    """The same scores of each point alone, to draw intervals from."""
    return [Sums(stats_NJK[:, place], _scores) for place in range(stats_NJK.shape[1])]


@final
class KeypointMetric(Metric):
    """Scores of points. ``pck`` is the share of known points that are answered within 0.2 of the scale (:func:`scales_of`), over all points
    of all pictures; ``oks_ap`` is COCO's average precision of whole poses (:mod:`pretune.metrics.places.poses`).
    """

    answer: ClassVar[str] = Keypoints.kind
    primary: str = "pck"
    tie_breaker: ClassVar[str | None] = "distance"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "pck": ScoreSpec(rising=True, title="PCK@0.2", limits=(0.0, 1.0)),
        "pck_strict": ScoreSpec(rising=True, title="PCK@0.1", limits=(0.0, 1.0)),
        "oks_ap": ScoreSpec(rising=True, title="OKS-AP", limits=(0.0, 1.0)),
        "oks_ap50": ScoreSpec(rising=True, title="OKS-AP50", limits=(0.0, 1.0)),
        "distance": ScoreSpec(rising=False, unit="number", title="mean distance in torso lengths"),
        "distance_px": ScoreSpec(rising=False, unit="px", title="mean distance"),
    }

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """The names of the points tell where a torso is."""
        return cls(about.get("labels", ()))

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` where an answer has another number of points than its truth."""
        true_NJ3, said_NJ3 = poses_of(records, self.names)
        falloff_J = falloffs_of(self.names, true_NJ3.shape[1])
        poses = PosePrecision(similarities(true_NJ3, said_NJ3, falloff_J), said_NJ3[..., 2].mean(axis=1))
        return Joined([Sums(_statistics(true_NJ3, said_NJ3, self.names).sum(axis=1), _scores), poses])
