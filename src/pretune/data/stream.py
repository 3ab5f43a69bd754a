"""Rows to predict, one after the other, in bounded memory: the readers of ``read`` without its tables on disk."""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

from pretune.data.columns import find_roles, parse_columns
from pretune.data.encodings import check_encoding_name
from pretune.data.formats import Options, Table
from pretune.data.formats_dialect import parse_delimiter
from pretune.data.formats_folder import find_place
from pretune.data.formats_header import header_delimiter
from pretune.data.formats_json import jsonl_batches, jsonl_rows, looks_like_json_lines
from pretune.data.formats_lines import line_chunks
from pretune.data.formats_open import reading
from pretune.data.formats_table import piped_table
from pretune.data.media import BrokenMedia
from pretune.data.media_find import free_finder
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
    format: str = "auto",  # noqa: A002 - the flag's name
    modality: str = "text",
    on_left_out: Callable[[BrokenMedia], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows as ``{"id", "text", "text_pair"?, "label"?}`` from a file, folder, archive, or ``-``: standard input, with a JSON
    object or a text on each line, or a CSV or TSV whose first line names the columns. Rows of pictures or clips have
    ``image`` or ``audio`` and what is known of the file.

    ``modality`` (``image``, ``audio``) refuses rows of another kind, and on standard input reads each line that is not JSON
    as a path. Rows come in the order of the files' names; a row without a label has no ``label``. ``on_left_out`` is told of
    each file that cannot be used; without it such a file is an error. Raises :class:`DataError`.
    """
    asked = parse_columns(columns)
    encoding = check_encoding_name(encoding) if encoding is not None else None
    options = Options(header, delimiter, encoding, format, names=tuple(asked.values()))
    if place == "-":
        yield from _from_input(sys.stdin.buffer, asked, options, modality, on_left_out)
        return
    with reading(place):
        found = find_place(place, options, ask=False)
    for prepared in prepared_tables(found, asked, options, in_order=True):
        _check_kind(prepared.maker, prepared.name, modality)
        with reading(prepared.name), _telling(prepared.maker, on_left_out) as maker:
            for chunk in prepared.chunks:
                yield from _dicts(maker(chunk))


def _check_kind(maker: RowMaker, name: str, modality: str) -> None:
    found = maker.media.kind if maker.media is not None else "text"
    if modality not in ("text", found):
        words = {"text": "text", "image": "pictures", "audio": "clips of sound"}
        raise DataError(
            f"{name} holds {words[found]}, and {words[modality]} are needed",
            f"give such files, a folder of them, or a table and --column {modality}=NAME",
        )


@contextlib.contextmanager
def _telling(maker: RowMaker, on_left_out: Callable[[BrokenMedia], None] | None) -> Iterator[RowMaker]:
    """The maker, whose lost files are told or raised; its threads end with it."""
    if maker.media is None:
        yield maker
        return
    maker.media.on_lost = on_left_out or _refuse
    try:
        yield maker
    finally:
        maker.media.close()


def _refuse(error: BrokenMedia) -> None:
    raise error


def _dicts(rows: Rows) -> Iterator[dict[str, Any]]:
    columns = canonical_columns(rows, labels=True)
    names = [name for name in COLUMNS if name in columns]
    for values in zip(*(columns[name] for name in names), strict=True):
        yield {
            name: value
            for name, value in zip(names, values, strict=True)
            if not (value is None and name in ("label", "labels", "group"))
        }


def _from_input(
    stream: BinaryIO,
    asked: Mapping[str, str],
    options: Options,
    modality: str,
    on_left_out: Callable[[BrokenMedia], None] | None,
) -> Iterator[dict[str, Any]]:
    """Rows as soon as their line has arrived, so that a program can talk to ``predict`` through a pipe."""
    lines = _decoded(stream, options.encoding or "utf-8-sig")
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(
            "standard input holds no rows", 'give one text, or one object such as {"text": "..."}, on each line'
        )
    every = chain([first], lines)
    if looks_like_json_lines([first]):
        table = jsonl_rows(jsonl_batches(every, _INPUT, rows=1), _INPUT)
    elif (mark := _delimiter_of(first, asked, options)) is not None:
        table = piped_table(every, _INPUT, mark, header=options.header != "no")
    else:
        table = Table(("0",), False, line_chunks(every, {}, rows=1), roles={modality: "0"}, by_line=True)
    sample = [chunk for chunk in [next(table.chunks, None)] if chunk is not None]
    if not sample:
        raise DataError("standard input holds column names and no rows", "give a row on each line after them")
    roles = find_roles(table, sample, _with_media(asked, table), _INPUT)
    maker = RowMaker(table, roles, _INPUT, find=free_finder)
    _check_kind(maker, _INPUT, modality)
    with _telling(maker, on_left_out):
        for chunk in chain(sample, table.chunks):
            yield from _dicts(maker(chunk))


def _delimiter_of(first: str, asked: Mapping[str, str], options: Options) -> str | None:
    """What separates columns, where the input is a table: one was told of, or the first line names columns."""
    if options.delimiter is not None:
        return parse_delimiter(options.delimiter)
    named = header_delimiter(first, asked.values())
    if named is None and (asked or options.header == "yes"):
        return "\t" if "\t" in first else ","
    return None if options.header == "no" and not asked else named


def _with_media(asked: Mapping[str, str], table: Table) -> dict[str, str]:
    """On standard input only a key called ``image`` or ``audio`` names a file: one row cannot tell more."""
    if {"image", "audio"} & asked.keys() or table.roles:
        return dict(asked)
    return {**asked, **{kind: kind if kind in table.columns else "" for kind in ("image", "audio")}}


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
