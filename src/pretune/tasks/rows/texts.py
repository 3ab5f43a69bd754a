"""Rows of texts as blocks of tokens, for models that tell all of a text.

Shapes: N rows of the data, P blocks of all of them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.backbones.blocks import BlockEncoder
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["WholeTexts", "block_of", "bytes_of", "store_texts"]

_AT_A_TIME = 10_000


def store_texts(dataset: Dataset, encoder: BlockEncoder, *, fingerprint: str) -> WholeTexts:
    """The blocks of a data set's rows, kept on disk under ``fingerprint``."""
    return WholeTexts(encode_dataset(dataset, encoder, fingerprint=fingerprint), dataset)


def bytes_of(*texts: str | None) -> int:
    """Bytes of a row's texts in UTF-8."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if text is not None)


def block_of(name: str, ids_T: np.ndarray, blocks: int, own_bytes: int, weight: float = 1.0) -> Encoded:
    """An item: one of so many blocks of a row. The row's bytes stand in its first block, the others have none."""
    arrays = {"input_ids": ids_T, "row": np.array([blocks, own_bytes], dtype=np.int64)}
    return Encoded(name, arrays, len(ids_T), True, weight / blocks)


class WholeTexts:
    """Blocks by number; ``bytes_N`` of each row."""

    def __init__(self, store: TokenStore, dataset: Dataset) -> None:
        self.store = store
        self._dataset = dataset
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._row_P = np.asarray(store.rows)
        self._blocks_N = np.bincount(self._row_P, minlength=len(dataset))
        self.lengths_N = store.lengths
        self.ledger: dict[str, Any] = store.ledger.to_dict()

    @cached_property
    def bytes_N(self) -> np.ndarray:  # noqa: N802 - the suffix is the shape
        """Bytes of each row's texts in UTF-8, int64 (N,)."""
        columns = [name for name in ("text", "text_pair") if name in self._dataset.column_names]
        parts = [
            bytes_of(*texts)
            for at in range(0, len(self._dataset), _AT_A_TIME)
            for texts in zip(*(self._dataset[at : at + _AT_A_TIME][name] for name in columns), strict=True)
        ]
        return np.array(parts, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Encoded:
        row = int(self._row_P[index])
        is_first = index == 0 or int(self._row_P[index - 1]) != row
        own_bytes = int(self.bytes_N[row]) if is_first else 0
        return block_of(self._ids[row].as_py(), self.store.piece(index).input_ids, int(self._blocks_N[row]), own_bytes)
