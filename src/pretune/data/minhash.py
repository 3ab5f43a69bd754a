"""Near-duplicate rows by MinHash and banding, with every pair checked by its true Jaccard similarity.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", section 3.4. Memory is ``BYTES_PER_ROW`` a row and a bounded chunk of text. N rows, K hash functions.

A pair of similarity s shares at least two of 16 bands of 4 with probability 0.997 at s = 0.8 and 0.26 at 0.5; those that do
are checked exactly, the likeliest first, within a limit on the work that only mass-produced texts reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pretune.data.shingles import shingle_hashes

__all__ = ["BYTES_PER_ROW", "THRESHOLD", "NearPairs", "band_keys", "find_near_pairs", "jaccard"]

THRESHOLD = 0.8
NUM_BANDS, ROWS_PER_BAND = 16, 4
BYTES_PER_ROW = 4 * NUM_BANDS + 4
_CHUNK_CHARACTERS = 1 << 16  # shingles of one chunk and their products stay in the processor's cache
_LARGEST_BUCKET = 16  # larger ones are linked to their first row and along a chain, not all with all
_MOST_CANDIDATES = 8_000_000  # 64 MB, a few times that while sorting
_MOST_SHINGLES = 200_000_000  # about a minute
_SHINGLES_PER_CHECK = 1_000_000


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs ``left_P < right_P`` of row numbers with their Jaccard similarity, sorted by row.

    ``linked_buckets`` counts buckets too large to compare all with all; ``complete`` is False when the limit on
    candidates ended the search early (counts are then lower bounds).
    """

    left_P: np.ndarray
    right_P: np.ndarray
    jaccard_P: np.ndarray
    linked_buckets: int
    complete: bool


