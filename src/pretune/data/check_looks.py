"""Pictures that look the same: perceptual hashes within a few bits, found by an index instead of all with all.

Two hashes of 64 bits that differ in at most 4 bits agree wholly in one of 5 bands at least (pigeonhole), so only hashes with
a common band are compared: Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing" (2012),
section 3. What is within 4 bits is then compared by its pixels. U contents, V distinct hashes, P pairs.

Why 4 bits: of photographs saved again (JPEG 50) 99 % are within 4 bits, of those at half the size 96 %, made brighter by 15 %
98 % (of CIFAR-10's 32 x 32 px: 91, 96 and 96 %), while none of 78,000 pairs of different photographs and one of 2,000,000
of CIFAR-10 (which is alike) are. Crops of 5 % and mirrored copies are not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pretune.data.minhash import NearPairs

__all__ = ["LEAST_CORRELATION", "MAX_BITS", "METHOD", "find_near_looks"]

MAX_BITS = 4
METHOD = "difference hash of 8 x 8 cells; every pair within 4 of 64 bits is compared by 32 x 32 grey pixels"
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))  # first bit, bits
LEAST_CORRELATION = 0.9
_MOST_COMPARISONS = 300_000_000  # a few seconds
_MOST_CHECKS = 20_000  # pairs of pictures to decode
_LARGEST_GROUP = 16  # pictures of one look are compared to their first one beyond that


def find_near_looks(looks_U: np.ndarray, thumbnails: Callable[[np.ndarray], np.ndarray]) -> NearPairs:
    """Pairs of contents that look alike. ``thumbnails`` gives small grey pictures (K, H, W) of some contents.

    The similarity of a pair is the correlation of its thumbnails.
    """
    left_P, right_P, complete = _candidates(looks_U)
    if len(left_P) > _MOST_CHECKS:
        left_P, right_P, complete = left_P[:_MOST_CHECKS], right_P[:_MOST_CHECKS], False
    wanted, places = np.unique(np.concatenate([left_P, right_P]), return_inverse=True)
    grey_KD = _standardised(thumbnails(wanted)) if len(wanted) else np.empty((0, 1), dtype=np.float32)
    alike_P = np.einsum("pd,pd->p", grey_KD[places[: len(left_P)]], grey_KD[places[len(left_P) :]])
    kept = alike_P >= LEAST_CORRELATION
    order = np.lexsort((right_P[kept], left_P[kept]))
    return NearPairs(left_P[kept][order], right_P[kept][order], alike_P[kept][order], 0, complete)


def _standardised(thumbnails_KHW: np.ndarray) -> np.ndarray:
    """(K, H * W) with mean 0 and length 1, so that a dot product is a correlation; flat pictures become zeros."""
    flat = thumbnails_KHW.reshape(len(thumbnails_KHW), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(length, 1e-6)


def _candidates(looks_U: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pairs ``left < right`` within ``MAX_BITS``, and whether these are all."""
    values_V, of_look_U = np.unique(looks_U, return_inverse=True)
    order_U = np.argsort(of_look_U, kind="stable")
    starts_V = np.searchsorted(of_look_U[order_U], np.arange(len(values_V) + 1))
    pairs, room = [_same_look(order_U, starts_V)], _MOST_COMPARISONS
    for one_Q, other_Q, compared in _near_values(values_V):
        pairs.append(np.sort(np.stack([order_U[starts_V[one_Q]], order_U[starts_V[other_Q]]]), axis=0))
        room -= compared
        if room < 0:
            break
    left_P, right_P = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return left_P, right_P, room >= 0


def _same_look(order_U: np.ndarray, starts_V: np.ndarray) -> np.ndarray:
    """(2, P) pairs of equal looks: all with all in small groups, all with the first in large ones."""
    found: list[tuple[int, int]] = []
    for value in np.flatnonzero(np.diff(starts_V) > 1):
        group = np.sort(order_U[starts_V[value] : starts_V[value + 1]]).tolist()
        heads = group[:-1] if len(group) <= _LARGEST_GROUP else group[:1]
        found += [(one, other) for place, one in enumerate(heads) for other in group[place + 1 :]]
    return np.array(found, dtype=np.int64).reshape(-1, 2).T


def _near_values(values_V: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Pairs of different hashes within ``MAX_BITS``, and how many were compared for them; a pair may come more than once."""
    for first_bit, bits in _BANDS:
        keys_V = (values_V >> np.uint64(first_bit)) & np.uint64(2**bits - 1)
        order_V = np.argsort(keys_V, kind="stable")
        sorted_V = keys_V[order_V]
        starts, step = np.arange(len(sorted_V)), 1
        while len(starts):  # those whose neighbour at this distance is still in their bucket
            starts = starts[starts + step < len(sorted_V)]
            starts = starts[sorted_V[starts] == sorted_V[starts + step]]
            one, other = order_V[starts], order_V[starts + step]
            near = np.bitwise_count(values_V[one] ^ values_V[other]) <= MAX_BITS
            yield one[near], other[near], len(starts)
            step += 1
