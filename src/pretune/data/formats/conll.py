"""Words and their tags in columns, one word a line (CoNLL), and in twin files, one row a line (``seq.in`` and ``seq.out``, and the rows'
``label``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from pretune.answers.schemes import fits
from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Chunk, Table
from pretune.data.text.encodings import find_encoding, open_text, read_lines
from pretune.errors import DataError

__all__ = ["conll_table", "holds_tokens", "slots_in", "slots_table"]

_DOCUMENT = "-DOCSTART-"
_FEWEST_LINES, _MOST_FILLED, _AGREE = 10, 0.99, 0.95
_CHUNK_ROWS = 5_000
_BLANKS = re.compile(r"[ \t]+")
_SLOTS = ("seq.in", "seq.out")
LABEL = "label"
"""The file of whole rows' labels beside the twins, and what its column is called."""


def holds_tokens(sample: Sequence[str]) -> bool:
    """Whether lines hold one word each, with its tag behind it: the same number of cells a line, blank lines between."""
    cut = _cutter(sample)
    lines = [cut(line) for line in sample]
    filled = [line for line in lines if line and not line[0].startswith(("#", _DOCUMENT))]
    if len(filled) < _FEWEST_LINES or sum(map(bool, lines)) > _MOST_FILLED * len(lines):
        return False
    width = _width(filled)
    tags = sum(len(line) == width and line[-1] != "" and fits(line[-1]) for line in filled)
    return width >= 2 and tags >= _AGREE * len(filled) and any("-" in line[-1] for line in filled)


def _cutter(sample: Sequence[str]) -> Any:
    """What cuts a line into its cells: at tabs where every line that is not blank has one."""
    filled = [line for line in sample if line.strip(" \t\r\n\ufeff") and not line.startswith(("#", _DOCUMENT))]
    tabs = bool(filled) and all("\t" in line for line in filled)

    def cut(line: str) -> list[str]:
        plain = line.strip(" \t\r\n\ufeff")
        if not plain:
            return []
        return [cell.strip() for cell in line.rstrip("\r\n").split("\t")] if tabs else _BLANKS.split(plain)

    return cut


def _width(filled: Sequence[Sequence[str]]) -> int:
    return Counter(map(len, filled)).most_common(1)[0][0] if filled else 0


def conll_table(entry: Entry, encoding: str, sample: Sequence[str]) -> Table:
    """A row a sentence: lists of the cells of its lines by column ("0", "1", ...); the first is the words, the last the tags.

    Blank lines end sentences, lines ``-DOCSTART-`` begin documents (where there are several, each is a group), lines of ``#`` that
    are no words are comments. A row's number is its first line's. Raises :class:`DataError` naming a line of other width.
    """
    cut = _cutter(sample)
    lines = [cells for line in sample if (cells := cut(line)) and not cells[0].startswith(("#", _DOCUMENT))]
    if not lines:
        raise DataError(
            f"{entry.name} holds no words",
            "give one word a line, its tag behind it, and a blank line between sentences",
        )
    width = _width(lines)
    documents = sum(line.startswith(_DOCUMENT) for line in sample)
    facts: dict[str, Any] = {"format": "CoNLL, one word a line", "cells": width}
    reader = _Sentences(entry, encoding, cut, width, facts)
    roles = {"words": "0", **({"tags": str(width - 1)} if width > 1 else {})}
    columns = tuple(map(str, range(width)))
    if documents > 1:
        columns, roles = (*columns, "document"), {**roles, "group": "document"}
    return Table(columns, False, reader.chunks(), facts, roles=roles, by_line=True)


