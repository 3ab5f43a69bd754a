"""Which words are typical of new texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares

__all__ = ["TypicalWord", "terms_of", "typical_words", "unspaced"]

_RUN = re.compile(r"\w+")
_SCRIPT_ROWS = 2_000


def unspaced(texts: list[str]) -> bool:
    """Are these texts mostly of scripts that put no space between words?"""
    return mostly_unspaced(shares(count_scripts(texts[:_SCRIPT_ROWS])))


def terms_of(text: str, *, pairs: bool) -> Iterator[str]:
    """The words of a text in lower case; where ``pairs``, each two neighbouring characters of a word."""
    for run in _RUN.findall(text.lower()):
        if pairs and len(run) > 1:
            yield from (run[place : place + 2] for place in range(len(run) - 1))
        else:
            yield run


class TypicalWord(NamedTuple):
    """A word, in how many rows of each set it stands, and how many standard errors its log odds lie apart."""

    word: str
    reference: int
    new: int
    z: float


def typical_words(
    reference: Sequence[Sequence[str]], new: Sequence[Sequence[str]], *, most: int = 12
) -> tuple[list[TypicalWord], list[TypicalWord]]:
    """Of rows of words, those typical of the new rows, and of the reference: log odds of a row's having the word, drawn towards those of both sets together
    (Monroe, Colaresi & Quinn 2008, "Fightin' Words", section 3.3). Words of one row are left out, as are those less than two standard errors apart.
    """
    olds, news = (Counter(word for words in rows for word in {*words}) for rows in (reference, new))
    old_rows, new_rows = len(reference), len(new)
    words = [word for word in {*olds, *news} if olds[word] + news[word] > 1]
    if not words:
        return [], []
    old_W, new_W = (np.array([counts[word] for word in words], dtype=np.float64) for counts in (olds, news))
    share_W = np.clip((old_W + new_W) / (old_rows + new_rows), 0.01, 0.99)

    def log_odds(counts_W: np.ndarray, rows: int) -> np.ndarray:
        return np.log((counts_W + share_W) / (rows - counts_W + 1 - share_W))

    z_W = (log_odds(new_W, new_rows) - log_odds(old_W, old_rows)) / np.sqrt(
        1 / (new_W + share_W) + 1 / (old_W + share_W)
    )
    order = sorted(range(len(words)), key=lambda place: (-z_W[place], words[place]))
    found = [TypicalWord(words[place], int(old_W[place]), int(new_W[place]), float(z_W[place])) for place in order]
    return [one for one in found[:most] if one.z > 2], [one for one in found[::-1][:most] if one.z < -2]
