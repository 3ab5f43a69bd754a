"""Pairs of rows that are nearly the same, and the kinds of likeness there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

__all__ = ["KINDS", "SAME", "WORDS", "NearPairs", "equal_pairs", "load_pairs", "no_pairs", "save_pairs"]

WORDS = {
    "letters": "the same letters; spaces, punctuation, accents or look-alike letters differ",
    "order": "the same words in another order",
    "edited": "a few letters or words differ",
    "part": "one is a part of the other",
    "look": "the same picture at another size, quality, brightness or colour",
    "mirrored": "the same picture, mirrored",
    "framed": "the same picture, cropped, bordered or turned a little",
    "samples": "the same samples in another file",
    "sound": "the same recording, re-coded, cut or at another loudness",
}
"""Every kind of likeness, said of two rows."""

SAME = "the same content"
"""What is said of rows that need not be compared."""

KINDS = tuple(WORDS)
_FILE = "pairs.npz"
_ARRAYS = ("left_P", "right_P", "alike_P", "kind_P")
_LARGEST_BUCKET = 16  # larger ones are linked to their first row and along a chain, not all with all


@dataclass(frozen=True, slots=True, weakref_slot=True)
class NearPairs:
    """Pairs ``left_P < right_P`` of row numbers, sorted by row; ``kind_P`` (index into ``KINDS``) says how they are alike and
    ``alike_P`` how much, from 0 to 1.

    ``linked_buckets`` counts buckets too large to compare all with all; ``complete`` is False when a limit on the work ended the
    search early (counts are then lower bounds).
    """

    left_P: np.ndarray
    right_P: np.ndarray
    alike_P: np.ndarray
    kind_P: np.ndarray
    linked_buckets: int = 0
    complete: bool = True

    def sorted(self) -> NearPairs:
        """The same, by row."""
        order = np.lexsort((self.right_P, self.left_P))
        arrays = {name: getattr(self, name)[order] for name in _ARRAYS}
        return replace(self, **arrays)


def save_pairs(near: NearPairs, folder: Path) -> None:
    """Write pairs into a folder."""
    arrays = {name: getattr(near, name) for name in _ARRAYS}
    np.savez(folder / _FILE, counts=np.array([near.linked_buckets, near.complete], dtype=np.int64), **arrays)


def load_pairs(folder: Path) -> NearPairs:
    """What :func:`save_pairs` wrote. Raises ValueError, OSError or KeyError for what is no such folder."""
    with np.load(folder / _FILE, allow_pickle=False) as held:
        linked, complete = held["counts"].tolist()
        arrays = {name: held[name] for name in _ARRAYS}
        return NearPairs(**arrays, linked_buckets=linked, complete=bool(complete))


def no_pairs() -> NearPairs:
    """None at all."""
    rows = np.empty(0, dtype=np.int64)
    return NearPairs(rows, rows, np.empty(0), np.empty(0, dtype=np.int8))


def equal_pairs(keys_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
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
