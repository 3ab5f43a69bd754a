"""Pairs of rows that may have most of their shingles in common, by MinHash and banding.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", section 3.4. Memory is ``BYTES_PER_ROW`` a row. N rows, P pairs.

A pair of Jaccard similarity s shares at least two of 16 bands of 4 with probability 0.997 at s = 0.8 and 0.26 at 0.5.
"""

from __future__ import annotations

import numpy as np

from pretune.data.near.pairs import equal_pairs

__all__ = ["BYTES_PER_ROW", "NUM_BANDS", "band_keys", "jaccard", "pairs_of_bands"]

NUM_BANDS, ROWS_PER_BAND = 16, 4
BYTES_PER_ROW = 4 * NUM_BANDS
_MOST_CANDIDATES = 8_000_000  # 64 MB, a few times that while sorting


def band_keys(hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(NUM_BANDS, B) uint32: the smallest hashes under ROWS_PER_BAND permutations, mixed into one number a band.

    ``hashes`` are of the shingles of B rows in turn, beginning at ``starts`` (B + 1,).
    """
    factors, offsets = _permutations()
    keys = np.zeros((NUM_BANDS, len(starts) - 1), dtype=np.uint64)
    products = np.empty_like(hashes)
    for k in range(NUM_BANDS * ROWS_PER_BAND):
        np.multiply(hashes, factors[k], out=products)
        products += offsets[k]
        smallest = np.minimum.reduceat(products, starts[:-1])
        band = keys[k // ROWS_PER_BAND]
        band ^= smallest
        band *= np.uint64(0x9E3779B97F4A7C15)
        band ^= band >> np.uint64(29)
    return (keys >> np.uint64(32)).astype(np.uint32)


def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (odd) and offsets of linear permutations of the 32-bit numbers, the same for ever."""
    draw = np.random.Generator(np.random.PCG64(1997))
    factors = draw.integers(0, 2**32, size=NUM_BANDS * ROWS_PER_BAND, dtype=np.uint32) | np.uint32(1)
    return factors, draw.integers(0, 2**32, size=NUM_BANDS * ROWS_PER_BAND, dtype=np.uint32)


def pairs_of_bands(keys_KN: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Distinct pairs of the ``chosen`` rows, by their places among them, sharing two bands or more (those with most first), buckets linked,
    and whether all were looked at. One band is at hand at a time.
    """
    found: list[np.ndarray] = []
    linked, total, complete = 0, 0, True
    for band in range(NUM_BANDS):
        left, right, too_large = equal_pairs(keys_KN[band, chosen])
        linked, total = linked + too_large, total + len(left)
        found.append(left.astype(np.uint64) * np.uint64(len(chosen)) + right.astype(np.uint64))
        if total > _MOST_CANDIDATES and band + 1 < NUM_BANDS:
            complete = False
            break
    packed, shared = np.unique(np.concatenate(found), return_counts=True)
    order = np.argsort(-shared, kind="stable")
    order = order[shared[order] >= (2 if complete else 1)]
    left, right = np.divmod(packed[order], np.uint64(max(len(chosen), 1)))
    return left.astype(np.int64), right.astype(np.int64), linked, complete


def jaccard(
    ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Jaccard similarity (P,) of the shingle sets of P pairs, and the share (P,) of the smaller set that the other has too.

    Each side is the hashes of P rows in turn and where each row's begin (P + 1,).
    """
    num_pairs = len(ours[1]) - 1
    tagged = [_tagged(*side) for side in (ours, theirs)]
    both = np.intersect1d(*tagged, assume_unique=True) >> np.uint64(32)
    sizes = [np.bincount((side >> np.uint64(32)).astype(np.int64), minlength=num_pairs) for side in tagged]
    shared = np.bincount(both.astype(np.int64), minlength=num_pairs)
    return shared / (sizes[0] + sizes[1] - shared), shared / np.minimum(*sizes)


def _tagged(hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Distinct ``row << 32 | shingle`` numbers, sorted."""
    rows = np.repeat(np.arange(len(starts) - 1, dtype=np.uint64), np.diff(starts))
    tagged = (rows << np.uint64(32)) | hashes
    tagged.sort()  # several times faster here than np.unique, which hashes first
    return tagged[np.concatenate([[True], tagged[1:] != tagged[:-1]])] if len(tagged) else tagged
