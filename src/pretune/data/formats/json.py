"""JSON lines and JSON documents as rows; arrays are read piece by piece, never as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TextIO

from pretune.data.archives.streams import Entry
from pretune.data.cells.squad import holds_articles, questions_of
from pretune.data.formats.base import ABSENT, CHUNK_CHARACTERS, Chunk, Table
from pretune.data.places.place import split_of_word
from pretune.data.text.encodings import open_text, read_lines
from pretune.errors import DataError

__all__ = ["json_tables", "jsonl_batches", "jsonl_rows", "jsonl_table", "looks_like_json_lines"]

_BLOCK_CHARACTERS = 2**20
_MAX_DOCUMENT_BYTES = 2 * 2**30
_SHAPES = 'an array of objects, {"data": [...]}, {"train": [...], "test": [...]}, or one object a line (JSON lines)'
_decoder = json.JSONDecoder(parse_constant=lambda _: None)  # NaN and infinities are not JSON: read as null


def looks_like_json_lines(sample: Sequence[str]) -> bool:
    """Whether the first line that is not blank is a whole JSON object."""
    first = next((line for line in sample if line.strip()), "").strip()
    if not first.startswith("{"):
        return False
    try:
        return isinstance(_decoder.decode(first), dict)
    except (ValueError, RecursionError):
        return False


def jsonl_table(entry: Entry, encoding: str) -> Table:
    """One object a line; blank lines are left out."""

    def lines() -> Iterator[str]:
        with open_text(entry.open(), encoding) as text:
            yield from read_lines(text, entry.name)

    return jsonl_rows(jsonl_batches(lines(), entry.name), entry.name)


def jsonl_batches(lines: Iterable[str], name: str, rows: int = 10_000) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Numbered objects in batches of at most ``rows``. Raises :class:`DataError` with the line that is not one."""
    batch: list[tuple[int, dict[str, Any]]] = []
    size = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        batch.append((number, _object(line, f"{name}:{number}")))
        size += len(line)
        if size >= CHUNK_CHARACTERS or len(batch) >= rows:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = _decoder.decode(line.strip().lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is not a JSON object: {error.msg} at column {error.colno}",
            "mend the line; each line is one whole object",
        ) from None
    except RecursionError:
        raise DataError(f"{where} is nested too deeply", "rows are flat objects with text and label") from None
    except ValueError as error:
        raise DataError(f"{where} cannot be read: {error}", "write very large numbers as strings") from None
    if not isinstance(value, dict):
        raise DataError(
            f"{where} is a JSON {type(value).__name__}, not an object",
            'each line looks like {"text": "...", "label": "..."}',
        )
    return value


def jsonl_rows(batches: Iterator[list[tuple[int, dict[str, Any]]]], name: str, kind: str = "JSON lines") -> Table:
    """The table of numbered objects; its columns are the keys of the first batch."""
    facts: dict[str, Any] = {"format": kind}
    first = next(batches, [])
    columns: dict[str, None] = {}
    for _, row in first:
        columns.update(dict.fromkeys(row))
    if not first:
        raise DataError(f"{name} holds no rows", "give a file with rows")

    def chunks() -> Iterator[Chunk]:
        batch = first
        while batch:
            rows = [row for _, row in batch]
            yield Chunk([number for number, _ in batch], lambda key, rows=rows: [row.get(key, ABSENT) for row in rows])
            batch = next(batches, [])

    return Table(tuple(columns), True, chunks(), facts, by_line=kind == "JSON lines")


def json_tables(entry: Entry, encoding: str) -> dict[str | None, Table]:
    """The tables of a JSON document by split name; the key is None where it names no splits."""
    with open_text(entry.open(), encoding) as text:
        start = text.read(4096).lstrip("\ufeff \t\r\n")
    if not start:
        raise DataError(f"{entry.name} is empty", "give a file with rows")
    if start.startswith("["):
        first = next(iter(_first_elements(entry, encoding)), None)
        if holds_articles([first]):
            with open_text(entry.open(), encoding) as text:
                return {None: _squad_table([row for row, _ in _elements(text, entry.name)], entry.name)}
        return {None: jsonl_rows(_array_batches(entry, encoding), entry.name, "JSON array")}
    return _document_tables(entry, encoding)