class _Sentences:
    """The sentences of a file, in chunks; ``facts`` take documents and comments."""

    def __init__(self, entry: Entry, encoding: str, cut: Any, width: int, facts: dict[str, Any]) -> None:
        self.entry, self.encoding, self.cut, self.width, self.facts = entry, encoding, cut, width, facts

    def chunks(self) -> Iterator[Chunk]:
        batch: list[tuple[int, str, list[list[str]]]] = []
        for sentence in self._sentences():
            batch.append(sentence)
            if len(batch) == _CHUNK_ROWS:
                yield _chunk(batch)
                batch = []
        if batch:
            yield _chunk(batch)

    def _sentences(self) -> Iterator[tuple[int, str, list[list[str]]]]:
        """First line, document and lines of cells of each sentence."""
        documents, comments, first = 0, 0, 0
        lines: list[list[str]] = []
        with open_text(self.entry.open(), self.encoding) as text:
            for number, line in enumerate(read_lines(text, self.entry.name), 1):
                cells = self.cut(line)
                starts = bool(cells) and cells[0] == _DOCUMENT
                if lines and (starts or not cells):
                    yield first, f"{self.entry.name} document {documents}", lines
                    lines = []
                documents += starts
                if not cells or starts:
                    continue
                if self._is_comment(cells, begins=not lines):
                    comments += 1
                    continue
                self._check(cells, number)
                first = first if lines else number
                lines.append(cells)
        if lines:
            yield first, f"{self.entry.name} document {documents}", lines
        self.facts |= {name: count for name, count in (("documents", documents), ("comments", comments)) if count}

    def _is_comment(self, cells: Sequence[str], *, begins: bool) -> bool:
        odd = len(cells) != self.width or (begins and len(cells) > 1 and not fits(cells[-1]))
        return cells[0].startswith("#") and odd

    def _check(self, cells: Sequence[str], number: int) -> None:
        if len(cells) != self.width:
            raise DataError(
                f"{self.entry.name}:{number} has {len(cells)} cells where other lines have {self.width}: {' '.join(cells)[:60]!r}",
                "give each line its word first and its tag last, with blanks or tabs between; a blank line ends a sentence",
            )


def _chunk(batch: Sequence[tuple[int, str, list[list[str]]]]) -> Chunk:
    def column(name: str) -> list[Any]:
        if name == "document":
            return [document for _, document, _ in batch]
        return [[cells[int(name)] for cells in lines] for _, _, lines in batch]

    return Chunk([first for first, _, _ in batch], column)


def slots_in(entries: Sequence[Entry]) -> list[tuple[Entry, Entry, Entry | None]]:
    """The twin files ``seq.in`` and ``seq.out`` of each folder, and its ``label`` where there is one."""
    folders: dict[PurePosixPath, dict[str, Entry]] = {}
    for entry in entries:
        path = PurePosixPath(entry.inner)
        folders.setdefault(path.parent, {})[path.name.casefold()] = entry
    return [
        (files[_SLOTS[0]], files[_SLOTS[1]], files.get(LABEL))
        for files in folders.values()
        if all(name in files for name in _SLOTS)
    ]


def slots_table(entries: Sequence[Entry], encoding: str | None) -> Table:
    """A row a line: words "0" of one file, tags "1" of the other, and of a third the row's ``label``, which is read where it is asked for
    by name. Lines that are blank in all are left out.

    Raises :class:`DataError` where one file has more lines.
    """
    facts: dict[str, Any] = {
        "format": "words, and tags in a twin file",
        "encoding": find_encoding(entries[0], encoding),
    }
    columns = ("0", "1", LABEL)[: len(entries)]
    return Table(
        columns, False, _twin_chunks(entries, encoding, facts), facts, roles={"words": "0", "tags": "1"}, by_line=True
    )  # fmt: skip


def _twin_chunks(entries: Sequence[Entry], encoding: str | None, facts: dict[str, Any]) -> Iterator[Chunk]:
    batch: list[tuple[int, tuple[str, ...]]] = []
    blank = 0
    with ExitStack() as stack:
        told = [facts["encoding"], *(find_encoding(entry, encoding) for entry in entries[1:])]
        files = [stack.enter_context(open_text(entry.open(), code)) for entry, code in zip(entries, told, strict=True)]
        lines = (read_lines(file, entry.name) for file, entry in zip(files, entries, strict=True))
        for number, row in enumerate(zip_longest(*lines), 1):
            cells = tuple(cell for cell in row if cell is not None)
            if len(cells) < len(row):
                short = next(entry for entry, cell in zip(entries, row, strict=True) if cell is None)
                long = next(entry for entry, cell in zip(entries, row, strict=True) if cell is not None)
                raise DataError(
                    f"{long.name} has more lines than {short.name}, which ends at line {number - 1}",
                    "line N of one belongs to line N of the other: mend the files",
                )
            if not any(cell.strip() for cell in cells):
                blank += 1
                continue
            batch.append((number, cells))
            if len(batch) == _CHUNK_ROWS:
                yield _twins(batch)
                batch = []
    if batch:
        yield _twins(batch)
    facts["blank_lines"] = blank


def _twins(batch: Sequence[tuple[int, tuple[str, ...]]]) -> Chunk:
    def column(name: str) -> list[Any]:
        if name == LABEL:
            return [cells[2].strip() for _, cells in batch]
        return [cells[int(name)].split() for _, cells in batch]

    return Chunk([number for number, _ in batch], column)
