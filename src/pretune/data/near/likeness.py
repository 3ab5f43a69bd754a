"""Are two texts copies of each other, and how: judged by their letters, words and numbers. P pairs.

What makes a copy is asked strictly of short texts, where one word decides what is said: no word of a short sentence may be another,
one character at most of a title (of a short title one left out or put in). A number that differs makes another text ("part 2", "part 3"). Texts that have only what many other
rows have too (``bond``, see :class:`~pretune.data.near.rare.RarePieces`) are taken for made from one pattern. The limits were chosen on
copies planted into news titles and film reviews, and on the pairs found there without any (docs/decisions.md, D140).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pretune.data.near.letters import Letters, folded
from pretune.data.near.minhash import jaccard
from pretune.data.near.pairs import KINDS
from pretune.data.near.shingles import long_shingles, short_shingles

__all__ = ["LEAST_BOND", "numbers", "text_likeness"]

LEAST_BOND = 0.1
"""Pairs with less in common that is rare are not looked at, but where most of their shingles are the same."""

_LETTERS, _ORDER, _EDITED, _PART = (KINDS.index(name) for name in ("letters", "order", "edited", "part"))
# Sizes are in letters of an alphabet: a Han character counts as three.
_TITLE, _SHORT_TITLE, _SHORTEST_TITLE, _SENTENCE, _SHORT_SENTENCE, _PATTERN = 75, 36, 24, 48, 20, 90
_FEW_WORDS, _MANY_WORDS = 5, 9
_LEAST_ALIKE, _LEAST_ALIKE_DENSE, _LEAST_ALIKE_LONG, _LEAST_JACCARD = 0.8, 0.85, 0.9, 0.8
_MOST_PARTIAL = 1_000  # letters; what is longer is compared by its shingles
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d]")
_GAPS = re.compile(r"(?<=\d)([^\w]*)(?=\d)")
_THOUSANDS = re.compile(r",(?=\d{3}(?:\D|$))")

_Found = tuple[np.ndarray, np.ndarray]
_Agree = Callable[[Sequence[str], Sequence[str]], bool]


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both texts of P pairs: as written, their letters, these as strings; ``size_P`` of the smaller, whether both are ``dense_P``
    (Chinese, Japanese), and the bond of the pair.
    """

    texts: tuple[list[str], list[str]]
    letters: tuple[Letters, Letters]
    strings: tuple[list[str], list[str]]
    size_P: np.ndarray
    dense_P: np.ndarray
    bond_P: np.ndarray


def text_likeness(left: list[str], right: list[str], bond_P: np.ndarray) -> _Found:
    """The kind of likeness (P,) of each pair, an index into ``KINDS`` or -1, and how alike (P,) they are, from 0 to 1.

    Of a part that is its share of the longer text.
    """
    sides = _sides(left, right, bond_P)
    kind_P, alike_P = np.full(len(left), -1, dtype=np.int8), np.zeros(len(left))
    judges = ((_LETTERS, _same_letters), (_ORDER, _same_words), (_EDITED, _edited), (_PART, _parts), (_ORDER, _pieces))
    for kind, judge in judges:
        found, alike = judge(sides, np.flatnonzero(kind_P < 0))
        kind_P[found], alike_P[found] = kind, alike
    return kind_P, alike_P


def _sides(left: list[str], right: list[str], bond_P: np.ndarray) -> _Sides:
    ours, theirs = folded(left), folded(right)
    sizes = np.stack([ours.sizes(), theirs.sizes()])
    dense_P = np.all(2 * sizes > 3 * np.stack([ours.counts, theirs.counts]), axis=0)
    return _Sides((left, right), (ours, theirs), (ours.strings(), theirs.strings()), sizes.min(axis=0), dense_P, bond_P)


def _same_letters(sides: _Sides, open_P: np.ndarray) -> _Found:
    a, b = sides.strings
    same = [pair for pair in open_P.tolist() if a[pair] and a[pair] == b[pair]]
    found = [pair for pair in same if _same_points(sides.texts[0][pair], sides.texts[1][pair])]
    return np.array(found, dtype=np.int64), np.ones(len(found))


