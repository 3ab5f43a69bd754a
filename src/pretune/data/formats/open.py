"""The format of a file, found by its first bytes, its name and its first lines."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator
from dataclasses import replace
from itertools import islice

import pyarrow as pa

from pretune.data.archives.streams import Entry
from pretune.data.dialogue.chatterbot import CHAT_SUFFIXES, chat_table, is_chat
from pretune.data.formats.arrow import arrow_table, dataset_table, parquet_table
from pretune.data.formats.base import Options, Table
from pretune.data.formats.conll import conll_table, holds_tokens, slots_table
from pretune.data.formats.dialect import even_share, find_dialect, parse_delimiter
from pretune.data.formats.excel import EXCEL_SUFFIXES, excel_tables
from pretune.data.formats.header import header_delimiter
from pretune.data.formats.json import json_tables, jsonl_table, looks_like_json_lines
from pretune.data.formats.lines import (
    document_table,
    first_labels,
    label_delimiter,
    label_first_table,
    label_line_table,
    line_table,
)
from pretune.data.formats.media import media_table, speech_list_table, speech_list_width
from pretune.data.formats.table import delimited_table, tabbed
from pretune.data.parallel import parallel_table
from pretune.data.places.place import CONLL_SUFFIXES, Source
from pretune.data.text.encodings import find_encoding, open_text, read_lines
from pretune.errors import DataError

__all__ = ["open_source", "reading"]

_ALLOWED = (
    "allowed: CSV, TSV, Excel (.xlsx), JSON lines, JSON, Parquet, Arrow, CoNLL and plain text, also as .gz or .zip"
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive inside a folder or archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document, or one with a password"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "a program"),
)
_PICKLES = tuple(bytes([0x80, version]) for version in range(2, 6))
_SAMPLE_LINES = 2_000


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what libraries raise for a broken file into :class:`DataError` naming it."""
    try:
        yield
    except (pa.ArrowException, EOFError, UnicodeError, MemoryError, OSError) as error:
        if isinstance(error, DataError) or getattr(error, "errno", None) == 28:
            raise
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise DataError(
            f"{name} cannot be read: {text}", f"it may be damaged or truncated: copy it again. {_ALLOWED}"
        ) from None


def open_source(source: Source, options: Options) -> dict[str | None, Table]:
    """The tables of a source, by the split that the file itself names (None where it names none)."""
    with reading(source.name):
        if source.dataset is not None:
            return {None: dataset_table(source.dataset, "data set")}
        if source.table is not None:
            return {None: source.table()}
        if source.documents:
            return {None: document_table(source.entries, options.encoding)}
        if source.twins:
            return {None: slots_table(source.entries, options.encoding)}
        if source.parallel:
            return {None: parallel_table(source.entries, options)}
        if source.media is not None:
            return {None: media_table(source.entries, source.media, source.classes, source.masks)}
        found = _open(source.entries[0], options, source.stems)
        return {split: replace(table, stems=source.stems) for split, table in found.items()}


def _open(entry: Entry, options: Options, stems: Container[str]) -> dict[str | None, Table]:
    with entry.open() as stream:
        head = stream.read(16)
    if entry.suffix in EXCEL_SUFFIXES and head.startswith(b"PK"):
        return excel_tables(entry, options)
    _refuse_foreign(entry, head)
    if head.startswith(b"PAR1") or entry.suffix in (".parquet", ".pq"):
        return {None: parquet_table(entry)}
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or entry.suffix in (".arrow", ".feather"):
        return {None: arrow_table(entry)}
    encoding = find_encoding(entry, options.encoding)
    tables = _open_text(entry, encoding, options, stems)
    for table in tables.values():
        table.facts["encoding"] = encoding
    return tables


def _refuse_foreign(entry: Entry, head: bytes) -> None:
    if not head:
        raise DataError(f"{entry.name} is empty (0 bytes)", "give a file with rows")
    if head.startswith(_PICKLES):
        raise DataError(
            f"{entry.name} is a pickle, which can run code when it is read; it was not opened",
            "save the data as CSV, JSON lines or Parquet",
        )
    for mark, what in _FOREIGN:
        if head.startswith(mark):
            raise DataError(f"{entry.name} is {what}, not a table", _ALLOWED)


