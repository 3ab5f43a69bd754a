"""Rows of texts as tokens on disk, as objectives without labels read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pretune.modalities.text.store import RowEncoder, TokenStore, encode_dataset
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.tasks.protocols import EncodedRows

__all__ = ["TokenRows", "store_of"]


class TokenRows:
    """A :class:`TokenStore` as encoded rows."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self.lengths_N = store.lengths
        self.ledger: dict[str, Any] = store.ledger.to_dict()

    @classmethod
    def of(cls, dataset: Dataset, encoder: RowEncoder, *, fingerprint: str) -> TokenRows:
        """The rows of a data set, kept on disk under ``fingerprint``."""
        return cls(encode_dataset(dataset, encoder, fingerprint=fingerprint))

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Encoded:
        piece = self.store.piece(index)
        return Encoded(str(self.store.rows[index]), {"input_ids": piece.input_ids}, len(piece.input_ids))


def store_of(rows: EncodedRows) -> TokenStore:
    """The tokens of rows that an objective encoded."""
    assert isinstance(rows, TokenRows)
    return rows.store
