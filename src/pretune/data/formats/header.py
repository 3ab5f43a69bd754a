"""Does a text table begin with names of columns, and what stands above them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from pretune.data.columns.names import is_known_name, plain_name
from pretune.data.formats.dialect import CANDIDATES

__all__ = ["first_names", "has_header", "header_delimiter", "said_delimiter"]

_NAME_LIKE = re.compile(r"[^\W\d][\w .\-/#()]{0,39}")
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?\s*")
_NO_VALUE = ("", "na", "n/a", "nan", "none", "null", "nil", "-", "--", "?", "inf", "-inf", "missing")
_SAID = re.compile('\ufeff?"?sep=(.)"?[\\s,;]*', re.IGNORECASE)
_MOST_ABOVE, _LEAST_BELOW, _LONGEST_NAME = 20, 3, 80

Rows = Sequence[tuple[int, Sequence[str]]]


def said_delimiter(line: str) -> str | None:
    """The delimiter that a first line of Excel names (``sep=;``); None where the line says nothing of the kind."""
    said = _SAID.fullmatch(line.strip("\r\n"))
    return said[1] if said else None


def header_delimiter(line: str, asked: Collection[str] = ()) -> str | None:
    """What separates the column names of a table's first line, some of them usual ones or ``asked`` for; None where it is no
    such row of names.
    """
    for mark in CANDIDATES:
        cells = [cell.strip().strip('"') for cell in line.split(mark)]
        known = any(is_known_name(cell) or cell in asked for cell in cells)
        if len(cells) > 1 and known and all(_NAME_LIKE.fullmatch(cell) for cell in cells):
            return mark
    return None


def first_names(rows: Rows, asked: Collection[str]) -> int | None:
    """The place in ``rows`` (of line and cells) of the row that names the columns: 0, or more where titles stand above it.

    A title fills one cell at most. None where no row names the columns. ``asked`` are names that a person gave.
    """
    cells = [row for _, row in rows]
    for place, here in enumerate(cells[:_MOST_ABOVE]):
        below = cells[place + 1 :]
        if place and len(_filled(here)) == len(here) > 1 and below and has_header(here, below, asked):
            return place
        if len(_filled(here)) > 1 or (not place and _usual_names(here, asked)):
            break
    return 0 if cells and has_header(cells[0], cells[1:], asked) else None


def has_header(row: Sequence[str], others: Sequence[Sequence[str]], asked: Collection[str] = ()) -> bool:
    """Whether a row names the columns of ``others``.

    It does where it holds usual names or one that was ``asked`` for, where it has words over numbers, and where its cells
    are short and name-like, all different, and do not stand in their columns again.
    """
    first = [_plain(cell) for cell in row]
    filled = [cell for cell in first if cell]
    if not filled or _usual_names(row, asked):
        return bool(filled)
    if len(set(filled)) < len(filled):
        return False
    if _words_over_numbers(first, others):
        return True
    if not all(_NAME_LIKE.fullmatch(cell) for cell in filled):
        return False
    if any(row[i].strip() == cell for row in others for i, cell in enumerate(first) if i < len(row) and cell):
        return any(map(is_known_name, filled))
    lengths = [sum(len(row[i]) for row in others if i < len(row)) / max(1, len(others)) for i in range(len(first))]
    longest = max(range(len(first)), key=lengths.__getitem__)
    return bool(others) and len(first[longest].split()) <= 3 and len(first[longest]) * 1.5 < lengths[longest]


def _usual_names(row: Sequence[str], asked: Collection[str]) -> bool:
    """Whether a name that was asked for stands there, or enough usual ones."""
    filled = [_plain(cell) for cell in _filled(row)]
    wanted = {plain_name(name) for name in asked if not name.isdigit()}
    if wanted & {plain_name(cell) for cell in filled}:
        return True
    known = sum(map(is_known_name, filled))
    return bool(known) and (known >= 2 or len(filled) <= 3 or known >= len(filled) / 2)


def _plain(cell: str) -> str:
    return cell.strip().lstrip("\ufeff").strip()


def _filled(row: Sequence[str]) -> list[str]:
    return [cell for cell in row if _plain(cell)]


def _words_over_numbers(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether row 1 has words over all columns that hold numbers alone below it, and nothing in it is as long as a text."""
    if max(map(len, first)) > _LONGEST_NAME:
        return False
    found = False
    for place, cell in enumerate(first):
        below = [row[place].strip() for row in others if place < len(row)]
        values = [value for value in below if value.casefold() not in _NO_VALUE]
        if len(values) < _LEAST_BELOW or not all(map(_NUMBER.fullmatch, values)):
            continue
        if _NUMBER.fullmatch(cell):
            return False  # a row like the others, in which another column says no number
        found = found or cell.casefold() not in _NO_VALUE
    return found
