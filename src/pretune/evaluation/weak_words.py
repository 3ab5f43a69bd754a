"""Words whose rows a model answers worse than others: looked for in one half of the rows, to be tried on the other.

A slice that was picked because it looked bad looks worse than it is; rows that had no part in picking it say what is so.
Shapes: N rows.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares
from pretune.data.text.words import words_of

__all__ = ["WeakWord", "weak_words"]

_MOST = 5
_LEAST_Z = 1.0
_ALIKE = 0.7
"""Of two words that share so much of their rows one is told."""


class WeakWord(NamedTuple):
    """A word, its rows (N,) among those of the half on which it is to be tried, and that half (N,)."""

    word: str
    rows_N: np.ndarray
    among_N: np.ndarray


def weak_words(
    right_N: np.ndarray, texts: Sequence[str], *, least: int, groups_N: np.ndarray | None = None
) -> list[WeakWord]:
    """At most five words, the weakest first; rows of one group, or of one text, are in one half.

    Each has ``least`` rows in the half that was not looked at, which leaves as many beside it there.
    """
    keys = texts if groups_N is None else [str(group) for group in groups_N]
    looked_N = np.array(
        [hashlib.blake2b(key.encode(errors="replace"), digest_size=1).digest()[0] % 2 == 0 for key in keys]
    )
    sought = _rows_of_words(texts)
    looked, tried = int(looked_N.sum()), int((~looked_N).sum())
    wrong_N = ~np.asarray(right_N, dtype=bool)
    found: list[tuple[float, str, np.ndarray]] = []
    for word, rows in sought.items():
        has_N = np.zeros(len(texts), dtype=bool)
        has_N[rows] = True
        own, own_tried = int((has_N & looked_N).sum()), int((has_N & ~looked_N).sum())
        if not (least / 2 <= own <= looked - least / 2 and least <= own_tried <= tried - least):
            continue
        share = wrong_N[has_N & looked_N].mean() - wrong_N[~has_N & looked_N].mean()
        all_wrong = wrong_N[looked_N].mean()
        spread = np.sqrt(all_wrong * (1 - all_wrong) * (1 / own + 1 / (looked - own)))
        if spread > 0 and share / spread >= _LEAST_Z:
            found.append((-share / spread, word, has_N))
    kept: list[tuple[str, np.ndarray]] = []
    for _, word, has_N in sorted(found, key=lambda one: one[:2]):
        if len(kept) < _MOST and not any(_likeness(has_N, other_N) > _ALIKE for _, other_N in kept):
            kept.append((word, has_N))
    return [WeakWord(word, has_N & ~looked_N, ~looked_N) for word, has_N in kept]


def _likeness(one_N: np.ndarray, other_N: np.ndarray) -> float:
    return float((one_N & other_N).sum() / max(1, (one_N | other_N).sum()))


def _rows_of_words(texts: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each word that more than one row has; where scripts have no spaces, of each two signs that stand together."""
    cut = _pairs_of if mostly_unspaced(shares(count_scripts(list(texts)))) else _words_of
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        for word in {*cut(text.casefold())}:
            rows_of.setdefault(word, []).append(row)
    return {word: rows for word, rows in rows_of.items() if len(rows) > 1}


def _words_of(text: str) -> Iterable[str]:
    return (text[start:end] for start, end in words_of(text) if text[start].isalnum())


def _pairs_of(text: str) -> Iterable[str]:
    signs = [text[start:end] for start, end in words_of(text)]
    return ("".join(pair) for pair in itertools.pairwise(signs) if all(sign.isalnum() for sign in pair))
