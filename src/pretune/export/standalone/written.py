"""Texts to the texts that the model in this folder writes for them, token by token; :mod:`predict` uses it.

Shapes: B items of a batch, T tokens read, L tokens written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Reader:
    """A text as tokens, and the tokens that were written as a text."""

    most_together = 32

    def __init__(self, folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.texts = beside("texts").Reader(folder, about, beside)
        self.search, self.parts = beside("token_search"), beside("graph_parts")
        self.told, self.about = about["inputs"], about
        self.how = self.search.Search(**self.told["search"])

    def opened(
        self, folder: Path, threads: int | None, open_session: Callable[[Path, int | None], Any]
    ) -> Callable[[dict[str, np.ndarray]], list[list[int]]]:
        """The graphs of the folder, as a function from what is read to the tokens that are written."""
        graph = folder / "model.onnx"
        steps = self.search.Steps(open_session(graph, threads), open_session(self.parts.encoder_beside(graph), threads))

        def written(inputs: dict[str, np.ndarray]) -> list[list[int]]:
            ids_BT, mask_BT = inputs["input_ids"], inputs["attention_mask"]
            first_B1 = np.full((len(ids_BT), 1), self.told["start"], dtype=np.int64)
            limits_B = [self.limit_of(int(size)) for size in mask_BT.sum(axis=1)]
            begun = steps.begin(ids_BT, mask_BT, first_B1)
            ids_BL = self.search.search_tokens(steps, begun, self.how, limits_B, before=first_B1.tolist())
            return [ids[:limit] for ids, limit in zip(ids_BL, limits_B, strict=True)]

        return written

    def limit_of(self, tokens_read: int) -> int:
        """The most tokens of an answer, its end mark among them."""
        asked = self.about["max_new_tokens"]
        return min(
            self.told["most"], asked or math.ceil(self.about["per_token"] * tokens_read) + self.told["spare_tokens"]
        )

    def items(self, row: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """One item."""
        return self.texts.items({"text": row["text"]})

    def inputs(self, items: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
        """What is read, each (B, T)."""
        return self.texts.inputs(items)

    def real(self, written: list[int], item: Any) -> tuple[list[int], bool]:
        """The tokens of an item, and whether they reached their limit."""
        own = self.search.own_tokens(written, self.how.ends, self.how.first)
        ended = next((place for place, one in enumerate(written) if one in self.how.ends), len(written))
        return own, ended + 1 >= self.limit_of(len(item[0]))

    def answer(self, outputs: list[tuple[list[int], bool]], items: list[Any]) -> dict[str, Any]:
        """The text."""
        ids, cut_off = outputs[0]
        text = self.texts.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return {"target": text, **({"cut_off": True} if cut_off else {})}