def _document_tables(entry: Entry, encoding: str) -> dict[str | None, Table]:
    if entry.size > _MAX_DOCUMENT_BYTES:
        raise DataError(
            f"{entry.name} is one JSON object of more than 2 GiB", "write it as JSON lines, one object a line"
        )
    with open_text(entry.open(), encoding) as text:
        document = _whole(text.read(), entry.name)
    if not isinstance(document, dict):
        raise DataError(f"{entry.name} holds a JSON {type(document).__name__}", f"allowed: {_SHAPES}")
    parts = {split_of_word(key): value for key, value in document.items() if split_of_word(key)}
    if parts and all(isinstance(value, list) for value in parts.values()):
        return {split: _rows_table(rows, f"{entry.name} ({split})") for split, rows in parts.items()}
    lists = [key for key, value in document.items() if isinstance(value, list)]
    key = "data" if "data" in lists else lists[0] if len(lists) == 1 else None
    if key is None:
        raise DataError(
            f"{entry.name} is a JSON object with the keys {', '.join(list(document)[:8])}", f"allowed: {_SHAPES}"
        )
    return {None: _rows_table(document[key], f"{entry.name} ({key})")}


def _whole(text: str, name: str) -> Any:
    try:
        return _decoder.decode(text.strip().lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        raise DataError(f"{name}:{error.lineno} is not valid JSON: {error.msg}", f"allowed: {_SHAPES}") from None
    except RecursionError:
        raise DataError(f"{name} is nested too deeply", f"allowed: {_SHAPES}") from None
    except ValueError as error:
        raise DataError(f"{name} cannot be read: {error}", "write very large numbers as strings") from None


def _rows_table(rows: list[Any], name: str) -> Table:
    if holds_articles(rows):
        return _squad_table(rows, name)
    numbered = [(number, _checked(row, number, name)) for number, row in enumerate(rows, 1)]
    return jsonl_rows(iter([numbered] if numbered else []), name, "JSON object")


def _squad_table(articles: list[Any], name: str) -> Table:
    numbered = list(enumerate(questions_of(articles, name), 1))
    return jsonl_rows(iter([numbered] if numbered else []), name, "SQuAD JSON")


def _checked(row: Any, number: int, name: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f"{name}: element {number} is a JSON {type(row).__name__}, not an object", f"allowed: {_SHAPES}"
        )
    return row


def _array_batches(entry: Entry, encoding: str) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    batch: list[tuple[int, dict[str, Any]]] = []
    with open_text(entry.open(), encoding) as text:
        for number, (row, seen) in enumerate(_elements(text, entry.name), 1):
            batch.append((number, _checked(row, number, entry.name)))
            if seen or len(batch) >= 10_000:
                yield batch
                batch = []
    if batch:
        yield batch


def _first_elements(entry: Entry, encoding: str) -> list[Any]:
    with open_text(entry.open(), encoding) as text:
        return [row for row, _ in islice(_elements(text, entry.name), 1)]


def _elements(text: TextIO, name: str) -> Iterator[tuple[Any, bool]]:
    """Elements of a JSON array, each with whether a chunk's worth of text has passed; the buffer holds a few only."""
    buffer = text.read(_BLOCK_CHARACTERS).lstrip("\ufeff \t\r\n")[1:]
    place, passed, number, need_comma = 0, 0, 0, False
    while True:
        place = _skip_space(buffer, place)
        if place < len(buffer) and buffer[place] == "]":
            return
        if need_comma and place < len(buffer):
            if buffer[place] != ",":
                raise _element_error(name, number + 1, "a comma is missing")
            place, need_comma = _skip_space(buffer, place + 1), False
        try:
            value, end = _decoder.raw_decode(buffer, place)
            whole = end < len(buffer)  # a number at the buffer's end may go on
        except json.JSONDecodeError as error:
            value, end, whole, problem = None, place, False, error.msg
        except RecursionError:
            raise _element_error(name, number + 1, "it is nested too deeply") from None
        except ValueError as error:
            raise _element_error(name, number + 1, str(error)) from None
        else:
            problem = "the array is not closed"
        if not whole:
            more = text.read(max(_BLOCK_CHARACTERS, len(buffer) - place))
            if not more:
                raise _element_error(name, number + 1, problem)
            buffer, place = buffer[place:] + more, 0
            continue
        number, passed, place, need_comma = number + 1, passed + end - place, end, True
        yield value, passed >= CHUNK_CHARACTERS
        passed = 0 if passed >= CHUNK_CHARACTERS else passed


def _skip_space(buffer: str, place: int) -> int:
    while place < len(buffer) and buffer[place] in " \t\r\n":
        place += 1
    return place


def _element_error(name: str, number: int, problem: str) -> DataError:
    return DataError(
        f"{name}: element {number} of the JSON array cannot be read: {problem}", f"mend the file; allowed: {_SHAPES}"
    )
