"""Several labels a row: how one cell says them, and how columns of 0 and 1 do.

An empty cell (an empty list, an empty word) says that none of the labels applies; a missing one (null, NaN) says nothing.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pretune.data.columns.names import plain_name
from pretune.data.formats.base import ABSENT, Chunk, Table
from pretune.data.labels.words import MISSING_WORDS
from pretune.errors import DataError, did_you_mean

__all__ = ["holds_lists", "holds_several", "is_missing", "join_indicators", "parts_of"]

_STRONG, _WEAK = re.compile(r"[;|；]"), re.compile(r"[,，、]")
_NUMBERS = re.compile(r"\d+(,\d+)*")
_WRITTEN = re.compile(r"\[.*\]", re.DOTALL)
_MARKS = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
    **dict.fromkeys(("0", "0.0", "false", "no"), False),
    **dict.fromkeys(("", "-1", "-1.0", *(word.casefold() for word in MISSING_WORDS)), None),
}


def is_missing(cell: Any) -> bool:
    """Whether nothing is said: no key, null, NaN or a word for it."""
    if isinstance(cell, str):
        return cell.strip() in MISSING_WORDS
    return cell is None or cell is ABSENT or (isinstance(cell, float) and math.isnan(cell))


def parts_of(cell: Any) -> list[Any] | None:
    """The labels that a cell names, as they stand there; None where it is missing.

    A list is taken as it is, and so is one written out (``['joy', 'fear']``). Words are cut at ``;`` and ``|``, and at commas
    where there is neither.
    """
    if is_missing(cell):
        return None
    if not isinstance(cell, str):
        return list(cell) if isinstance(cell, (list, tuple)) else [cell]
    text = cell.strip()
    if not _WRITTEN.fullmatch(text):
        return _cut(text)
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return list(read(text))
    inside = text[1:-1].strip()  # as an array prints: [0 14]
    return _cut(inside) if _STRONG.search(inside) or _WEAK.search(inside) else inside.split()


def _cut(text: str) -> list[Any]:
    parts = (_STRONG if _STRONG.search(text) else _WEAK).split(text)
    return [part for part in parts if part.strip()]


def holds_lists(cells: Sequence[Any]) -> bool:
    """Whether the cells that are filled are lists, or lists written out: a word in brackets alone (``[POS]``) is none."""
    filled = [cell for cell in cells if not is_missing(cell) and cell != ""]
    whole = all(
        isinstance(cell, (list, tuple)) or (isinstance(cell, str) and bool(_WRITTEN.fullmatch(cell.strip())))
        for cell in filled
    )
    return whole and any(not isinstance(cell, str) or _surely_written(cell.strip()) for cell in filled)


def _surely_written(text: str) -> bool:
    """Whether brackets hold nothing, numbers, quoted words or several words between commas."""
    inside = text[1:-1].strip()
    if inside[:1] in ("", '"', "'") or _STRONG.search(inside) or _WEAK.search(inside):
        return True
    return all(word.lstrip("-").replace(".", "", 1).isdigit() for word in inside.split())


def holds_several(column: str, cells: Sequence[Any], *, classes_named: bool) -> bool:
    """Whether words of a column that was taken as the label name several labels each.

    So it is with numbers such as ``4,27`` where a file beside the data names the classes (``classes_named``), and in a column
    called ``labels`` whose words are made of no more parts than there are words.
    """
    words = {cell.strip() for cell in cells if isinstance(cell, str) and not is_missing(cell)} - {""}
    if classes_named and any("," in word for word in words) and all(map(_NUMBERS.fullmatch, words)):
        return True
    if plain_name(column) != "labels":
        return False
    cut = [_cut(word) for word in words]
    return any(len(parts) > 1 for parts in cut) and len({part.strip() for parts in cut for part in parts}) <= len(words)


def join_indicators(table: Table, wanted: str | None, name: str) -> Table:
    """The table with the columns that ``wanted`` lists (``toxic,insult``) made one, called so: the names of those that hold 1.

    A row with a missing value (empty, null, -1) in one of them has no list. The table as it is where ``wanted`` is one
    column or None. Raises :class:`DataError` for a column that is not there.
    """
    if not wanted or wanted in table.columns or "," not in wanted:
        return table
    columns = tuple(part.strip() for part in wanted.split(","))
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"--column labels={wanted}: {name} has no column {column!r}", did_you_mean(column, table.columns)
            )

    def joined(chunk: Chunk) -> Chunk:
        def where(number: int) -> str:
            return table.row_name(name, number)

        return Chunk(
            chunk.numbers,
            lambda key: _indicated(chunk, columns, where) if key == wanted else chunk.column(key),
        )

    rest = tuple(column for column in table.columns if column not in columns)
    return replace(table, columns=(*rest, wanted), chunks=map(joined, table.chunks))


def _indicated(chunk: Chunk, columns: Sequence[str], where: Callable[[int], str]) -> list[list[str] | None]:
    marks = [_marks(chunk, column, where) for column in columns]
    return [
        None if None in row else [column for column, applies in zip(columns, row, strict=True) if applies]
        for row in zip(*marks, strict=True)
    ]


def _marks(chunk: Chunk, column: str, where: Callable[[int], str]) -> list[bool | None]:
    found = []
    for number, value in zip(chunk.numbers, chunk.column(column), strict=True):
        word = "" if is_missing(value) else str(value).strip().casefold()
        if word not in _MARKS:
            raise DataError(
                f"{where(number)} has {str(value)[:40]!r} in the column {column!r}, which --column labels= names beside others",
                "such columns hold 1 where their label applies and 0 where not; name one column to read words",
            )
        found.append(_MARKS[word])
    return found
