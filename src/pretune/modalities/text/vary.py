"""Texts varied while they are learned from: words hidden, or a stretch of words alone (Tang et al. 2019, arXiv 1903.12136,
section 3.3, for students whose teacher answers to the varied text).

Shapes: T tokens of a row, special ones included; W words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretune.modalities.text.template import FastTokenizer
from pretune.modalities.text.words import whole_words, word_starts

__all__ = ["WORD_VARIATIONS", "WordVariation", "WordVarier"]


@dataclass(frozen=True)
class WordVariation:
    """A level of variation: the share of words that are hidden, and of texts of which one stretch of words is left."""

    name: str
    hidden: float = 0.0
    stretches: float = 0.0


WORD_VARIATIONS = {
    level.name: level
    for level in (
        WordVariation("none"),
        WordVariation("light", hidden=0.1),
        WordVariation("strong", hidden=0.1, stretches=0.25),
    )
}
"""By the names of ``--augment``."""


class WordVarier:
    """Varies the rows of one tokenizer. A hidden word is the mask token, and where there is none it is left out."""

    def __init__(self, level: WordVariation, tokenizer: FastTokenizer) -> None:
        self.level = level
        self._starts = word_starts(tokenizer)
        self._special_ids = np.array(sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id}), dtype=np.int64)
        self._mask_id = tokenizer.mask_token_id

    def __call__(
        self, input_ids: np.ndarray, segment_ids: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A row's ids int32 and segment ids uint8, (T,) each, varied: one word at least is left as it is."""
        special_T = np.isin(input_ids, self._special_ids)
        words_T = whole_words(input_ids, self._starts, self._special_ids)
        inside = np.flatnonzero(~special_T)
        left_W = np.unique(words_T[inside])
        if len(left_W) < 2:
            return input_ids, segment_ids
        kept_T = np.ones(len(input_ids), dtype=bool)
        is_pair = inside[-1] - inside[0] + 1 > len(inside)
        if rng.random() < self.level.stretches and not is_pair:
            count = int(rng.integers(1, len(left_W)))
            first = int(rng.integers(len(left_W) - count + 1))
            left_W = left_W[first : first + count]
            kept_T = special_T | np.isin(words_T, left_W)
        hidden_W = rng.random(len(left_W)) < self.level.hidden
        hidden_T = ~special_T & np.isin(words_T, left_W[hidden_W])
        if hidden_W.all():
            hidden_T[:] = False
        if self._mask_id is None:
            kept_T &= ~hidden_T
        ids_T = input_ids if self._mask_id is None else np.where(hidden_T, self._mask_id, input_ids)
        return ids_T[kept_T].astype(np.int32), None if segment_ids is None else segment_ids[kept_T]
