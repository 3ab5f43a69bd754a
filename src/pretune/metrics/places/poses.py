"""Average precision of poses by object keypoint similarity (OKS), as COCO counts it, of one pose a picture.

COCO keypoint evaluation (Lin et al. 2014, arXiv 1405.0312; ``cocoeval.py``). Shapes: N rows, J points, r sets of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, final

import numpy as np

from pretune.answers.sides import parts_of
from pretune.metrics.base import Ranking
from pretune.metrics.places.detection import AREAS, OVERLAPS, AveragePrecision, Matched

__all__ = ["PosePrecision", "falloffs_of", "similarities"]

_FALLOFFS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107, "knee": 0.087,
    "ankle": 0.089,
}  # fmt: skip
"""Spread of annotators' clicks by point, in units of the root of the area (COCO's sigmas)."""
_OTHER = 0.079
"""Of points that COCO does not know; head and neck have this one in CrowdPose (Li et al. 2019, arXiv 1812.00324)."""
_SHARE_OF_BOX = 0.53
"""Area of a person as a share of the box around the known points, where no outline is known (as MMPose takes it; docs/decisions.md, D214)."""
_POSE = "pose"


def falloffs_of(names: Sequence[str], count: int) -> np.ndarray:
    """(J,) the spread of each of ``count`` points; all the same where names do not tell."""
    if len(names) != count:
        return np.full(count, _OTHER)
    return np.array([_FALLOFFS.get(part, _OTHER) for part in parts_of(names)])


def similarities(true_NJ3: np.ndarray, said_NJ3: np.ndarray, falloff_J: np.ndarray) -> np.ndarray:
    """(N,) OKS over the known points; NaN for a row without two known points apart."""
    known_NJ = true_NJ3[..., 2] > 0
    place_NJ2 = np.where(known_NJ[..., None], true_NJ3[..., :2], np.nan)
    found_N = np.full(len(true_NJ3), np.nan)
    for row in np.flatnonzero(known_NJ.sum(axis=1) > 1):
        known_J = known_NJ[row]
        area = _SHARE_OF_BOX * float(np.prod(np.ptp(place_NJ2[row][known_J], axis=0)))
        if area > 0:
            away_j = ((true_NJ3[row, known_J, :2] - said_NJ3[row, known_J, :2]) ** 2).sum(axis=-1)
            found_N[row] = np.exp(-away_j / (2 * area * (2 * falloff_J[known_J]) ** 2)).mean()
    return found_N


@final
class PosePrecision(Ranking):
    """``oks_ap``, the mean over similarities of 0.5 to 0.95, and ``oks_ap50``. A pose counts before another by the mean sureness of its points."""

    def __init__(self, similarity_N: np.ndarray, score_N: np.ndarray) -> None:
        self.similarity_N, self.score_N = similarity_N, score_N
        self.num_rows = len(similarity_N)
        self._precision = AveragePrecision(
            [{_POSE: _matched(*pair)} for pair in zip(similarity_N.tolist(), score_N.tolist(), strict=True)]
        )

    def scores_of(self, weights_rN: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`~pretune.metrics.base.Ranking`."""
        by_step_Tr = self._precision.by_class(weights_rN)[0]
        return {"oks_ap": by_step_Tr.mean(axis=0), "oks_ap50": by_step_Tr[0]}

    def rows_of(self, rows: np.ndarray) -> Self:
        """See :class:`~pretune.metrics.base.Ranking`."""
        return type(self)(self.similarity_N[rows], self.score_N[rows])


def _matched(similarity: float, score: float) -> Matched:
    """One pose and its truth; a row whose truth has no size counts for nothing."""
    shape = (len(AREAS), len(OVERLAPS), 1)
    counts = not np.isnan(similarity)
    right = np.broadcast_to(np.array([similarity >= least for least in OVERLAPS])[None, :, None], shape)
    aside = np.full(shape, not counts)
    return Matched(np.array([score]), right & counts, aside, np.full(len(AREAS), float(counts)), np.array([0]))
