"""Rows to predict, one after the other, in bounded memory: the readers of ``read`` without its tables on disk."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

from pretune.data.columns import find_roles, parse_columns
from pretune.data.encodings import check_encoding_name
from pretune.data.formats import Options, Table
from pretune.data.formats_folder import find_place
from pretune.data.formats_json import jsonl_batches, jsonl_rows, looks_like_json_lines
from pretune.data.formats_lines import line_chunks
from pretune.data.formats_open import reading
from pretune.data.prepare import prepared_tables
from pretune.data.rows import RowMaker, Rows
from pretune.data.splits import COLUMNS
from pretune.data.store import canonical_columns
from pretune.errors import DataError

__all__ = ["stream_rows"]

_INPUT = "standard input"


def stream_rows(
    place: str,
    *,
    columns: tuple[str, ...] = (),
    header: str = "auto",
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows as ``{"id", "text", "text_pair"?, "label"?}`` from a file, folder, archive, or ``-``: standard input, with a JSON
    object or a text on each line.

    Rows come in the order of the files' names; a row without a label has no ``label``. Raises :class:`DataError`.
    """
    asked = parse_columns(columns)
    options = Options(header, delimiter, check_encoding_name(encoding) if encoding is not None else None)
    if place == "-":
        yield from _from_input(sys.stdin.buffer, asked, options)
        return
    with reading(place):
        found = find_place(place)
    for prepared in prepared_tables(found, asked, options, in_order=True):
        with reading(prepared.name):
            for chunk in prepared.chunks:
                yield from _dicts(prepared.maker(chunk))


def _dicts(rows: Rows) -> Iterator[dict[str, Any]]:
    columns = canonical_columns(rows, labels=True)
    names = [name for name in COLUMNS if name in columns]
    for values in zip(*(columns[name] for name in names), strict=True):
        yield {
            name: value
            for name, value in zip(names, values, strict=True)
            if not (value is None and name in ("label", "labels", "group"))
        }


def _from_input(stream: BinaryIO, asked: Mapping[str, str], options: Options) -> Iterator[dict[str, Any]]:
    """Rows as soon as their line has arrived, so that a program can talk to ``predict`` through a pipe."""
    lines = _decoded(stream, options.encoding or "utf-8-sig")
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(
            "standard input holds no rows", 'give one text, or one object such as {"text": "..."}, on each line'
        )
    every = chain([first], lines)
    if not looks_like_json_lines([first]):
        table = Table(("0",), False, line_chunks(every, {}, rows=1), roles={"text": "0"})
    else:
        table = jsonl_rows(jsonl_batches(every, _INPUT, rows=1), _INPUT)
    sample = [next(table.chunks)]
    roles = find_roles(table, sample, asked, _INPUT)
    maker = RowMaker(table, roles, _INPUT)
    for chunk in chain(sample, table.chunks):
        yield from _dicts(maker(chunk))


def _decoded(stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines as text; UTF-8 is read strictly. The row numbers count from the first line that is not blank."""
    decoder = codecs.getincrementaldecoder(encoding)()
    held, number = "", 0
    while data := stream.readline(2**20):
        try:
            held += decoder.decode(data)
        except UnicodeError as error:
            raise DataError(
                f"standard input, line {number + 1}, is not {encoding}: {error}", "give its encoding with --encoding"
            ) from None
        if "\0" in held:
            raise DataError(f"standard input, line {number + 1}, holds a NUL byte", "give lines of text or JSON")
        if held.endswith("\n"):
            number += 1
            yield held
            held = ""
    if held:
        yield held
