"""Draws of masked learning from sound, each a function of a row's key; and what its codes say of an encoder.

Shapes: F frames of a clip, S hidden ones, J negatives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pretune.engine.randomness import uniform
from pretune.modalities.audio.clips import FRAMES_PER_SECOND
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.audio import spans

__all__ = ["MASK_FRAMES", "MASK_SHARE", "code_warnings", "gumbel", "hidden_frames", "little_sound", "other_frames"]

MASK_SHARE, MASK_FRAMES = 0.65, 10
"""Spans of 10 frames begin at 6.5 % of the frames (Baevski et al. 2020, section 4.1)."""

_ORDER, _EXTRA, _NEGATIVE, _GUMBEL = range(4)
_FEW_CODES, _LITTLE_SPREAD = 2.0, 0.05
_LITTLE_HOURS = 2.0


def hidden_frames(frames: int, share: float, key: np.uint64) -> np.ndarray:
    """Which frames of a clip are hidden, bool (F,); one span at least."""
    keys = np.array([key])

    def order(places: int) -> np.ndarray:
        return np.argsort(uniform(keys, places, _ORDER)[0], kind="stable")

    return spans(frames, share, MASK_FRAMES, float(uniform(keys, 1, _EXTRA)[0, 0]), order, least=1)


def other_frames(count: int, negatives: int, key: np.uint64) -> np.ndarray:
    """(S, J) int64: for each of ``count`` hidden frames others of the same clip, with repeats (section 3.2)."""
    if count < 2:
        return np.zeros((count, negatives), dtype=np.int64)
    draws_SJ = uniform(np.array([key]), count * negatives, _NEGATIVE).reshape(count, negatives)
    others_SJ = (draws_SJ * (count - 1)).astype(np.int64)
    return others_SJ + (others_SJ >= np.arange(count)[:, None])


def gumbel(count: int, width: int, key: np.uint64) -> np.ndarray:
    """(``count``, ``width``) float32 of the standard Gumbel distribution."""
    draws = uniform(np.array([key]), count * width, _GUMBEL).reshape(count, width)
    return -np.log(-np.log(np.clip(draws, 1e-12, 1 - 1e-12))).astype(np.float32)


def little_sound(rows: EncodedRows) -> str:
    """What is known of learning from as little sound as ``rows`` hold; "" where they hold hours."""
    minutes = int(rows.lengths_N.sum()) / FRAMES_PER_SECOND / 60
    if minutes >= 60 * _LITTLE_HOURS:
        return ""
    return (
        f"there are {minutes:.0f} minutes of sound. On as little, learning without labels first has not been better than fresh weights in any "
        "measurement of ours (docs/decisions.md, D45, D46, D224, D229): finetune fresh weights too, and let pretune compare say which"
    )


def code_warnings(scores: Mapping[str, float], *, codes: int, negatives: int) -> list[str]:
    """In plain words, when codes or contexts no longer tell frames apart, or little was learned."""
    found, chance = [], 1 / (1 + negatives)
    if scores["codebook_perplexity"] < _FEW_CODES:
        found.append(
            f"the codes have collapsed: {scores['codebook_perplexity']:.1f} of {codes} a group are in use, so there is nothing to tell apart; "
            "lower --learning-rate, or learn longer"
        )
    if scores["spread"] < _LITTLE_SPREAD:
        found.append(
            f"the encoder has collapsed: it says the same of every frame (spread {scores['spread']:.3f}, of at most 1); lower --learning-rate"
        )
    if scores["contrastive_accuracy"] < 2 * chance:
        found.append(
            f"hidden frames are told from others in {scores['contrastive_accuracy']:.1%} of cases, by chance it would be {chance:.1%}: "
            "little was learned; learn longer (--epochs), or with a larger --learning-rate"
        )
    return found
