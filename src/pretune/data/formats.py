"""What every reader gives: the rows of one file in chunks, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ABSENT", "CHUNK_CHARACTERS", "Chunk", "Options", "Table", "chunk_rows"]

CHUNK_CHARACTERS = 8 * 2**20
"""Characters a chunk holds, about: bounds the memory of a reader."""

ABSENT = object()
"""Stands for a key that a JSON row does not have (null is None)."""


@dataclass(frozen=True)
class Options:
    """How text files are to be read; None or "auto" where that is found by looking."""

    header: str = "auto"
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Chunk:
    """Some rows. ``numbers`` are their row numbers in the file (from 1); ``column`` gives the values of a column."""

    numbers: Sequence[int]
    column: Callable[[str], Sequence[Any]]


@dataclass
class Table:
    """The rows of one file. ``chunks`` can be consumed once.

    ``named`` is False when the columns are called by position ("0", "1", ...). ``class_names`` holds, for a column
    of class indices, the names that the file itself gives them; ``roles`` the meaning of columns that the format fixes
    (role to column), ``media`` the kind (image, audio) of columns whose schema says that they hold such files.
    """

    columns: tuple[str, ...]
    named: bool
    chunks: Iterator[Chunk]
    facts: dict[str, Any] = field(default_factory=dict)
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)


def chunk_rows(rows: int, characters: int) -> int:
    """Rows to read next so that a chunk stays near ``CHUNK_CHARACTERS``, after ``rows`` rows of so many characters."""
    return max(1, min(20_000, CHUNK_CHARACTERS * max(1, rows) // max(1, characters)))
