"""Questions with windows of their passages to token ids for the model in this folder, and its starts and ends to the stretch that
answers; :mod:`predict` uses it.

Shapes: T tokens of an item, P tokens of its passage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Item:
    """One window: its tokens and segments, the place of the passage among them, where its tokens stand, and the whole passage."""

    tokens: tuple[np.ndarray, np.ndarray]
    first: int
    spans: np.ndarray
    passage: str


class Reader:
    """A question with each window of its passage; the best stretch of all windows is the answer."""

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.library = beside("texts")
        self.texts = self.library.Reader(folder, about, beside)
        self.search = beside("span_search")
        self.most_together = self.texts.most_together
        self.longest, self.answers_all = about["longest"], about["answers_all"]
        self.threshold = None if self.answers_all else about["null_threshold"]

    def items(self, row: dict[str, Any]) -> list[Item]:
        """The windows of a row."""
        passage = row["text_pair"]
        both = self.texts.tokenizer.encode_batch([row["text"], passage], add_special_tokens=False)
        frame = self.texts.told["pair"]
        room = self.texts.max_length - sum(len(ids) for ids, _ in frame["gaps"])
        ids = np.array([number for one in both for number in one.ids], dtype=np.int64)
        # Tokens by numbers below 0, which no id is: special tokens stay apart.
        numbers = -1 - np.arange(len(ids))
        begin = len(both[0].ids)
        sides = [numbers[:begin], numbers[begin:]]
        cuts = [sides] if len(ids) <= room else self.library.shortened(sides, room, "windows", over=1)
        items = []
        for marked, segments in (self.library.framed(cut, frame) for cut in cuts):
            own = np.flatnonzero(marked < -begin)
            first = int(own[0]) if len(own) else len(marked)
            places = [both[1].offsets[-1 - int(number) - begin] for number in marked[own]]
            tokens = np.where(marked < 0, np.append(ids, 0)[np.maximum(-1 - marked, 0)], marked)
            items.append(Item((tokens, segments), first, self.search.trimmed_spans(places, passage), passage))
        return items

    def inputs(self, items: list[Item]) -> dict[str, np.ndarray]:
        """The model's inputs, each (B, T)."""
        return self.texts.inputs([item.tokens for item in items])

    def real(self, logits: np.ndarray, item: Item) -> np.ndarray:
        """The logits of an item's own tokens, (T, 2)."""
        count = len(item.tokens[0])
        return logits[len(logits) - count :] if self.texts.told["left"] else logits[:count]

    def answer(self, outputs: list[np.ndarray], items: list[Item]) -> dict[str, Any]:
        """The stretch of the passage, its probability, and where questions may have no answer how far that is ahead."""
        windows = [
            self.search.answer_in(logits_T2, item.first, item.spans, item.passage, 0, self.longest)
            for logits_T2, item in zip(outputs, items, strict=True)
        ]
        found = self.search.joined_windows(windows, threshold=self.threshold)
        told = {} if self.answers_all else {"no_answer_margin": found["margin"], "best": found["best"]}
        return {"span": found["span"], "probability": found["probability"], **told}
