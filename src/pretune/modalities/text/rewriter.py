"""Texts in which a masked language model chose some words anew (contextual augmentation: Kobayashi 2018, arXiv 1805.06201, without its
condition on the label, which a classifier that never saw the row replaces: :mod:`pretune.training.rewriting`).

Shapes: B texts of a batch, T tokens, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pretune.modalities.text.encoder import TextEncoder, TextPiece, TokenPlace, collate_text
from pretune.modalities.text.words import word_starts

__all__ = ["Rewriter"]

_SHARE = 0.15
"""Of the words of a text, one at least: what masked language models learned to fill."""

_AT_A_TIME = 32
_BROKEN = "\ufffd"


class Rewriter:
    """``model`` is a masked language model of transformers, ``encoder`` cuts texts as it reads them (a long text: its first part)."""

    def __init__(self, model: Any, encoder: TextEncoder) -> None:
        self._model, self._encoder, self._tokenizer = model.eval(), encoder, encoder.tokenizer
        self._special = torch.tensor(sorted(set(self._tokenizer.all_special_ids)))
        self._begins_V = word_starts(self._tokenizer)

    def __call__(
        self, texts: Sequence[str], rngs: Sequence[np.random.Generator], on_batch: Callable[[int], None]
    ) -> list[str]:
        """Each text with words drawn as the model finds them likely, by its own generator; a text without a word that could be is as it was."""
        found = list(texts)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), _AT_A_TIME):
            places = order[start : start + _AT_A_TIME]
            for place, text in zip(places, self._batch([texts[one] for one in places], [rngs[one] for one in places]), strict=True):  # fmt: skip
                found[place] = text
            on_batch(len(places))
        return found

    def _batch(self, texts: list[str], rngs: list[np.random.Generator]) -> list[str]:
        pieces, hidden = [], []
        for text, rng in zip(texts, rngs, strict=True):
            piece, located = self._encoder.locate(text)[0]
            chosen = _chosen_words(text, located, rng)
            ids_T = piece.input_ids.copy()
            ids_T[[at for word in chosen for at in word]] = self._tokenizer.mask_token_id
            pieces.append(TextPiece(ids_T, piece.segment_ids))
            hidden.append([(word, located) for word in chosen])
        inputs = collate_text(pieces, self._encoder.padding, max_length=self._encoder.max_length).inputs
        with torch.inference_mode():
            logits_BTV = self._model(**inputs).logits.float()
            logits_BTV[..., self._special] = -torch.inf
            shares_BTV = logits_BTV.softmax(dim=-1)
        left_B = (inputs["attention_mask"] == 0).int().cumprod(dim=1).sum(dim=1).tolist()
        return [
            self._filled(text, words, shares_BTV[row, left_B[row] :].double().numpy(), rng)
            for row, (text, words, rng) in enumerate(zip(texts, hidden, rngs, strict=True))
        ]

    def _drawn(self, shares_V: np.ndarray, rng: np.random.Generator, *, begins: bool) -> int:
        """A token that begins a word, or goes on with one, so that one word stays one."""
        sums_V = np.where(self._begins_V == begins, shares_V, 0.0).cumsum()
        sums_V = sums_V if sums_V[-1] > 0 else shares_V.cumsum()
        return int(np.searchsorted(sums_V, rng.random() * sums_V[-1], side="right"))

    def _filled(self, text: str, words: list[Any], shares_TV: np.ndarray, rng: np.random.Generator) -> str:
        """The text with each of the ``words`` (positions, and where tokens stand) in the letters of tokens that were drawn."""
        drawn = []
        for word, located in words:
            ids = [self._drawn(shares_TV[at], rng, begins=at == word[0]) for at in word]
            letters = str(self._tokenizer.decode(ids)).strip()
            drawn.append((located[word[0]].start, located[word[-1]].stop, letters))
        for start, stop, letters in sorted(drawn, reverse=True):
            if letters and _BROKEN not in letters:
                lead = len(text[start:stop]) - len(text[start:stop].lstrip())
                text = text[: start + lead] + letters + text[stop:]
        return text


def _chosen_words(text: str, located: Sequence[TokenPlace | None], rng: np.random.Generator) -> list[list[int]]:
    """Token positions of some of the words that have a letter or digit."""
    words: dict[int | None, list[int]] = {}
    for at, place in enumerate(located):
        if place is not None and any(map(str.isalnum, text[place.start : place.stop])):
            words.setdefault(place.word, []).append(at)
    known = [*words.values()]
    count = max(1, round(_SHARE * len(known)))
    return [known[number] for number in sorted(rng.permutation(len(known))[:count].tolist())]
