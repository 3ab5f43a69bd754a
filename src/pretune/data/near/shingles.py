"""Texts as hashed pieces, without a Python loop over characters: short shingles for likeness, long ones that are rare, whole rows.

Only folded letters count (``letters``): "polanski's" and "polanski 's" have the same shingles, so a corpus and its tokenised
copy are found to be the same. B texts of a chunk, L letters, S shingles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretune.data.near.letters import Letters, weights
from pretune.data.text.scripts import unspaced_mask

__all__ = ["NGRAM_SPACED", "NGRAM_UNSPACED", "Hashed", "hashed", "long_shingles", "short_shingles"]

NGRAM_SPACED = 5
NGRAM_UNSPACED = 2
_MANY_TEXTS = 200_000

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@dataclass(frozen=True, slots=True)
class Hashed:
    """Hashes of B texts. ``short`` (S,) and ``long`` (T,) uint32 are shingles of all texts in turn, beginning at ``short_starts`` and
    ``long_starts`` (B + 1,): every text has at least one of each, and one may stand several times. ``whole`` (B,) uint64 is of all
    letters in order, ``words`` (B,) of the words in any order, 0 for a text without letters.
    """

    short: np.ndarray
    short_starts: np.ndarray
    long: np.ndarray
    long_starts: np.ndarray
    whole: np.ndarray
    words: np.ndarray


def hashed(letters: Letters, among: int) -> Hashed:
    """Everything that near duplicates are looked for by, ``among`` how many texts."""
    starts, first = np.flatnonzero(letters.begins), np.flatnonzero(np.diff(letters.text_of, prepend=-1))
    words = _sums(_mixed(letters.codes, _places(len(letters.codes), starts)), starts)
    whole = _sums(_mixed(letters.codes, _places(len(letters.codes), first)), first)
    bags = _sums(_mixed(words, 0), np.searchsorted(starts, first))
    return Hashed(
        *short_shingles(letters), *long_shingles(letters, among), _of_every(whole, letters), _of_every(bags, letters)
    )


def short_shingles(letters: Letters) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (S,) uint32 of all texts in turn, and where each one's begin (B + 1,); each text has at least one.

    Five letters each, or two in a text of an unspaced script, where one Han character says about as much as a short word. A
    hash may stand several times in a text: take it as a multiset. Texts shorter than that are one shingle.
    """
    unspaced_B = np.bincount(letters.text_of, weights=unspaced_mask(letters.codes), minlength=len(letters.counts))
    spans_B = np.where(unspaced_B * 2 > letters.counts, NGRAM_UNSPACED, NGRAM_SPACED)
    return _shingles(letters, spans_B[letters.text_of])


def long_shingles(letters: Letters, among: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`short_shingles`, long enough to be rare ``among`` so many texts: of 8 letters, one that begins with Han of 3, with
    kana or Hangul of 4; of 12, 4 and 6 where there are very many texts.
    """
    spans = [0, 8, 4, 3] if among <= _MANY_TEXTS else [0, 12, 6, 4]
    return _shingles(letters, np.array(spans)[weights(letters.codes)])


def _shingles(letters: Letters, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shingles of ``spans`` (L,) letters each."""
    ends_B = np.cumsum(letters.counts)
    room = ends_B[letters.text_of] - np.arange(len(letters.codes))  # letters from here to the end of the text
    starts_here = room >= spans
    lettered = letters.counts > 0
    starts_here[(ends_B - letters.counts)[lettered]] = True  # a text shorter than that still gives one
    hashes = _hash_spans(letters.codes, np.flatnonzero(starts_here), np.minimum(spans, room)[starts_here])
    return _with_empty_texts(hashes, letters.text_of[starts_here], len(letters.counts))


def _hash_spans(codes: np.ndarray, starts: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """32-bit hash of ``codes[start : start + span]`` for every start."""
    longest = int(spans.max(initial=0))
    padded = np.concatenate([codes.astype(np.uint64), np.zeros(longest, dtype=np.uint64)])
    state = spans.astype(np.uint64)
    for step in range(longest):
        letter = np.where(step < spans, padded[starts + step], np.uint64(0))
        state = (state ^ letter) * _MULTIPLIER
        state ^= state >> _SHIFT
    return (state >> np.uint64(32)).astype(np.uint32)


def _with_empty_texts(hashes: np.ndarray, texts: np.ndarray, num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a text without letters one shingle of hash 0, so that every text has one."""
    counts = np.bincount(texts, minlength=num_texts)
    starts = np.concatenate([[0], np.cumsum(np.maximum(counts, 1))])
    full = np.zeros(int(starts[-1]), dtype=np.uint32)
    full[np.repeat(starts[:-1] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(len(hashes))] = (
        hashes
    )
    return full, starts


def _places(size: int, starts: np.ndarray) -> np.ndarray:
    """(L,) uint64: how far each letter stands from the start before it."""
    spans = np.diff(np.append(starts, size))
    return (np.arange(size) - np.repeat(starts, spans)).astype(np.uint64)


def _mixed(values: np.ndarray, places: np.ndarray | int) -> np.ndarray:
    """uint64 numbers that depend on value and place; sums of them are hashes."""
    state = (
        values.astype(np.uint64) + np.asarray(places, dtype=np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    ) * _MULTIPLIER
    state ^= state >> _SHIFT
    state *= np.uint64(0xBF58476D1CE4E5B9)
    return state ^ (state >> np.uint64(32))


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts) if len(starts) else np.empty(0, dtype=np.uint64)


def _of_every(found: np.ndarray, letters: Letters) -> np.ndarray:
    """(B,) with 0 for texts without letters."""
    every = np.zeros(len(letters.counts), dtype=np.uint64)
    every[letters.counts > 0] = found
    return every
