"""Texts as sets of hashed character n-grams, without a Python loop over characters.

Only letters, marks and digits count, case folded: "polanski's" and "polanski 's" have the same shingles, so a corpus
and its tokenised copy are found to be the same. Rows in unspaced scripts take shorter n-grams, as one Han character
says about as much as a short word. B rows of a chunk, S shingles of a chunk.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

from pretune.data.scripts import code_points, unspaced_mask

__all__ = ["NGRAM_SPACED", "NGRAM_UNSPACED", "shingle_hashes"]

NGRAM_SPACED = 5
NGRAM_UNSPACED = 2
_TABLE_SIZE = 0x20000  # the planes with case and punctuation; later planes hold rare Han, kept as they are
_MULTIPLIER = 0x9E3779B97F4A7C15


@cache
def _folded() -> np.ndarray:
    """Code point to its case-folded code point, 0 for what is no letter, mark or digit."""
    table = np.zeros(_TABLE_SIZE, dtype=np.uint32)
    for code in range(_TABLE_SIZE):
        if unicodedata.category(chr(code))[0] in "LMN":
            folded = chr(code).casefold()
            table[code] = ord(folded) if len(folded) == 1 else code
    return table


def shingle_hashes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (S,) uint32 of all rows in turn, and where each row's begin (B + 1,); each row has at least one.

    A hash may stand several times in a row: take it as a multiset. Rows shorter than n are one shingle.
    """
    codes, row_of_code = _letters(texts)
    unspaced_B = _mostly_unspaced(codes, row_of_code, len(texts))
    counts_B = np.bincount(row_of_code, minlength=len(texts))
    ends_B = np.cumsum(counts_B)
    size_B = np.where(unspaced_B, NGRAM_UNSPACED, NGRAM_SPACED)
    room = ends_B[row_of_code] - np.arange(len(codes))  # letters from here to the end of the row
    starts_here = room >= size_B[row_of_code]
    starts_here[ends_B[counts_B > 0] - counts_B[counts_B > 0]] = True  # a row shorter than n still gives one
    spans = np.minimum(size_B[row_of_code], room)[starts_here]
    hashes = _hash_spans(codes, np.flatnonzero(starts_here), spans)
    return _with_empty_rows(hashes, row_of_code[starts_here], len(texts))


def _letters(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Folded letters, marks and digits of all rows in turn, and the row of each."""
    normal = [text if text.isascii() else unicodedata.normalize("NFKC", text) for text in texts]
    codes = code_points("".join(normal))
    row_of_code = np.repeat(np.arange(len(texts)), [len(text) for text in normal])
    table = _folded()
    folded = np.where(codes < _TABLE_SIZE, table[np.minimum(codes, _TABLE_SIZE - 1)], codes)
    kept = folded > 0
    return folded[kept], row_of_code[kept]


def _mostly_unspaced(codes: np.ndarray, row_of_code: np.ndarray, num_rows: int) -> np.ndarray:
    unspaced = np.bincount(row_of_code, weights=unspaced_mask(codes), minlength=num_rows)
    return unspaced * 2 > np.bincount(row_of_code, minlength=num_rows)


def _hash_spans(codes: np.ndarray, starts: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """32-bit hash of ``codes[start : start + span]`` for every start."""
    padded = np.concatenate([codes.astype(np.uint64), np.zeros(NGRAM_SPACED, dtype=np.uint64)])
    state = spans.astype(np.uint64)
    for step in range(NGRAM_SPACED):
        letter = np.where(step < spans, padded[starts + step], np.uint64(0))
        state = (state ^ letter) * np.uint64(_MULTIPLIER)
        state ^= state >> np.uint64(29)
    return (state >> np.uint64(32)).astype(np.uint32)


def _with_empty_rows(hashes: np.ndarray, rows: np.ndarray, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a row without letters one shingle of hash 0, so that every row has one."""
    counts = np.bincount(rows, minlength=num_rows)
    starts = np.concatenate([[0], np.cumsum(np.maximum(counts, 1))])
    full = np.zeros(int(starts[-1]), dtype=np.uint32)
    full[np.repeat(starts[:-1] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(len(hashes))] = (
        hashes
    )
    return full, starts
