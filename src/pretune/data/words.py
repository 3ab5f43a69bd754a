"""Where the words of a running text begin and end, where nobody said so."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

__all__ = ["cut_at", "words_of"]

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
"""A letter of a script without blanks between words, a run of other letters and digits, or a mark."""


def words_of(text: str) -> list[list[int]]:
    """The ``[start, end]`` of each word and mark, in characters, the end left out."""
    return [[*match.span()] for match in _WORD.finditer(text)]


def cut_at(words: Iterable[Sequence[int]], places: Iterable[int]) -> list[list[int]]:
    """The words, those cut in two that have one of ``places`` inside."""
    cuts, found = sorted(set(places)), []
    for start, end in words:
        edges = [start, *(place for place in cuts if start < place < end), end]
        found += [[first, second] for first, second in itertools.pairwise(edges)]
    return found