def _same_points(one: str, other: str) -> bool:
    """Whether no two digits of texts of the same letters stand together in one and have a mark between them in the other (12, 1.2);
    blanks count for neither.
    """
    gaps = [_GAPS.findall(_THOUSANDS.sub("", unicodedata.normalize("NFKC", text))) for text in (one, other)]
    return all(
        {bool(gap) for gap in pair} != {True, False} or any(map(str.isspace, "".join(pair)))
        for pair in zip(*gaps, strict=False)
    )


def _same_words(sides: _Sides, open_P: np.ndarray) -> _Found:
    """The same words, or the two halves of a text swapped where words are not set apart."""
    a, b = sides.strings
    same = open_P[
        (sides.letters[0].counts == sides.letters[1].counts)[open_P] & (sides.size_P[open_P] >= _SHORT_SENTENCE)
    ]
    words, others = (_words(side, same) for side in sides.letters)
    found = [
        pair
        for place, pair in enumerate(same.tolist())
        if (len(words[place]) >= _FEW_WORDS and sorted(words[place]) == sorted(others[place]))
        or (sides.bond_P[pair] > 0 and b[pair] in a[pair] + a[pair])
    ]
    return _agreeing(sides, found, _in_any_order)


def _words(letters: Letters, texts: np.ndarray) -> list[list[str]]:
    every = letters.words() if len(texts) else []
    return [every[text] for text in texts.tolist()]


def _edited(sides: _Sides, open_P: np.ndarray) -> _Found:
    """A few letters or words are others, more or fewer."""
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    a, b = ([strings[pair] for pair in open_P.tolist()] for strings in sides.strings)
    alike = process.cpdist(a, b, scorer=OSA.normalized_similarity, score_cutoff=_LEAST_ALIKE, dtype=np.float64)
    size, dense, bond = sides.size_P[open_P], sides.dense_P[open_P], sides.bond_P[open_P]
    enough = (alike >= np.where(dense, _LEAST_ALIKE_DENSE, _LEAST_ALIKE)) & (
        size >= np.where(dense, _SHORTEST_TITLE, _SHORT_SENTENCE)
    )
    bound = bond >= np.where(dense & (size < _TITLE), 3 * LEAST_BOND, LEAST_BOND)
    no_pattern = bound | ((size >= _PATTERN) & (alike >= _LEAST_ALIKE_LONG))
    found = np.flatnonzero(enough & no_pattern)
    strict = size[found] < np.where(dense[found], _TITLE, _SENTENCE)
    decided = _decided(sides, open_P[found[strict]])
    found = np.delete(found, np.flatnonzero(strict)[decided])
    kept, _ = _agreeing(sides, open_P[found].tolist(), _in_turn)
    return kept, alike[np.isin(open_P, kept)]


def _decided(sides: _Sides, pairs: np.ndarray) -> np.ndarray:
    """(P,) bool of short texts: may what differs decide what is said: two other characters of a title, one of a short title, or a word
    that is another.
    """
    a, b = sides.strings
    words, others = (_words(side, pairs) for side in sides.letters)
    return np.array(
        [
            _replaced(a[pair], b[pair]) > (sides.size_P[pair] >= _SHORT_TITLE)
            if sides.dense_P[pair]
            else _other_words(words[place], others[place])
            for place, pair in enumerate(pairs.tolist())
        ],
        dtype=bool,
    )


def _replaced(one: str, other: str) -> int:
    """How many letters stand in place of others, when as few as possible are changed."""
    from rapidfuzz.distance import Levenshtein

    return sum(edit.tag == "replace" for edit in Levenshtein.editops(one, other))