def _open_text(entry: Entry, encoding: str, options: Options, stems: Container[str]) -> dict[str | None, Table]:
    suffix = entry.suffix
    with open_text(entry.open(), encoding) as text:
        sample = list(islice(read_lines(text, entry.name), _SAMPLE_LINES))
    if not any(line.strip(" \t\r\n\ufeff") for line in sample[:1000]):
        raise DataError(f"{entry.name} holds no rows, only blank lines", "give a file with rows")
    if options.format != "auto":
        return {None: _as_told(entry, encoding, options, sample)}
    if suffix in (".jsonl", ".ndjson"):
        return {None: jsonl_table(entry, encoding)}
    if options.delimiter is None and (width := speech_list_width(entry, sample, stems)):
        return {None: speech_list_table(entry, encoding, width)}
    if suffix == ".json":
        lines = looks_like_json_lines(sample) and sum(1 for line in sample[:50] if line.strip()) > 1
        return {None: jsonl_table(entry, encoding)} if lines else json_tables(entry, encoding)
    if suffix in CHAT_SUFFIXES and is_chat(entry):
        return {None: chat_table(entry, encoding)}
    if suffix in CONLL_SUFFIXES or (suffix in (".tsv", ".tab") and options.header == "auto" and holds_tokens(sample)):
        return {None: conll_table(entry, encoding, sample)}
    if suffix in (".csv", ".tsv", ".tab"):
        return {None: delimited_table(entry, encoding, options, "," if suffix == ".csv" else "\t")}
    return {None: _plain(entry, encoding, options, sample)}


def _as_told(entry: Entry, encoding: str, options: Options, sample: list[str]) -> Table:
    """The table that ``--format`` asks for."""
    delimiter = parse_delimiter(options.delimiter) if options.delimiter is not None else None
    if options.format == "lines":
        return line_table(entry, encoding)
    if options.format == "conll":
        return conll_table(entry, encoding, sample)
    if options.format == "label-first":
        return label_first_table(entry, encoding, sample, delimiter)
    if options.format == "label-last":
        return label_line_table(entry, encoding, delimiter or label_delimiter(sample) or " ")
    return delimited_table(entry, encoding, options)


def _plain(entry: Entry, encoding: str, options: Options, sample: list[str]) -> Table:
    """A file whose name says only "text": JSON lines, a table, lines with a label before or behind, or one row a line."""
    if options.delimiter is not None:
        delimiter = parse_delimiter(options.delimiter)
        if delimiter in (",", "\t", ";"):
            return delimited_table(entry, encoding, options, delimiter)
        _check_last_labels(entry, sample, delimiter)
        return label_line_table(entry, encoding, delimiter)
    if looks_like_json_lines(sample):
        return jsonl_table(entry, encoding)
    if holds_tokens(sample):
        return conll_table(entry, encoding, sample)
    if tabbed(sample):
        return delimited_table(entry, encoding, options, "\t")
    if (mark := header_delimiter(sample[0].lstrip("\ufeff").rstrip("\r\n"), options.names)) and even_share(
        sample, find_dialect(sample, mark, mark)
    ) > 0.9:
        return delimited_table(entry, encoding, options, mark)
    words = first_labels(sample)
    if words and words[0].startswith("__label__"):
        return label_first_table(entry, encoding, sample)
    if mark := label_delimiter(sample):
        return label_line_table(entry, encoding, mark)
    if words:
        raise DataError(
            f"the lines of {entry.name} begin with one of {len(words)} words: {', '.join(words[:6])}{' ...' if len(words) > 6 else ''}; are these the labels?",
            "--format label-first reads them so; --format lines reads each line as a text without a label",
        )
    return line_table(entry, encoding)


def _check_last_labels(entry: Entry, sample: list[str], delimiter: str) -> None:
    """Refuse a ``--delimiter`` behind which no labels stand: nearly every line would have one of its own."""
    ends = [line.strip().rpartition(delimiter)[2] for line in sample if line.strip()]
    distinct = len(set(ends))
    if len(ends) < 10 or distinct <= len(ends) // 2:
        return
    first = first_labels(sample)
    raise DataError(
        f"--delimiter is {delimiter!r}, behind which {len(ends)} lines of {entry.name} end in {distinct} different words, such as {ends[0][:40]!r}: these are no labels",
        "--format label-first takes the word before the text" if first else "leave it out, or give the right one",
    )
