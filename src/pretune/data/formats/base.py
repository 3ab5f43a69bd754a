"""What every reader gives: the rows of one file in chunks, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pretune.config import DataSettings
from pretune.data.remote.copies import local

__all__ = ["ABSENT", "CHUNK_CHARACTERS", "Chunk", "Options", "Table", "chunk_rows", "options_of"]

CHUNK_CHARACTERS = 8 * 2**20
"""Characters a chunk holds, about: bounds the memory of a reader."""

ABSENT = object()
"""Stands for a key that a JSON row does not have (null is None)."""


@dataclass(frozen=True)
class Options:
    """How files are to be read, and what their names are to mean; None or "auto" where that is found by looking.

    The fields are those of :class:`pretune.config.DataSettings` that say so; ``names`` are the columns that were asked for by name.
    """

    header: str = "auto"
    delimiter: str | None = None
    encoding: str | None = None
    format: str = "auto"
    test_fold: str | None = None
    splits: str = "auto"
    files: str | None = None
    trust_paths: bool = False
    group_from: str | None = None
    ignore_class: tuple[str, ...] = ()
    unlabelled_is: str = "skip"
    poses: str = "auto"
    names: tuple[str, ...] = ()


def options_of(settings: DataSettings, names: Iterable[str] = ()) -> Options:
    """The part of the settings that readers of files are told, and the columns asked for by name."""
    told = {spec.name: getattr(settings, spec.name) for spec in fields(Options) if spec.name != "names"}
    told["files"] = local(settings.files)
    return Options(**told, names=tuple(sorted(names)))


@dataclass(frozen=True)
class Chunk:
    """Some rows. ``numbers`` are their lines in the file, or their numbers among its rows (from 1); ``column`` gives the values of
    a column.
    """

    numbers: Sequence[int]
    column: Callable[[str], Sequence[Any]]


@dataclass
class Table:
    """The rows of one file. ``chunks`` can be consumed once.

    ``named`` is False when the columns are called by position ("0", "1", ...). ``by_line`` says that rows are numbered by the
    line on which they begin. ``class_names`` holds, for a column of class indices, the names that the file itself gives them;
    ``roles`` the meaning of columns that the format fixes (role to column), ``media`` the kind (image, audio) of columns whose
    schema says that they hold such files. ``notes`` are sentences for people. ``in_folders``: each row is a file, and the columns
    folder:1, folder:2 ... name the folders it lies in (see ``folder_names``). ``stems`` are the names without suffix of the
    pictures and clips that rows may name, with the kind of each.
    """

    columns: tuple[str, ...]
    named: bool
    chunks: Iterator[Chunk]
    facts: dict[str, Any] = field(default_factory=dict)
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    by_line: bool = False
    notes: list[str] = field(default_factory=list)
    in_folders: bool = False
    stems: Mapping[str, str] = field(default_factory=dict)

    def row_name(self, name: str, number: int) -> str:
        """What a row of this table is called: ``news.csv:12``, its line, or ``news.parquet row 11``."""
        return self.row_names(name, [number])[0]

    def row_names(self, name: str, numbers: Iterable[int]) -> list[str]:
        """:meth:`row_name` of many rows."""
        before = f"{name}:" if self.by_line else f"{name} row "
        return [f"{before}{number}" for number in numbers]


def chunk_rows(rows: int, characters: int) -> int:
    """Rows to read next so that a chunk stays near ``CHUNK_CHARACTERS``, after ``rows`` rows of so many characters."""
    return max(1, min(20_000, CHUNK_CHARACTERS * max(1, rows) // max(1, characters)))