def _other_words(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether a word of a short sentence is more than misspelt."""
    from rapidfuzz.distance import OSA

    if min(len(ours), len(theirs)) >= _MANY_WORDS:
        return False
    if len(ours) != len(theirs):
        return True
    return any(
        OSA.normalized_similarity(one, other) < 0.5 for one, other in zip(ours, theirs, strict=True) if one != other
    )


def _parts(sides: _Sides, open_P: np.ndarray) -> _Found:
    """One text stands in the other, whole or (where it is long) but for a few letters."""
    found, shares = [], []
    for pair in open_P[(sides.size_P >= _SHORT_SENTENCE)[open_P] & (sides.bond_P[open_P] >= 2 * LEAST_BOND)].tolist():
        sizes = [len(strings[pair]) for strings in sides.strings]
        order = (0, 1) if sizes[0] < sizes[1] else (1, 0)
        short, long = (sides.strings[side][pair] for side in order)
        whole = len(short) < len(long) and short in long and _same_inside(*(sides.texts[side][pair] for side in order))
        if whole or (sides.size_P[pair] >= _PATTERN and _partly(sides, pair, short, long)):
            found.append(pair)
            shares.append(len(short) / len(long))
    return np.array(found, dtype=np.int64), np.array(shares)


def _same_inside(short: str, long: str) -> bool:
    """Whether the numbers of the shorter text stand in the longer one; one at its start or end may have been cut through."""
    few = numbers(short)
    words = short.strip()
    few = few[int(words[:1].isdigit()) : len(few) - int(words[-1:].isdigit())]
    return _in_turn(few, numbers(long))


def _partly(sides: _Sides, pair: int, short: str, long: str) -> bool:
    """Nearly all of the shorter text stands in the longer one, with no other numbers."""
    from rapidfuzz import fuzz

    if len(short) <= _MOST_PARTIAL:
        near = fuzz.partial_ratio(short, long, score_cutoff=95) > 0
    else:
        near = (
            float(jaccard(*(long_shingles(folded([text[pair]]), among=2) for text in sides.texts))[1][0])
            >= _LEAST_JACCARD
        )
    return near and _in_turn(*(numbers(text[pair]) for text in sides.texts))


def _pieces(sides: _Sides, open_P: np.ndarray) -> _Found:
    """Most pieces are the same, and stand elsewhere."""
    size, bond = sides.size_P[open_P], sides.bond_P[open_P]
    enough = open_P[(size >= _SHORT_TITLE) & ((bond >= LEAST_BOND) | (size >= _PATTERN))]
    if not len(enough):
        return enough, np.empty(0)
    alike, _ = jaccard(*(short_shingles(folded([texts[pair] for pair in enough.tolist()])) for texts in sides.texts))
    moved = [pair for pair in enough[alike >= _LEAST_JACCARD].tolist() if not _in_place(sides, pair)]
    found, _ = _agreeing(sides, moved, _in_any_order)
    return found, alike[np.isin(enough, found)]


def _in_place(sides: _Sides, pair: int) -> bool:
    """Whether most letters stand where they stood: what differs then was judged as an edit."""
    from rapidfuzz.distance import OSA

    a, b = (strings[pair] for strings in sides.strings)
    return OSA.normalized_similarity(a, b, score_cutoff=0.7) > 0


def _agreeing(sides: _Sides, pairs: Sequence[int], agree: _Agree) -> _Found:
    """The pairs whose numbers agree, wholly alike."""
    ours, theirs = sides.texts
    found = [pair for pair in pairs if agree(numbers(ours[pair]), numbers(theirs[pair]))]
    return np.array(found, dtype=np.int64), np.ones(len(found))


def numbers(text: str) -> list[str]:
    """The numbers of a text in turn: runs of digits with their points, and characters that are numbers by themselves (一, ½)."""
    text = unicodedata.normalize("NFKC", text)
    found = []
    for part in _NUMBER.findall(text):
        if part[0].isdigit():
            found.append(_THOUSANDS.sub("", part))
        elif unicodedata.numeric(part, None) is not None:
            found.append(part)
    return found


def _in_turn(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether the numbers of one text stand in the other in the same order."""
    few, many = sorted((ours, theirs), key=len)
    rest = iter(many)
    return all(number in rest for number in few)


def _in_any_order(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    few, many = sorted((Counter(ours), Counter(theirs)), key=Counter.total)
    return few <= many
