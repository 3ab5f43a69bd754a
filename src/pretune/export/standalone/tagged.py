"""Texts to token ids for the tagger in this folder, and its tags to words; :mod:`predict` uses it.

Shapes: T tokens of an item, W words of a row, C tags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Item:
    """One window of a row: its tokens, at which of them which words are read, and the row's words."""

    tokens: tuple[np.ndarray, np.ndarray]
    at: dict[int, int]
    words: list[tuple[int, int]]


class Reader:
    """Texts in windows; a word is read at its first token, in the window that shows most of the text around it."""

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.library = beside("texts")
        self.texts = self.library.Reader(folder, about, beside)
        self.words, self.schemes = beside("words"), beside("schemes")
        self.most_together = self.texts.most_together
        self.labels = about["labels"]
        self.scheme = "plain" if self.schemes.scheme_of([self.labels]) == "plain" else "IOB2"

    def items(self, row: dict[str, Any]) -> list[Item]:
        """The windows of a text."""
        words = [tuple(one) for one in row.get("words") or self.words.words_of(row["text"])]
        encoded = self.texts.tokenizer.encode(row["text"], add_special_tokens=False)
        frame = self.texts.told["single"]
        room = self.texts.max_length - sum(len(ids) for ids, _ in frame["gaps"])
        # Tokens by numbers below 0, which no id is: special tokens stay apart.
        numbers = -1 - np.arange(len(encoded.ids))
        cuts = [[numbers]] if len(numbers) <= room else self.library.shortened([numbers], room, "windows")
        windows = [self.library.framed(cut, frame) for cut in cuts]
        located = [[encoded.offsets[-1 - n] if n < 0 else None for n in marked.tolist()] for marked, _ in windows]
        found = [self.words.first_tokens(places, words) for places in located]
        owner = self.words.owners(found, [len(marked) for marked, _ in windows], len(words))
        items = []
        for window, ((marked, segments), at) in enumerate(zip(windows, found, strict=True)):
            ids = np.array([encoded.ids[-1 - n] if n < 0 else n for n in marked.tolist()], dtype=np.int64)
            own = {word: token for word, token in at.items() if owner[word] == window}
            items.append(Item((ids, segments), own, words))
        return items

    def inputs(self, items: list[Item]) -> dict[str, np.ndarray]:
        """The model's inputs, each (B, T)."""
        return self.texts.inputs([item.tokens for item in items])

    def real(self, logits: np.ndarray, item: Item) -> np.ndarray:
        """The logits of an item's own tokens, (T, C)."""
        count = len(item.tokens[0])
        return logits[len(logits) - count :] if self.texts.told["left"] else logits[:count]

    def answer(self, outputs: list[np.ndarray], items: list[Item]) -> dict[str, Any]:
        """A tag for each word, the words' characters, and the entities."""
        words = items[0].words
        tags = ["O" if "O" in self.labels else self.labels[0]] * len(words)
        spans: list[tuple[int, int] | None] = [None] * len(words)
        for logits_TC, item in zip(outputs, items, strict=True):
            for word, token in item.at.items():
                tags[word], spans[word] = self.labels[int(logits_TC[token].argmax())], words[word]
        tags = self.schemes.to_iob2(tags, self.scheme)
        return {"tags": tags, "words": spans, "entities": self.schemes.entities_of(tags, spans, self.scheme)}
