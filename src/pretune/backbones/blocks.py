"""Whole texts for models that write: start mark, text, end mark, cut into blocks in which each token is told exactly once.

A block begins with the last token of the block before it, so that no token is lost and none is counted twice: the likelihood
of a text is the sum over its blocks. Texts that are shorter than a block, the most of them, are one block.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from pretune.errors import ModelError
from pretune.modalities.text.encoder import READING, Ledger, Padding, TextEncoder, TextPiece
from pretune.modalities.text.template import FastTokenizer, plain_backend, read_template

__all__ = ["BlockEncoder"]


class BlockEncoder:
    """Texts to blocks of at most ``max_length`` tokens; of a pair, the second text follows the end mark of the first.

    ``start`` and ``end`` are the ids around a text: what the tokenizer's own template puts there, else its begin and end tokens.
    Raises :class:`ModelError` for a tokenizer that has no mark to begin with.
    """

    segments = False

    def __init__(self, tokenizer: FastTokenizer, *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._plain = TextEncoder(tokenizer, max_length=max_length, segments=False)
        (before, _), (after, _) = read_template(tokenizer).single.gaps
        end = tokenizer.eos_token_id
        begin = tokenizer.bos_token_id
        begin = end if begin is None else begin
        self.start = before or (() if begin is None else (begin,))
        self.end = after or (() if end is None else (end,))
        if not self.start:
            raise ModelError(
                "the tokenizer has no token that begins or ends a text, so nothing can be told of a text's first token",
                "choose a model whose tokenizer has one, such as scratch:gpt-tiny",
            )

    @property
    def padding(self) -> Padding:
        """How batches are padded: behind the rows."""
        return dataclasses.replace(self._plain.padding, left=False)

    def identity(self) -> str:
        """A hash of all that decides the ids."""
        backend = plain_backend(self.tokenizer)
        said = json.dumps(["blocks", READING, backend.to_str(), self.max_length, self.start, self.end])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def prompt(self, text: str) -> np.ndarray:
        """The ids of a text that goes on, start mark included, uncut: int32 (T,)."""
        return np.concatenate([np.array(self.start, dtype=np.int32), self._plain.tokens_of([text])[0]])

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        ids: Sequence[str] | None = None,
        ledger: Ledger | None = None,
    ) -> list[list[TextPiece]]:
        """The blocks of each row, in order. ``ledger`` is updated when given; ``ids`` name the rows in it."""
        ledger = Ledger() if ledger is None else ledger
        sides = [self._plain.tokens_of(side) for side in (texts, pairs) if side is not None]
        rows = []
        for tokens in zip(*sides, strict=True):
            end = np.array(self.end, dtype=np.int32)
            whole = np.concatenate(
                [np.array(self.start, dtype=np.int32), *(part for side in tokens for part in (side, end))]
            )
            step = self.max_length - 1
            pieces = [TextPiece(whole[at : at + self.max_length]) for at in range(0, max(1, len(whole) - 1), step)]
            self._count(tokens, pieces, ledger)
            rows.append(pieces)
        return rows

    def _count(self, sides: Sequence[np.ndarray], pieces: Sequence[TextPiece], ledger: Ledger) -> None:
        ledger.rows += 1
        ledger.pieces += len(pieces)
        ledger.tokens += sum(len(piece.input_ids) for piece in pieces)
        ledger.window_rows += len(pieces) > 1
        ledger.empty_rows += all(len(side) == 0 for side in sides)
        unknown_id = self.tokenizer.unk_token_id
        unknown = 0 if unknown_id is None else sum(int((side == unknown_id).sum()) for side in sides)
        ledger.unknown_tokens += unknown
        ledger.unknown_rows += unknown > 0
