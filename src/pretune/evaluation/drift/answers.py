"""What a model's answers say of new rows without labels: other shares of answers, label shift, and the accuracy to expect.

Shapes: N reference rows, M new rows, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretune.types import Interval, Score

__all__ = ["LabelShift", "expected_accuracy", "label_shift", "share_test"]

_LEAST_SINGULAR = 0.1
"""Below it two classes are answered so alike that their shares cannot be told apart."""


def share_test(reference: Sequence[str], new: Sequence[str], *, draws: int = 4999, seed: int = 0) -> float:
    """The p of answers whose shares are the same in both: chi-squared of the table, its null drawn with both margins held (exact for few
    rows of a class too).
    """
    names = sorted({*reference, *new})
    place = {name: number for number, name in enumerate(names)}
    old_C = np.bincount([place[name] for name in reference], minlength=len(names))
    new_C = np.bincount([place[name] for name in new], minlength=len(names))
    whole_C = old_C + new_C
    expected_C = whole_C * new_C.sum() / whole_C.sum()

    def apart(news: np.ndarray) -> np.ndarray:
        return ((news - expected_C) ** 2 / expected_C).sum(axis=-1)

    drawn_RC = np.random.default_rng(seed).multivariate_hypergeometric(whole_C, int(new_C.sum()), size=draws, method="marginals")  # fmt: skip
    return float(1 + (apart(drawn_RC) >= apart(new_C) - 1e-9).sum()) / (draws + 1)


@dataclass(frozen=True)
class LabelShift:
    """By class the share among the reference rows, the share of the answers to new rows, and the share of new rows that are of it.

    ``told_apart`` is the least singular value of the answers' shares given the class: near 0 the estimate says nothing.
    """

    reference: dict[str, float]
    answered: dict[str, float]
    estimated: dict[str, Score]
    told_apart: float

    @property
    def is_known(self) -> bool:
        """Can the shares be told from these answers?"""
        return self.told_apart >= _LEAST_SINGULAR


def label_shift(
    answers_N: np.ndarray, truths_N: np.ndarray, new_M: np.ndarray, names: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> LabelShift:  # fmt: skip
    """Black-box shift estimation (Lipton et al. 2018, arXiv 1802.03916, section 3): the shares of the classes among new rows, if only these
    have changed. Answers and truths are class numbers; both sets are resampled for the intervals. Classes that no reference row has are left out.
    """
    present = np.flatnonzero(np.bincount(truths_N, minlength=len(names)))
    inside_N = np.searchsorted(present, truths_N)
    joint_CK = np.zeros((len(names), len(present)))
    np.add.at(joint_CK, (answers_N, inside_N), 1.0 / len(truths_N))
    new_C = np.bincount(new_M, minlength=len(names)) / len(new_M)
    shares_K = joint_CK.sum(axis=0)
    rng = np.random.default_rng(seed)
    drawn_RK = np.stack(
        [
            _solved(
                rng.multinomial(len(truths_N), joint_CK.ravel()).reshape(joint_CK.shape) / len(truths_N),
                rng.multinomial(len(new_M), new_C) / len(new_M),
            )
            for _ in range(resamples)
        ]
    )
    found_K = _solved(joint_CK, new_C)
    ends_2K = np.percentile(drawn_RK, [2.5, 97.5], axis=0)
    return LabelShift(
        {names[c]: float(shares_K[k]) for k, c in enumerate(present.tolist())},
        {name: float(share) for name, share in zip(names, new_C.tolist(), strict=True)},
        {
            names[c]: Score(
                float(found_K[k]),
                Interval(min(float(ends_2K[0, k]), float(found_K[k])), max(float(ends_2K[1, k]), float(found_K[k]))),
                len(new_M),
            )
            for k, c in enumerate(present.tolist())
        },
        float(np.linalg.svd(joint_CK / shares_K, compute_uv=False).min()),
    )


def _solved(joint_CK: np.ndarray, new_C: np.ndarray) -> np.ndarray:
    """Shares (K,) of the classes: weights that turn the reference answers into the new ones, times the reference shares; none below 0."""
    shares_K = joint_CK.sum(axis=0)
    weights_K = np.linalg.lstsq(joint_CK, new_C, rcond=None)[0]
    found_K = np.maximum(weights_K, 0.0) * shares_K
    return found_K / found_K.sum() if found_K.sum() > 0 else shares_K


def expected_accuracy(
    sure_N: np.ndarray, right_N: np.ndarray, sure_M: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> Score:
    """The accuracy to expect on rows like the new ones: the share of them that the model is surer of than a threshold, below which as many
    reference rows lie as were answered wrong (average thresholded confidence, Garg et al. 2022, arXiv 2201.04234, section 4).

    It holds while being sure means what it meant. The interval resamples reference rows, and with them the threshold, and new rows.
    """
    value = _above(sure_N, right_N, sure_M)
    rng = np.random.default_rng(seed)
    drawn_R = np.empty(resamples)
    for number in range(resamples):
        rows = rng.integers(0, len(sure_N), len(sure_N))
        drawn_R[number] = _above(sure_N[rows], right_N[rows], sure_M[rng.integers(0, len(sure_M), len(sure_M))])
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Score(value, Interval(min(float(low), value), max(float(high), value)), len(sure_M))


def _above(sure_N: np.ndarray, right_N: np.ndarray, sure_M: np.ndarray) -> float:
    wrong = len(right_N) - int(right_N.sum())
    if wrong == 0:
        return float((sure_M >= sure_N.min()).mean())
    threshold: Any = np.partition(sure_N, wrong - 1)[wrong - 1]
    return float((sure_M > threshold).mean())
