"""Rows of conversations as tokens, each with what of it is learned.

Shapes: N rows, T tokens of a conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import TargetText
from pretune.modalities.text.chat import ChatEncoder
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.types import Encoded
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["ChatRows", "bytes_in", "chat_item", "store_chats", "turns_of"]

_NAMED = 3


def turns_of(row: Mapping[str, Any], answer: str | None = None) -> list[dict[str, str]]:
    """The turns of a row: those it has, else its text as the user's; with the ``answer`` behind them where it is known."""
    before = row.get("turns") or [{"role": "user", "content": row["text"]}]
    return [*before, *([] if answer is None else [{"role": "assistant", "content": answer}])]


def chat_item(name: str, ids_T: np.ndarray, learned_T: np.ndarray, *, known: bool, cost: int, weight: float = 1.0) -> Encoded:  # fmt: skip
    """An item; ``known``: does it end in an answer?"""
    return Encoded(name, {"input_ids": ids_T, "learned": learned_T}, cost, True if known else None, weight)


def bytes_in(learned_T: np.ndarray) -> int:
    """Bytes of the answers that are learned."""
    return int(np.maximum(learned_T.astype(np.int64) - 1, 0).sum())


class _Conversations:
    """The turns of each row in place of its text."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.column_names = ["id", "text"]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, rows: slice) -> dict[str, list[Any]]:
        found = self._dataset[rows]
        names = [name for name in ("text", "turns", "target") if name in found]
        cells = [dict(zip(names, values, strict=True)) for values in zip(*(found[name] for name in names), strict=True)]
        return {"id": found["id"], "text": [turns_of(cell, next(iter(cell.get("target") or ()), None)) for cell in cells]}  # fmt: skip


def store_chats(dataset: Dataset, encoder: ChatEncoder, *, fingerprint: str) -> ChatRows:
    """The tokens of a data set's conversations, kept on disk under ``fingerprint``. Raises :class:`~pretune.errors.DiskFull`."""
    facade: Any = _Conversations(dataset)
    return ChatRows(dataset, encode_dataset(facade, encoder, fingerprint=f"{fingerprint}:chat"), encoder.max_length)


class ChatRows:
    """Items by number; the ledger tells which conversations do not fit."""

    def __init__(self, dataset: Dataset, store: TokenStore, most: int) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._store = store
        targets = dataset[TargetText.kind] if TargetText.kind in dataset.column_names else [None] * len(dataset)
        self._known_N = np.fromiter((bool(texts) for texts in targets), bool, len(dataset))
        self.lengths_N = store.lengths
        self.ledger: dict[str, Any] = {**store.ledger.to_dict(), **_told(store, most)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        piece = self._store.piece(index)
        assert piece.segment_ids is not None, "it says what is learned"
        name, known = self._ids[index].as_py(), bool(self._known_N[index])
        return chat_item(name, piece.input_ids, np.asarray(piece.segment_ids), known=known, cost=len(piece.input_ids))


def _told(store: TokenStore, most: int) -> dict[str, Any]:
    """A sentence on conversations that are longer than the context."""
    if not (cut := store.ledger.truncated_rows):
        return {}
    named = ", ".join(f"{row} (-{counted(lost, 'token')})" for row, lost in store.ledger.worst[:_NAMED])
    note = (
        f"{counted(cut)} {agree(cut, 'are conversations', 'is a conversation')} longer than the context of {most} tokens: the first exchanges were left out, the turn of the system "
        f"and the last exchange stay; of what was longer still the end of the question, then of the answer: {named}"
    )
    return {"notes": [note]}
