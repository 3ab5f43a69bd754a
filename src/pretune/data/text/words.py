"""The words of a text, and where a model reads each of them. Python alone: exports of taggers carry this file.

Words and tokens are stretches of characters, the end left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["cut_at", "first_tokens", "owners", "words_of"]

_UNSPACED = "\u0e01-\u0e5b\u0e80-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u3005\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
"""Han, Kana, Thai, Lao, Tibetan, Khmer, Myanmar: scripts that put no space between words."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def words_of(text: str) -> list[list[int]]:
    """The ``[start, end]`` of each word of a text that comes without them: runs of letters and digits; other signs, and those of scripts
    without spaces, alone.
    """
    return [[*match.span()] for match in _WORD.finditer(text)]


def cut_at(words: Iterable[Sequence[int]], places: Iterable[int]) -> list[list[int]]:
    """The words, those cut in two that have one of ``places`` inside."""
    cuts, found = sorted(set(places)), []
    for start, end in words:
        edges = [start, *(place for place in cuts if start < place < end), end]
        found += [[first, second] for first, second in itertools.pairwise(edges)]
    return found


def first_tokens(tokens: Sequence[tuple[int, int] | None], words: Sequence[Sequence[int]]) -> dict[int, int]:
    """The first token of each word that has one; both in the order of the text, None for a token that is no part of it.

    A token may begin with the blank before its word, or hold the end of one word and the beginning of the next.
    """
    found: dict[int, int] = {}
    word = 0
    for number, token in enumerate(tokens):
        if token is None or token[1] <= token[0]:
            continue
        while word < len(words) and words[word][1] <= token[0]:
            word += 1
        at = word
        while at < len(words) and words[at][0] < token[1]:
            if token[0] <= words[at][0]:
                found.setdefault(at, number)
            at += 1
    return found


def owners(found: Sequence[Mapping[int, int]], lengths: Sequence[int], count: int) -> list[int]:
    """For each of ``count`` words the window in which its first token is furthest from both ends, the first of equals; -1 without one.

    ``found`` has the :func:`first_tokens` of each window, ``lengths`` the tokens of each.
    """
    best = [(-1, -1)] * count
    for window, (at, length) in enumerate(zip(found, lengths, strict=True)):
        for word, token in at.items():
            room = min(token, length - 1 - token)
            if room > best[word][0]:
                best[word] = (room, window)
    return [window for _, window in best]
