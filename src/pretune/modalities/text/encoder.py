"""Text to padded batches of token ids: encoding, truncation, windows, and an exact account of what was lost.

Shapes: B pieces of a batch, T tokens of a piece. A row of data becomes one piece, or several when it is cut into windows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from pretune.errors import UsageError
from pretune.modalities.text.template import FastTokenizer, Template, plain_backend, read_template

__all__ = ["Ledger", "Padding", "TextBatch", "TextEncoder", "TextPiece", "TokenPlace", "collate_text"]

LONG_TEXT = ("truncate", "head-tail", "windows")
NUM_WORST = 5
MAX_CHUNK_CHARACTERS = 4_000_000
TEXTS_AT_A_TIME = 256
"""Texts that the tokenizer is given in one call: what it tells of each beside its ids is large, and more of it leaves the cache."""
READING = "no control tokens in texts"
"""How texts are read, for the keys of what is kept of them: earlier versions made other tokens of some."""


class TextPiece(NamedTuple):
    """Token ids of a row, special tokens included: int32 (T,). ``segment_ids`` uint8 (T,), None where the model has none."""

    input_ids: np.ndarray
    segment_ids: np.ndarray | None = None


class TokenPlace(NamedTuple):
    """Where a token stands: characters ``start`` to ``stop`` of side 0 (the text) or 1 (its pair), in the side's word ``word``."""

    side: int
    start: int
    stop: int
    word: int | None


@dataclass
class Ledger:
    """What encoding did to the rows of one split: every token lost is counted.

    ``tokens`` counts what the model sees (special tokens included); ``truncated_tokens`` what it never sees;
    ``window_rows`` are rows cut into several pieces; ``worst`` holds the ids of the rows that lost most, with the loss.
    ``padded`` (positions of padding in one pass) is filled in by who makes the batches.
    """

    rows: int = 0
    pieces: int = 0
    tokens: int = 0
    truncated_rows: int = 0
    truncated_tokens: int = 0
    window_rows: int = 0
    unknown_tokens: int = 0
    unknown_rows: int = 0
    empty_rows: int = 0
    padded: int = 0
    worst: list[tuple[str, int]] = field(default_factory=list)

    def add_lost(self, row_id: str, lost: int) -> None:
        """Count a row that lost ``lost`` > 0 tokens."""
        self.truncated_rows += 1
        self.truncated_tokens += lost
        self.worst = sorted([*self.worst, (row_id, lost)], key=lambda item: -item[1])[:NUM_WORST]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**dataclasses.asdict(self), "worst": [list(item) for item in self.worst]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Ledger:
        """The ledger that :meth:`to_dict` wrote."""
        return cls(**{**values, "worst": [(row_id, lost) for row_id, lost in values["worst"]]})


@dataclass(frozen=True)
class Padding:
    """How rows are padded: ids, side, and whether the model takes segment ids (``token_type_ids``)."""

    pad_id: int
    segment_pad_id: int = 0
    left: bool = False
    segments: bool = False
    multiple: int = 1


class TextBatch(NamedTuple):
    """Padded rows. ``inputs`` are keyword arguments of a model's forward, each (B, T) int64.

    ``num_tokens`` counts real tokens, ``num_padded`` all B * T positions.
    """

    inputs: dict[str, torch.Tensor]
    num_tokens: int
    num_padded: int


