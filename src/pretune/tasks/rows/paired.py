"""Rows of two texts that are read one by one, as flat arrays on disk.

Shapes: N rows, T tokens of a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import TargetText
from pretune.modalities.text.encoder import TextPiece
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.modalities.text.encoder import TextEncoder

__all__ = ["PairedRows", "paired_item", "pieces_of", "second_column", "store_paired", "texts_in"]

_SIDES = ("input_ids", "pair_ids")
_SUMMED = ("tokens", "truncated_rows", "truncated_tokens", "unknown_tokens", "unknown_rows", "empty_rows")
_SEGMENTS = {"input_ids": "segment_ids", "pair_ids": "pair_segment_ids"}


def paired_item(
    name: str, first: TextPiece, second: TextPiece | None, target: float | None, weight: float = 1.0
) -> Encoded:
    """An item of one text, or of two; it costs the tokens of both."""
    arrays: dict[str, np.ndarray] = {}
    pieces = [piece for piece in (first, second) if piece is not None]
    for side, piece in zip(_SIDES, pieces, strict=False):
        arrays[side] = piece.input_ids
        if piece.segment_ids is not None:
            arrays[_SEGMENTS[side]] = piece.segment_ids
    return Encoded(name, arrays, sum(len(piece.input_ids) for piece in pieces), target, weight)


def pieces_of(rows: Sequence[Encoded]) -> tuple[list[TextPiece], list[int]]:
    """The first texts of all items and behind them the second ones; the places of the items that have one."""
    having = [place for place, row in enumerate(rows) if _SIDES[1] in row.arrays]
    wanted = [*((row, _SIDES[0]) for row in rows), *((rows[place], _SIDES[1]) for place in having)]
    return [TextPiece(row.arrays[side], row.arrays.get(_SEGMENTS[side])) for row, side in wanted], having


def second_column(dataset: Dataset) -> str | None:
    """Where the second texts stand: as the answer that belongs to the first (``target``), else beside it (``text_pair``); None for single texts."""
    return next((name for name in (TargetText.kind, "text_pair") if name in dataset.column_names), None)


def texts_in(rows: Mapping[str, Any], column: str) -> list[str]:
    """A column's texts, of several right ones the first; "" where there is none."""
    if column != TargetText.kind:
        return list(rows[column])
    return [texts[0] if texts else "" for texts in rows[column]]


class _Side:
    """A column of texts in place of both."""

    def __init__(self, dataset: Dataset, column: str) -> None:
        self._dataset, self._column = dataset, column
        self.column_names = ["id", "text"]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, rows: slice) -> dict[str, list[str]]:
        found = self._dataset[rows]
        return {"id": found["id"], "text": texts_in(found, self._column)}


def store_paired(
    encoder: TextEncoder, dataset: Dataset, targets: Sequence[float | None], *, fingerprint: str
) -> PairedRows:
    """The tokens of both texts of a data set's rows, from the cache when it has them. Raises :class:`~pretune.errors.DiskFull`."""
    sides: list[TokenStore] = []
    for column in ("text", second_column(dataset)):
        if column is not None:
            one: Any = _Side(dataset, column)
            sides.append(encode_dataset(one, encoder, fingerprint=f"{fingerprint}:alone:{column}"))
    return PairedRows(dataset, sides, targets)


class PairedRows:
    """Items by number. The ledger counts what is lost of both sides."""

    def __init__(self, dataset: Dataset, sides: Sequence[TokenStore], targets: Sequence[float | None]) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._sides, self._targets = sides, targets
        self.lengths_N = np.sum([side.lengths for side in sides], axis=0)
        self.ledger: dict[str, Any] = _together([side.ledger.to_dict() for side in sides])

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        first, *second = (side.piece(index) for side in self._sides)
        return paired_item(self._ids[index].as_py(), first, second[0] if second else None, self._targets[index])


def _together(ledgers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ledger of the first texts, what is counted in tokens being of both."""
    sums = {name: sum(one[name] for one in ledgers) for name in _SUMMED}
    worst = sorted((lost for one in ledgers for lost in one["worst"]), key=lambda lost: -lost[1])
    return {**ledgers[0], **sums, "worst": worst[: max(len(one["worst"]) for one in ledgers)]}
