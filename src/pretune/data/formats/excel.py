"""Excel workbooks (.xlsx): the rows of a sheet, or of the sheets that are called after splits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from pretune.data.archives.streams import Entry, zip_archive
from pretune.data.formats.arrow_bounds import Growth
from pretune.data.formats.base import Chunk, Options, Table
from pretune.data.formats.excel_parts import Sheet, Workbook
from pretune.data.formats.header import first_names
from pretune.data.formats.table import column_names, title_notes
from pretune.data.places.place import split_of_word
from pretune.errors import DataError

__all__ = ["EXCEL_SUFFIXES", "excel_tables"]

EXCEL_SUFFIXES = (".xlsx", ".xlsm")
_SAMPLE_ROWS, _CHUNK_ROWS = 1_000, 2_000

Row = tuple[int, list[Any]]


def excel_tables(entry: Entry, options: Options) -> dict[str | None, Table]:
    """The tables of a workbook by split: of the sheets called after one, else of the first sheet with rows. Sheets that are
    left out are noted. Raises :class:`DataError` for a damaged workbook and one without rows.
    """
    stack = ExitStack()
    try:
        return _tables(entry, options, stack)
    except BaseException:
        stack.close()
        raise


def _tables(entry: Entry, options: Options, stack: ExitStack) -> dict[str | None, Table]:
    """``stack`` is closed when the rows of the last table are through."""
    path = _on_disk(entry, stack)
    archive = zip_archive(path, None, office=True)
    stack.callback(archive.close)
    parts = {part.name: part for part in archive.entries}
    book = Workbook(parts, entry.name)
    filled = [(sheet, first) for sheet in book.sheets if (first := list(islice(book.rows(sheet), _SAMPLE_ROWS)))]
    if not filled:
        raise DataError(f"{entry.name} holds no rows", "give a workbook with a sheet of rows")
    filled.sort(key=lambda item: not item[0].visible)
    found: dict[str | None, tuple[Sheet, list[Row]]] = {}
    for sheet, first in filled:
        if split := split_of_word(sheet.name):
            found.setdefault(split, (sheet, first))
    found = found or {None: filled[0]}
    used = [sheet for sheet, _ in found.values()]
    note = _left_out([sheet for sheet, _ in filled if sheet not in used], entry.name)
    growth = Growth(entry.name, path.stat().st_size)
    ends = _countdown(len(found), stack.close)
    tables = {split: _table(book, sheet, first, options, growth, ends) for split, (sheet, first) in found.items()}
    next(iter(tables.values())).notes.extend(note)
    return tables


def _on_disk(entry: Entry, stack: ExitStack) -> Path:
    """The file itself, or a copy of an archive's member that lasts as long as ``stack``."""
    if entry.path is not None:
        return entry.path
    copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".xlsx"))  # noqa: SIM115 - the stack closes it
    with entry.open() as stream:
        shutil.copyfileobj(stream, copy)
    copy.flush()
    return Path(copy.name)


def _left_out(sheets: Sequence[Sheet], name: str) -> list[str]:
    listed = ", ".join(sheet.name for sheet in sheets)
    return [f"{name}: sheets left out: {listed}; save them as files of their own if they hold rows."] if sheets else []


def _table(
    book: Workbook, sheet: Sheet, first: list[Row], options: Options, growth: Growth, ends: Callable[[], None]
) -> Table:
    where = f"{book.name}, sheet {sheet.name}"
    width = max(len(row) for _, row in first)
    words = [(number, ["" if cell is None else str(cell) for cell in _padded(row, width)]) for number, row in first]
    place = first_names(words, options.names)
    header = place is not None if options.header == "auto" else options.header == "yes"
    titles = words[: place or 0] if header else []
    skip = len(titles) + header
    columns = (
        column_names(f"{where}, row {first[len(titles)][0]},", words[len(titles)][1])
        if header
        else tuple(map(str, range(width)))
    )
    facts = {"format": "Excel sheet", "sheet": sheet.name, "header": header}
    rows = _rest(book.rows(sheet), skip, ends)
    chunks = _chunks(rows, columns, where, growth)
    return Table(columns, header, chunks, facts, notes=title_notes(where, titles))


def _padded(row: list[Any], width: int) -> list[Any]:
    return [*row, *[None] * (width - len(row))]


def _rest(rows: Iterator[Row], skip: int, ends: Callable[[], None]) -> Iterator[Row]:
    try:
        yield from islice(rows, skip, None)
    finally:
        ends()


def _countdown(times: int, then: Callable[[], None]) -> Callable[[], None]:
    """What calls ``then`` when it is called for the last of so many times."""
    left = iter(range(times - 1))
    return lambda: then() if next(left, None) is None else None


def _chunks(rows: Iterator[Row], columns: Sequence[str], where: str, growth: Growth) -> Iterator[Chunk]:
    place = {name: index for index, name in enumerate(columns)}
    for first in rows:
        some = [first, *islice(rows, _CHUNK_ROWS - 1)]
        for number, row in some:
            if len(row) > len(columns):
                raise DataError(
                    f"{where}, row {number}, has {len(row)} cells where the table has {len(columns)} columns",
                    "give the column a name, or clear the cell",
                )
        growth.count(sum(len(cell) if isinstance(cell, str) else 8 for _, row in some for cell in row))
        values = list(zip(*(_padded(row, len(columns)) for _, row in some), strict=True))
        yield Chunk([number for number, _ in some], lambda name, values=values: values[place[name]])