class TextEncoder:
    """Rows of text to token ids within ``max_length`` tokens, special tokens included.

    ``long_text``: ``truncate`` keeps the start; ``head-tail`` the first quarter and the last three quarters of what fits
    (Sun et al. 2019, arXiv 1905.05583, section 5.3.1); ``windows`` cuts a row into pieces that overlap by a quarter.
    Of a pair, the longer side is shortened first; with ``slides_last`` windows slide over its second side, whichever is longer.
    ``segments`` None: as the tokenizer says.
    """

    def __init__(
        self,
        tokenizer: FastTokenizer,
        *,
        max_length: int,
        long_text: str = "truncate",
        segments: bool | None = None,
        slides_last: bool = False,
    ) -> None:
        if long_text not in LONG_TEXT:
            raise UsageError(f"--long-text is {long_text!r}", f"allowed: {', '.join(LONG_TEXT)}")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.long_text = long_text
        self.slides_last = slides_last
        self.segments = "token_type_ids" in tokenizer.model_input_names if segments is None else segments
        self.template: Template = read_template(tokenizer)
        if max_length < self.template.num_special(pair=True) + 2:
            raise UsageError(
                f"--max-length is {max_length}", f"at least {self.template.num_special(pair=True) + 2} here"
            )

    @property
    def padding(self) -> Padding:
        """How batches of this tokenizer's rows are padded."""
        tokenizer = self.tokenizer
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
        return Padding(pad_id, tokenizer.pad_token_type_id, tokenizer.padding_side == "left", self.segments)

    def identity(self) -> str:
        """A hash of all that decides the ids: the tokenizer's own description, the limit, what is done with long rows."""
        backend = plain_backend(self.tokenizer)
        cut = [self.max_length, self.long_text, self.segments, *(["slides last"] if self.slides_last else [])]
        said = json.dumps([READING, backend.to_str(), *cut, self.template.identity()])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def pieces_identity(self) -> str:
        """:meth:`identity` without the segment ids, which a model may lack: equal for pieces of equal tokens."""
        backend = plain_backend(self.tokenizer)
        cut = [self.max_length, self.long_text, *(["slides last"] if self.slides_last else [])]
        said = json.dumps([READING, backend.to_str(), *cut, self.template.identity()])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        ids: Sequence[str] | None = None,
        ledger: Ledger | None = None,
    ) -> list[list[TextPiece]]:
        """The pieces of each row, in order (one piece unless ``long_text`` is windows). ``ledger`` is updated when given.

        ``ids`` name the rows in the ledger; without them a row is named by its position in ``texts``.
        """
        ledger = Ledger() if ledger is None else ledger
        unknown_id = self.tokenizer.unk_token_id
        found: list[list[TextPiece]] = []
        for start, stop in _chunks(texts, pairs):
            firsts = self.tokens_of(texts[start:stop])
            seconds = None if pairs is None else self.tokens_of(pairs[start:stop])
            for offset, first in enumerate(firsts):
                row_id = str(start + offset) if ids is None else ids[start + offset]
                sides = [first] if seconds is None else [first, seconds[offset]]
                found.append(self._row(row_id, sides, unknown_id, ledger))
        return found

    def locate(self, text: str, pair: str | None = None) -> list[tuple[TextPiece, list[TokenPlace | None]]]:
        """The pieces of one row as :meth:`encode` gives them, with the place of each token; None for special tokens."""
        backend = plain_backend(self.tokenizer)
        found = [backend.encode(side, add_special_tokens=False) for side in (text, pair) if side is not None]
        places = [
            TokenPlace(side, *span, word)
            for side, one in enumerate(found)
            for span, word in zip(one.offsets, one.word_ids, strict=True)
        ]
        ids_N = np.array([i for one in found for i in one.ids], dtype=np.int32)
        # Tokens by numbers below 0, which no id is: what the template adds stays apart.
        numbers_N = -1 - np.arange(len(ids_N), dtype=np.int32)
        sides = np.split(numbers_N, np.cumsum([len(one.ids) for one in found])[:-1])
        rows = []
        for cut in self._cuts(sides)[0]:
            marked_T, segments_T = self.template.apply(cut, segments=self.segments)
            is_own_T, ids_T = marked_T < 0, marked_T.copy()
            ids_T[is_own_T] = ids_N[-1 - marked_T[is_own_T]]
            located = [places[-1 - number] if number < 0 else None for number in marked_T.tolist()]
            rows.append((TextPiece(ids_T, segments_T), located))
        return rows

    def tokens_of(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The token ids of each text, special tokens left out, uncut: int32."""
        backend = plain_backend(self.tokenizer)
        found: list[np.ndarray] = []
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            some = list(texts[start : start + TEXTS_AT_A_TIME])
            encodings = backend.encode_batch_fast(some, add_special_tokens=False)
            found += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return found

    def _row(self, row_id: str, sides: list[np.ndarray], unknown_id: int | None, ledger: Ledger) -> list[TextPiece]:
        cuts, lost = self._cuts(sides)
        pieces = [TextPiece(*self.template.apply(cut, segments=self.segments)) for cut in cuts]
        ledger.rows += 1
        ledger.pieces += len(pieces)
        ledger.tokens += sum(len(piece.input_ids) for piece in pieces)
        ledger.window_rows += len(pieces) > 1
        ledger.empty_rows += not any(map(len, sides))
        unknown = 0 if unknown_id is None else sum(int(np.count_nonzero(side == unknown_id)) for side in sides)
        ledger.unknown_tokens += unknown
        ledger.unknown_rows += unknown > 0
        if lost:
            ledger.add_lost(row_id, lost)
        return pieces

    def _cuts(self, sides: list[np.ndarray]) -> tuple[list[list[np.ndarray]], int]:
        """The sides of each piece, and how many tokens are in none."""
        room = self.max_length - self.template.num_special(pair=len(sides) == 2)
        return self._shorten(sides, room) if sum(map(len, sides)) > room else ([sides], 0)

    def _shorten(self, sides: list[np.ndarray], room: int) -> tuple[list[list[np.ndarray]], int]:
        """Cut the row's sides to ``room`` tokens: the pieces, and how many tokens are in none of them."""
        if self.long_text == "windows":
            return _windows(sides, room, len(sides) - 1 if self.slides_last else None)
        limits = _limits([len(side) for side in sides], room)
        keep = _head_tail if self.long_text == "head-tail" else _head
        kept = [keep(side, limit) for side, limit in zip(sides, limits, strict=True)]
        return [kept], sum(map(len, sides)) - sum(map(len, kept))


def _chunks(texts: Sequence[str], pairs: Sequence[str] | None) -> list[tuple[int, int]]:
    """Ranges of rows with a bounded number of characters, so that memory does not follow the data."""
    sizes = (
        [len(text) for text in texts] if pairs is None else [len(a) + len(b) for a, b in zip(texts, pairs, strict=True)]
    )
    bounds, size = [0], 0
    for index, count in enumerate(sizes):
        if size and size + count > MAX_CHUNK_CHARACTERS:
            bounds.append(index)
            size = 0
        size += count
    return list(itertools.pairwise([*bounds, len(sizes)])) if sizes else []


def _limits(lengths: list[int], room: int) -> list[int]:
    """Tokens each side may keep: the longer side gives way first."""
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    half_first, half_second = room - room // 2, room // 2
    if first <= half_first:
        return [first, room - first]
    if second <= half_second:
        return [room - second, second]
    return [half_first, half_second]


def _head(side: np.ndarray, limit: int) -> np.ndarray:
    return side[:limit]


def _head_tail(side: np.ndarray, limit: int) -> np.ndarray:
    if len(side) <= limit:
        return side
    head = limit // 4
    return np.concatenate([side[:head], side[len(side) - (limit - head) :]])


def _windows(sides: list[np.ndarray], room: int, over: int | None = None) -> tuple[list[list[np.ndarray]], int]:
    """Slide over the side ``over`` (None: the longest); of a pair, the other side (at most half the room) stands in every window."""
    longest = max(range(len(sides)), key=lambda index: len(sides[index])) if over is None else over
    others = [side if index == longest else side[: room // 2] for index, side in enumerate(sides)]
    width = room - sum(len(side) for index, side in enumerate(others) if index != longest)
    long_side = sides[longest]
    last = max(0, len(long_side) - width)
    starts = [*range(0, last, width - width // 4), last]
    cuts = [
        [long_side[start : start + width] if index == longest else side for index, side in enumerate(others)]
        for start in starts
    ]
    return cuts, sum(map(len, sides)) - sum(map(len, others))


def padded_length(longest: int, multiple: int, limit: int | None = None) -> int:
    """``longest`` rounded up to ``multiple``, never over ``limit``."""
    length = -(-longest // multiple) * multiple
    return length if limit is None else max(longest, min(length, limit))


def collate_text(pieces: Sequence[TextPiece], padding: Padding, *, max_length: int | None = None) -> TextBatch:
    """Pad pieces to one length (a multiple of ``padding.multiple``, at most ``max_length``): ``input_ids``,
    ``attention_mask`` and, where the model has them, ``token_type_ids``, each (B, T) int64.
    """
    lengths_B = np.array([len(piece.input_ids) for piece in pieces])
    length = padded_length(int(lengths_B.max()), padding.multiple, max_length)
    places = np.arange(length)
    real_BT = places >= length - lengths_B[:, None] if padding.left else places < lengths_B[:, None]
    ids_BT = np.full(real_BT.shape, padding.pad_id, dtype=np.int64)
    ids_BT[real_BT] = np.concatenate([piece.input_ids for piece in pieces])
    arrays = {"input_ids": ids_BT, "attention_mask": real_BT.astype(np.int64)}
    if padding.segments:
        segments_BT = np.full(real_BT.shape, padding.segment_pad_id, dtype=np.int64)
        segments_BT[real_BT] = np.concatenate([_segments_of(piece) for piece in pieces])
        arrays["token_type_ids"] = segments_BT
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return TextBatch(inputs, int(lengths_B.sum()), int(real_BT.size))


def _segments_of(piece: TextPiece) -> np.ndarray:
    return np.zeros(len(piece.input_ids), dtype=np.uint8) if piece.segment_ids is None else piece.segment_ids