def band_keys(texts: Iterable[list[str]], num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys (N, NUM_BANDS) uint32 of the rows' bands and shingle counts (N,) int32, from batches of texts."""
    keys_NK = np.empty((num_rows, NUM_BANDS), dtype=np.uint32)
    sizes_N = np.empty(num_rows, dtype=np.int32)
    done = 0
    for batch in texts:
        for chunk in _chunks(batch):
            hashes, starts = shingle_hashes(chunk)
            keys_NK[done : done + len(chunk)] = _bands(hashes, starts)
            sizes_N[done : done + len(chunk)] = np.diff(starts)
            done += len(chunk)
    assert done == num_rows, f"{done} texts for {num_rows} rows"
    return keys_NK, sizes_N


def _chunks(texts: list[str]) -> Iterable[list[str]]:
    chunk: list[str] = []
    room = _CHUNK_CHARACTERS
    for text in texts:
        chunk.append(text)
        room -= len(text)
        if room <= 0:
            yield chunk
            chunk, room = [], _CHUNK_CHARACTERS
    if chunk:
        yield chunk


def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (odd) and offsets of linear permutations of the 32-bit numbers, the same for ever."""
    draw = np.random.Generator(np.random.PCG64(1997))
    factors = draw.integers(0, 2**32, size=NUM_BANDS * ROWS_PER_BAND, dtype=np.uint32) | np.uint32(1)
    return factors, draw.integers(0, 2**32, size=NUM_BANDS * ROWS_PER_BAND, dtype=np.uint32)


def _bands(hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(B, NUM_BANDS) uint32: the smallest hashes under ROWS_PER_BAND permutations, mixed into one number a band."""
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
    return (keys >> np.uint64(32)).astype(np.uint32).T


def find_near_pairs(keys_NK: np.ndarray, sizes_N: np.ndarray, read: Callable[[np.ndarray], list[str]]) -> NearPairs:
    """All pairs of rows with Jaccard similarity >= :data:`THRESHOLD` that share two bands; ``read`` gives the texts of rows."""
    left_P, right_P, linked, complete = _candidates(keys_NK)
    work_P = np.cumsum(sizes_N[left_P].astype(np.int64) + sizes_N[right_P])
    affordable = int(np.searchsorted(work_P, _MOST_SHINGLES, side="right"))
    similar_P = np.zeros(affordable, dtype=np.float64)
    start = 0
    while start < affordable:
        done = work_P[start - 1] if start else 0
        stop = max(start + 1, min(affordable, int(np.searchsorted(work_P, done + _SHINGLES_PER_CHECK, side="right"))))
        similar_P[start:stop] = _similarities(left_P[start:stop], right_P[start:stop], read)
        start = stop
    near = np.flatnonzero(similar_P >= THRESHOLD)
    near = near[np.lexsort((right_P[near], left_P[near]))]
    return NearPairs(left_P[near], right_P[near], similar_P[near], linked, complete and affordable == len(left_P))


def _candidates(keys_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Distinct pairs sharing two bands or more (those with most first), buckets linked, and whether all were looked at."""
    found: list[np.ndarray] = []
    linked, total, complete = 0, 0, True
    for band in range(NUM_BANDS):
        left, right, too_large = _bucket_pairs(keys_NK[:, band])
        linked, total = linked + too_large, total + len(left)
        found.append(left.astype(np.uint64) * np.uint64(len(keys_NK)) + right.astype(np.uint64))
        if total > _MOST_CANDIDATES and band + 1 < NUM_BANDS:
            complete = False
            break
    packed, shared = np.unique(np.concatenate(found), return_counts=True)
    order = np.argsort(-shared, kind="stable")
    order = order[shared[order] >= (2 if complete else 1)]
    left, right = np.divmod(packed[order], np.uint64(max(len(keys_NK), 1)))
    return left.astype(np.int64), right.astype(np.int64), linked, complete


def _bucket_pairs(keys_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Pairs (left < right) of rows with equal keys, and the number of buckets linked instead of compared all with all."""
    order = np.argsort(keys_N, kind="stable")
    ordered = keys_N[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else [])
    bucket = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(ordered))))
    size = np.bincount(bucket)
    lefts, rights = [], []
    for step in range(1, _LARGEST_BUCKET):
        same = np.flatnonzero(bucket[step:] == bucket[:-step]) if step < len(bucket) else np.empty(0, dtype=np.int64)
        if step > 1:
            same = same[size[bucket[same]] <= _LARGEST_BUCKET]
        if not len(same):
            break
        lefts.append(order[same])
        rights.append(order[same + step])
    in_large = np.flatnonzero(size[bucket] > _LARGEST_BUCKET) if len(bucket) else np.empty(0, dtype=np.int64)
    in_large = in_large[in_large - first[bucket[in_large]] > 1]
    lefts.append(order[first[bucket[in_large]]])
    rights.append(order[in_large])
    return np.concatenate(lefts), np.concatenate(rights), int((size > _LARGEST_BUCKET).sum())


def _similarities(left: np.ndarray, right: np.ndarray, read: Callable[[np.ndarray], list[str]]) -> np.ndarray:
    """(P,) Jaccard similarity of the pairs of row numbers."""
    rows, where = np.unique(np.concatenate([left, right]), return_inverse=True)
    texts = read(rows)
    return jaccard([texts[i] for i in where[: len(left)]], [texts[i] for i in where[len(left) :]])


def jaccard(left: list[str], right: list[str]) -> np.ndarray:
    """(P,) float64: Jaccard similarity of the shingle sets of each pair of texts."""
    ours, theirs = _tagged(left), _tagged(right)
    both = np.intersect1d(ours, theirs, assume_unique=True) >> np.uint64(32)
    counts = [np.bincount((tagged >> np.uint64(32)).astype(np.int64), minlength=len(left)) for tagged in (ours, theirs)]
    shared = np.bincount(both.astype(np.int64), minlength=len(left))
    return shared / (counts[0] + counts[1] - shared)


def _tagged(texts: list[str]) -> np.ndarray:
    """Distinct ``row << 32 | shingle`` numbers, sorted."""
    hashes, starts = shingle_hashes(texts)
    rows = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(starts))
    tagged = (rows << np.uint64(32)) | hashes
    tagged.sort()  # several times faster here than np.unique, which hashes first
    return tagged[np.concatenate([[True], tagged[1:] != tagged[:-1]])]
