"""Bounds of what a Parquet or Arrow file may grow to: a dictionary of one long text makes gigabytes of a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from pretune.data.archives.streams import MAX_RATIO, RATIO_FROM_BYTES
from pretune.errors import DataError

__all__ = ["Growth", "cells_of", "column_chunks", "safe_rows", "whole"]

_BATCH_BYTES, _HELD_BYTES = 256 * 2**20, 16 * 2**20
_MOST_ROWS = 5_000
_DICTIONARY_PAGE = 2
_HEADER_BYTES = 64


class Growth:
    """Counts the bytes that the rows of a file of ``stored`` bytes hold; too many for its size raise :class:`DataError`."""

    def __init__(self, name: str, stored: int) -> None:
        self.name, self.stored, self.total = name, max(1, stored), 0

    def declared(self, plain_bytes: int) -> None:
        """Check what the file says that its pages unpack to."""
        if plain_bytes > RATIO_FROM_BYTES and plain_bytes > MAX_RATIO * self.stored:
            raise DataError(
                f"{self.name} unpacks to more than {MAX_RATIO} times its size, as a decompression bomb does",
                "read it yourself if you trust it, and write its rows as JSON lines",
            )

    def count(self, plain_bytes: int) -> None:
        """Count bytes of rows that were read."""
        self.total += plain_bytes
        self.declared(self.total)

    def watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same rows, counted; small batches are put together while they are few bytes."""
        held: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in map(whole, batches):
            plain = sum(_plain_bytes(column) for column in batch.columns)
            self.count(plain)
            if held and (rows + batch.num_rows > _MOST_ROWS or size + plain > _HELD_BYTES):
                yield _joined(held)
                held, rows, size = [], 0, 0
            held.append(batch)
            rows, size = rows + batch.num_rows, size + plain
        if held:
            yield _joined(held)


def whole(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, checked before a value of it is read: a damaged file could otherwise point outside its own memory."""
    batch.validate(full=True)
    return batch


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def _plain_bytes(column: pa.Array) -> int:
    """Bytes of a column where each row holds its own value."""
    if not isinstance(column, pa.DictionaryArray):
        return column.nbytes
    words = column.dictionary
    if not (pa.types.is_string(words.type) or pa.types.is_large_string(words.type) or pa.types.is_binary(words.type)):
        return column.nbytes + 8 * len(column)
    lengths = pc.take(pc.binary_length(words), column.indices)  # pyright: ignore[reportAttributeAccessIssue]
    return pc.sum(lengths).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]


def cells_of(column: pa.Array) -> list[Any]:
    """The values of a column; rows with one value of a dictionary share it."""
    if not isinstance(column, pa.DictionaryArray):
        return column.to_pylist()
    words = column.dictionary.to_pylist()
    return [None if index is None else words[index] for index in column.indices.to_pylist()]


def column_chunks(metadata: Any) -> Iterator[Any]:
    """The metadata of every column of every row group."""
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        yield from map(rows.column, range(rows.num_columns))


def safe_rows(metadata: Any, place: str | BinaryIO) -> int:
    """Rows to decode at once so that they stay under 256 MiB even if each holds the whole dictionary of its column."""
    rows = _MOST_ROWS
    for group in range(metadata.num_row_groups):
        of_group = metadata.row_group(group)
        for chunk in map(of_group.column, range(of_group.num_columns)):
            if chunk.physical_type == "BYTE_ARRAY" and (most := _dictionary_bytes(chunk, place)):
                values_a_row = max(1.0, chunk.num_values / max(1, of_group.num_rows))
                rows = min(rows, int(_BATCH_BYTES / (most * values_a_row)))
    return max(1, rows)


def _dictionary_bytes(chunk: Any, place: str | BinaryIO) -> int:
    """Unpacked bytes of a column's dictionary, 0 where it has none, by the header of its first page (parquet-format, PageHeader:
    field 1 is the kind of page, field 2 its unpacked size, in Thrift's compact protocol).
    """
    offset = chunk.dictionary_page_offset or chunk.data_page_offset
    if isinstance(place, str):
        with open(place, "rb") as file:
            file.seek(offset)
            head = file.read(_HEADER_BYTES)
    else:
        place.seek(offset)
        head = place.read(_HEADER_BYTES)
    kind, size = _two_numbers(head)
    return size if kind == _DICTIONARY_PAGE else 0


def _two_numbers(head: bytes) -> tuple[int, int]:
    """Fields 1 and 2 of a struct of two 32-bit numbers, (-1, 0) where something else stands there."""
    found, at = [], 0
    for _ in range(2):
        if at >= len(head) or head[at] != 0x15:  # one field further, an i32
            return -1, 0
        number = shift = 0
        at += 1
        while at < len(head):
            byte = head[at]
            number, shift, at = number | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                break
        found.append(number >> 1 ^ -(number & 1))
    return found[0], found[1]
