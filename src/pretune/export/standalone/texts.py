"""Texts to token ids for the exported model in this folder; :mod:`predict` uses it.

Shapes: B items of a batch, T tokens of an item.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Reader:
    """Texts and pairs of texts to token ids, cut to what the model reads."""

    most_together = 64

    def __init__(self, folder: Path, about: dict[str, Any], _beside: Callable[[str], Any]) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        self.told, self.max_length, self.long_text = about["inputs"], about["max_length"], about["long_text"]

    def items(self, row: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Token ids and segment ids of each piece of a row: one, or several windows of a long one."""
        texts = [row[key] for key in ("text", "text_pair") if key in row]
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        sides = [np.array(one.ids, dtype=np.int64) for one in encoded]
        frame = self.told["pair" if len(sides) == 2 else "single"]
        room = self.max_length - sum(len(ids) for ids, _ in frame["gaps"])
        cuts = [sides] if sum(map(len, sides)) <= room else shortened(sides, room, self.long_text)
        return [framed(cut, frame) for cut in cuts]

    def inputs(self, items: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
        """The model's inputs, each (B, T)."""
        length = max(len(ids) for ids, _ in items)
        shape = (len(items), length)
        ids_BT = np.full(shape, self.told["pad_id"], dtype=np.int64)
        segments_BT = np.full(shape, self.told["segment_pad_id"], dtype=np.int64)
        mask_BT = np.zeros(shape, dtype=np.int64)
        for row, (ids, segments) in enumerate(items):
            place = slice(length - len(ids), length) if self.told["left"] else slice(0, len(ids))
            ids_BT[row, place], segments_BT[row, place], mask_BT[row, place] = ids, segments, 1
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "token_type_ids": segments_BT}

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The logits of an item."""
        return logits


def framed(sides: list[np.ndarray], frame: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The sides of a row with the special tokens around them, and the segment of each token."""
    ids: list[Any] = []
    segments: list[Any] = []
    for number, (gap_ids, gap_segments) in enumerate(frame["gaps"]):
        ids.append(gap_ids)
        segments.append(gap_segments)
        if number < len(sides):
            ids.append(sides[number])
            segments.append([frame["segments"][number]] * len(sides[number]))
    return tuple(np.concatenate([np.asarray(part, dtype=np.int64) for part in one]) for one in (ids, segments))  # type: ignore[return-value]


def shortened(sides: list[np.ndarray], room: int, long_text: str, over: int | None = None) -> list[list[np.ndarray]]:
    """The row's tokens cut to ``room``: the start, the start and the end, or windows that overlap by a quarter and slide over
    the side ``over`` (None: the longest).
    """
    if long_text != "windows":
        keep = head_tail if long_text == "head-tail" else lambda side, limit: side[:limit]
        limits = limits_of([len(side) for side in sides], room)
        return [[keep(side, limit) for side, limit in zip(sides, limits, strict=True)]]
    longest = max(range(len(sides)), key=lambda number: len(sides[number])) if over is None else over
    others = [side if number == longest else side[: room // 2] for number, side in enumerate(sides)]
    width = room - sum(len(side) for number, side in enumerate(others) if number != longest)
    last = max(0, len(others[longest]) - width)
    starts = [*range(0, last, width - width // 4), last]
    return [
        [side[start : start + width] if number == longest else side for number, side in enumerate(others)]
        for start in starts
    ]


def limits_of(lengths: list[int], room: int) -> list[int]:
    """Tokens each side may keep: the longer one gives way first."""
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    half_first, half_second = room - room // 2, room // 2
    if first <= half_first:
        return [first, room - first]
    return [room - second, second] if second <= half_second else [half_first, half_second]


def head_tail(side: np.ndarray, limit: int) -> np.ndarray:
    """The first quarter and the last three of what fits."""
    if len(side) <= limit:
        return side
    return np.concatenate([side[: limit // 4], side[len(side) - (limit - limit // 4) :]])
