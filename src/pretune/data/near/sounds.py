"""Clips that are copies: the same samples in another file, or the same recording re-coded, trimmed or at another loudness.

Clips with equal hashes of their samples are the first kind; those that share rare landmarks (``media_sound``) may be of the second. They are
then laid over each other, sample by sample, at every lag: two recordings of one word by one speaker sound alike, their waves do not agree.
The limits were chosen on spoken digits (docs/decisions.md, D140). U clips, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pretune.data.media.sound import landmarks_of, samples_hash
from pretune.data.near.pairs import KINDS, NearPairs, equal_pairs
from pretune.data.near.rare import RarePieces

__all__ = ["LEAST_AGREEMENT", "METHOD", "RATE_HZ", "agreement", "find_near_sounds"]

RATE_HZ = 8_000
"""Clips are laid over each other at this rate."""
LEAST_AGREEMENT = 0.94
METHOD = "hashes of the samples, and pairs of peaks of the spectrum that are rare; every pair of clips that share some laid over each other, wave over wave, at every lag"

_LEAST_BOND = 0.03
_LEAST_ENERGY = 0.4  # of each clip, in what lies over the other
_MOST_SECONDS = 36_000.0
_BATCH_SECONDS = 600.0
_BETWEEN = np.array([-0.5, -0.25, 0.25, 0.5])  # of a sample: a cut may fall between two

Decode = Callable[[np.ndarray], list[np.ndarray]]


def find_near_sounds(sketches: Sequence[bytes], seconds_U: np.ndarray, decode: Decode) -> NearPairs:
    """Pairs of the clips which are copies of each other. ``decode`` gives the samples of some at ``RATE_HZ``, none for a file that has gone."""
    left, right, linked = equal_pairs(np.array([samples_hash(sketch) for sketch in sketches], dtype=np.uint64))
    left, right = np.minimum(left, right), np.maximum(left, right)
    like_left, like_right, like, complete = _alike(sketches, seconds_U, decode)
    new = ~np.isin(like_left * len(sketches) + like_right, left * len(sketches) + right)
    kinds = np.repeat([KINDS.index("samples"), KINDS.index("sound")], [len(left), int(new.sum())]).astype(np.int8)
    alike = np.concatenate([np.ones(len(left)), like[new]])
    left, right = np.concatenate([left, like_left[new]]), np.concatenate([right, like_right[new]])
    return NearPairs(left, right, alike, kinds, linked, complete).sorted()


def _alike(
    sketches: Sequence[bytes], seconds_U: np.ndarray, decode: Decode
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Pairs of clips whose waves agree, how well, and whether all candidates were looked at."""
    pieces = RarePieces()
    for number, sketch in enumerate(sketches):
        found = landmarks_of(sketch)
        pieces.add(found, np.full(len(found), number))
    left_P, right_P, bond_P, complete = pieces.pairs(len(sketches), least=_LEAST_BOND)
    order = np.argsort(-bond_P, kind="stable")
    order = order[np.cumsum(seconds_U[left_P[order]] + seconds_U[right_P[order]]) <= _MOST_SECONDS]
    complete = complete and len(order) == len(left_P)
    left_P, right_P = left_P[order], right_P[order]
    batch_P = (np.cumsum(seconds_U[left_P] + seconds_U[right_P]) // _BATCH_SECONDS).astype(np.int64)
    like_P = np.zeros(len(left_P))
    for batch in np.unique(batch_P):
        here = np.flatnonzero(batch_P == batch)
        clips, places = np.unique(np.concatenate([left_P[here], right_P[here]]), return_inverse=True)
        waves = [_prepared(samples) for samples in decode(clips)]
        like_P[here] = [agreement(waves[a], waves[b]) for a, b in places.reshape(2, -1).T]
    near = like_P >= LEAST_AGREEMENT
    return left_P[near], right_P[near], like_P[near], complete


def _prepared(samples_T: np.ndarray) -> np.ndarray:
    return samples_T - samples_T.mean(dtype=np.float32) if len(samples_T) else samples_T


def agreement(one_T: np.ndarray, other_T: np.ndarray) -> float:
    """The largest correlation, over all lags at which half of the shorter clip and much of the sound of both lie over each other; the sign
    does not count.
    """
    least = min(len(one_T), len(other_T)) // 2
    if not least:
        return 0.0
    size = 1 << (len(one_T) + len(other_T)).bit_length()
    crossed = np.fft.rfft(one_T, size) * np.conj(np.fft.rfft(other_T, size))
    lags = np.arange(least - len(other_T), len(one_T) - least + 1)
    scale = _scale(one_T, other_T, lags)
    products = np.fft.irfft(crossed, size)[lags] * scale
    best = int(np.argmax(np.abs(products)))
    turns = np.exp(2j * np.pi * np.arange(len(crossed))[None, :] * (lags[best] + _BETWEEN)[:, None] / size)
    between = np.abs((crossed * turns).real[:, 1:-1].sum(axis=1) * 2 / size) * scale[best]
    return float(min(1.0, max(np.abs(products[best]), between.max(initial=0.0))))


def _scale(one_T: np.ndarray, other_T: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """What makes a product at each lag a correlation; 0 where too little lies over each other."""
    sums = [np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))]) for wave in (one_T, other_T)]
    start, end = np.maximum(lags, 0), np.minimum(lags + len(other_T), len(one_T))
    energies = [sums[0][end] - sums[0][start], sums[1][end - lags] - sums[1][start - lags]]
    whole = [max(float(each[-1]), 1e-12) for each in sums]
    enough = np.minimum(energies[0] / whole[0], energies[1] / whole[1]) >= _LEAST_ENERGY
    return np.where(enough, 1 / np.sqrt(np.maximum(energies[0] * energies[1], 1e-18)), 0.0)
