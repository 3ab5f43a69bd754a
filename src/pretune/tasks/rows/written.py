"""Rows of texts to be written, as flat arrays on disk: tokens of what is read, and tokens of what is written.

Shapes: N rows, T tokens read, L tokens written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.errors import DataError
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.types import Encoded
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.modalities.text.encoder import TextEncoder

__all__ = ["WrittenRows", "item_of", "right_texts", "store_written"]

_NAMED = 3


def item_of(name: str, source_T: np.ndarray, target_L: np.ndarray | None, weight: float = 1.0) -> Encoded:
    """An item; it costs the tokens of both sides."""
    cost = len(source_T) + (0 if target_L is None else len(target_L))
    target = None if target_L is None else tuple(target_L.tolist())
    return Encoded(name, {"input_ids": source_T}, cost, target, weight)


def store_written(reader: TextEncoder, writer: TextEncoder, dataset: Dataset, *, fingerprint: str) -> WrittenRows:
    """The tokens of both sides of a data set's rows, from the cache when it has them. Raises :class:`~pretune.errors.DiskFull`."""
    read = encode_dataset(dataset, reader, fingerprint=fingerprint)
    if "target" not in dataset.column_names:
        return WrittenRows(dataset, read, None)
    written: Any = _Targets(dataset)
    return WrittenRows(dataset, read, encode_dataset(written, writer, fingerprint=f"{fingerprint}:target"))


def right_texts(ids: Sequence[str], cells: Sequence[Sequence[str]], lacks: str) -> list[str | list[str]]:
    """The right text of each row, or a list of several. Raises :class:`DataError` where a row has none; ``lacks`` says so of row {row}."""
    if lacking := [row for row, texts in zip(ids, cells, strict=True) if not texts]:
        raise DataError(lacks.format(row=lacking[0]), "give every row of the split one, or use pretune predict")
    return [texts[0] if len(texts) == 1 else list(texts) for texts in cells]


class _Targets:
    """The first target text of each row in place of its text; "" where there is none."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.column_names = ["id", "text"]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, rows: slice) -> dict[str, list[str]]:
        found = self._dataset[rows]
        return {"id": found["id"], "text": [texts[0] if texts else "" for texts in found["target"]]}


class WrittenRows:
    """Items by number. Batches are put together by the tokens that are written, then by those that are read (``order_N``), so that little of either
    is padding. The ledger counts what is lost of both sides."""

    def __init__(self, dataset: Dataset, read: TokenStore, written: TokenStore | None) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._read, self._written = read, written
        self._known_N = np.zeros(len(dataset), dtype=bool)
        lengths_N = np.zeros(len(dataset), dtype=np.int64)
        if written is not None:
            self._known_N = np.fromiter((bool(texts) for texts in dataset["target"]), bool, len(dataset))
            lengths_N = np.where(self._known_N, written.lengths, 0)
        self.lengths_N = read.lengths + lengths_N
        self.order_N = lengths_N * (int(read.lengths.max(initial=0)) + 1) + read.lengths
        self.ledger: dict[str, Any] = {**read.ledger.to_dict(), **self._losses()}

    def _losses(self) -> dict[str, Any]:
        """What is told of the texts to be written: those that are longer than the model can write."""
        if self._written is None or not (cut := self._written.ledger.truncated_rows):
            return {}
        worst = self._written.ledger.worst[:_NAMED]
        named = ", ".join(f"{row} (-{counted(lost, 'token')})" for row, lost in worst)
        note = (
            f"{counted(cut, 'target text')} {agree(cut, 'are', 'is')} longer than the model can write, "
            f"{counted(self._written.ledger.truncated_tokens, 'token')} {agree(cut, 'were', 'were')} cut off: {named}"
        )
        return {"truncated_targets": cut, "notes": [note]}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        target = None
        if self._written is not None and self._known_N[index]:
            target = self._written.piece(index).input_ids
        return item_of(self._ids[index].as_py(), self._read.piece(index).input_ids, target)

    def ratios(self) -> Sequence[float]:
        """Tokens written for each token read, of the rows with a target text."""
        if self._written is None:
            return ()
        return (self._written.lengths[self._known_N] / np.maximum(self._read.lengths[self._known_N], 1)).tolist()

    def __iter__(self) -> Iterator[Encoded]:
        return (self[index] for index in range(len(self)))
