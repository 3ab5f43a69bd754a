"""Texts that are nearly the same: cut, quoted, edited, put in another order, written in look-alike letters.

Four keys give candidates: all letters in order, the words in any order, MinHash bands of short shingles, and long shingles that are
rare. Every pair is judged by its texts (``likeness``), the likeliest first, within a limit on the work that only mass-produced texts
reach. Memory is ``BYTES_PER_ROW`` a row, an index of bounded size and a bounded chunk of text. N rows, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pretune.data.near import minhash
from pretune.data.near.letters import folded
from pretune.data.near.likeness import LEAST_BOND, text_likeness
from pretune.data.near.pairs import NearPairs, equal_pairs
from pretune.data.near.rare import RarePieces
from pretune.data.near.shingles import hashed

__all__ = ["BYTES_PER_ROW", "METHOD", "find_near_texts"]

METHOD = "keys of all letters and of the words in any order, MinHash bands of short shingles, and long shingles that are rare; every pair judged by its letters, words and numbers"
BYTES_PER_ROW = minhash.BYTES_PER_ROW + 8 + 8 + 4
_CHUNK_CHARACTERS = 1 << 16  # shingles of one chunk and their products stay in the processor's cache
_MOST_LETTERS = 200_000_000  # of all pairs judged: about a minute
_LETTERS_PER_CHECK = 1_000_000


@dataclass(frozen=True, slots=True)
class _Keys:
    """What candidates are found by: ``bands_KN``, hashes of all letters and of the words in any order (0 for none), letters of
    each row, and the rare pieces.
    """

    bands_KN: np.ndarray
    letters_N: np.ndarray
    words_N: np.ndarray
    sizes_N: np.ndarray
    pieces: RarePieces


def find_near_texts(batches: Iterable[list[str]], num_rows: int, read: Callable[[np.ndarray], list[str]]) -> NearPairs:
    """All pairs of the ``num_rows`` texts that come in ``batches`` which are copies of each other; ``read`` gives the texts of rows.

    Texts without a letter or a digit are not compared.
    """
    keys = _keys(batches, num_rows)
    left_P, right_P, bond_P, linked, complete = _candidates(keys)
    work_P = np.cumsum(keys.sizes_N[left_P].astype(np.int64) + keys.sizes_N[right_P] + 1)
    affordable = int(np.searchsorted(work_P, _MOST_LETTERS, side="right"))
    kind_P, alike_P = np.full(affordable, -1, dtype=np.int8), np.zeros(affordable)
    start = 0
    while start < affordable:
        done = work_P[start - 1] if start else 0
        stop = max(start + 1, min(affordable, int(np.searchsorted(work_P, done + _LETTERS_PER_CHECK, side="right"))))
        cut = slice(start, stop)
        kind_P[cut], alike_P[cut] = text_likeness(*_both(left_P[cut], right_P[cut], read), bond_P[cut])
        start = stop
    near = np.flatnonzero(kind_P >= 0)
    complete = complete and affordable == len(left_P)
    return NearPairs(left_P[near], right_P[near], alike_P[near], kind_P[near], linked, complete).sorted()


def _keys(batches: Iterable[list[str]], num_rows: int) -> _Keys:
    keys = _Keys(
        np.empty((minhash.NUM_BANDS, num_rows), dtype=np.uint32),
        np.empty(num_rows, dtype=np.uint64),
        np.empty(num_rows, dtype=np.uint64),
        np.empty(num_rows, dtype=np.int32),
        RarePieces(),
    )
    done = 0
    for chunk in (chunk for batch in batches for chunk in _chunks(batch)):
        _keep(keys, chunk, slice(done, done + len(chunk)))
        done += len(chunk)
    assert done == num_rows, f"{done} texts for {num_rows} rows"
    return keys


def _keep(keys: _Keys, texts: list[str], here: slice) -> None:
    letters = folded(texts)
    found = hashed(letters, among=len(keys.sizes_N))
    keys.bands_KN[:, here] = minhash.band_keys(found.short, found.short_starts)
    keys.letters_N[here], keys.words_N[here], keys.sizes_N[here] = found.whole, found.words, letters.counts
    rows = np.repeat(np.arange(here.start, here.stop), np.diff(found.long_starts))
    lettered = np.repeat(letters.counts > 0, np.diff(found.long_starts))
    keys.pieces.add(found.long[lettered], rows[lettered])


def _chunks(texts: list[str]) -> Iterator[list[str]]:
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


def _candidates(keys: _Keys) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, bool]:
    """Distinct pairs of rows that have letters, their bonds (those of equal keys first, then the closest), buckets linked, and
    whether these are all.
    """
    lettered = np.flatnonzero(keys.sizes_N > 0)
    left, right, bond, complete = keys.pieces.pairs(len(keys.sizes_N), least=LEAST_BOND)
    found, linked = [(left, right, bond)], 0
    for keys_N in (keys.letters_N, keys.words_N):
        left, right, too_large = equal_pairs(keys_N[lettered])
        found.append((lettered[left], lettered[right], np.zeros(len(left))))
        linked += too_large
    left, right, too_large, all_bands = minhash.pairs_of_bands(keys.bands_KN, lettered)
    found.append((lettered[left], lettered[right], np.zeros(len(left))))
    packed = np.concatenate([one[0].astype(np.int64) * len(keys.sizes_N) + one[1] for one in found])
    bonds = np.concatenate([one[2] for one in found])
    order = np.lexsort((-bonds, packed))
    first = np.flatnonzero(np.diff(packed[order], prepend=-1))  # of a pair that came several times, its bond
    packed, bonds = packed[order][first], bonds[order][first]
    left_P, right_P = np.divmod(packed, max(len(keys.sizes_N), 1))
    equal = (keys.letters_N[left_P] == keys.letters_N[right_P]) | (keys.words_N[left_P] == keys.words_N[right_P])
    order = np.lexsort((-bonds, ~equal))
    return left_P[order], right_P[order], bonds[order], linked + too_large, complete and all_bands


def _both(left: np.ndarray, right: np.ndarray, read: Callable[[np.ndarray], list[str]]) -> tuple[list[str], list[str]]:
    """The texts of both rows of each pair."""
    rows, where = np.unique(np.concatenate([left, right]), return_inverse=True)
    texts = read(rows)
    return [texts[i] for i in where[: len(left)]], [texts[i] for i in where[len(left) :]]
