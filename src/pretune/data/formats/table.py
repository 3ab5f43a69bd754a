"""Text tables (CSV, TSV and kin) as rows, numbered by their lines."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Chunk, Options, Table, chunk_rows
from pretune.data.formats.dialect import (
    Dialect,
    even_share,
    find_dialect,
    numbered_rows,
    parse_delimiter,
    row_lines,
    sample_rows,
)
from pretune.data.formats.header import first_names, said_delimiter
from pretune.data.text.encodings import open_text, read_lines
from pretune.errors import DataError, UsageError

__all__ = ["column_names", "delimited_table", "piped_table", "tabbed", "title_notes"]

_SAMPLE_CHARACTERS = 2**20


def tabbed(sample: Sequence[str]) -> bool:
    """Whether every sampled line has the same number of tabs, at least one."""
    counts = {line.count("\t") for line in sample if line.strip()}
    return len(counts) == 1 and counts.pop() >= 1 and len(sample) >= 2


def piped_table(lines: Iterable[str], name: str, delimiter: str, *, header: bool) -> Table:
    """The rows of a text table that arrives line by line, each as soon as it is whole. Raises :class:`DataError`."""
    reader = Dialect(delimiter).reader(iter(lines))
    rows = _whole_rows(reader, name)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{name} holds no rows", "give a row of column names, then rows")
    columns = column_names(f"{name}, line {first[0]},", first[1]) if header else tuple(map(str, range(len(first[1]))))
    return Table(columns, header, _piped_chunks(rows, name, columns, None if header else first), by_line=True)


def _piped_chunks(
    rows: Iterator[tuple[int, list[str]]], name: str, columns: Sequence[str], held: tuple[int, list[str]] | None
) -> Iterator[Chunk]:
    place = {column: index for index, column in enumerate(columns)}
    while (row := held or next(rows, None)) is not None:
        held, (line, cells) = None, row
        if len(cells) != len(columns):
            raise DataError(
                f"{name}, line {line}, has {len(cells)} columns where the first row has {len(columns)}",
                'put fields that hold the delimiter in "double quotes", or give --delimiter if another one is meant',
            )
        yield Chunk([line], lambda column, cells=cells: [cells[place[column]]])


def _whole_rows(reader: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the lines on which they begin."""
    try:
        yield from ((line, row) for line, row in numbered_rows(reader) if row)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {reader.line_num}, is not a whole row: {error}",
            'double each quote inside a quoted field: ""',
        ) from None


def delimited_table(entry: Entry, encoding: str, options: Options, preferred: str = ",") -> Table:
    """The rows of a text table. A first line ``sep=;`` says the delimiter; titles above the names of columns are passed over.

    Raises :class:`DataError` naming the file and line for ragged rows, open quotes and repeated column names.
    """
    sample = _sample(entry, encoding)
    delimiter = _one_character(options.delimiter)
    above = 0
    if said := said_delimiter(next((line for line in sample if line.strip()), "")):
        above = next(at for at, line in enumerate(sample, 1) if line.strip())
        delimiter = delimiter or said
    sample = sample[above:]
    if not any(line.strip() for line in sample):
        raise DataError(f"{entry.name} is empty", "give a file with rows")
    dialect = find_dialect(sample, preferred, delimiter)
    if options.delimiter is not None:
        _check_delimiter(entry, sample, preferred, dialect)
    rows = sample_rows(sample, dialect)
    place = first_names(rows, options.names)
    header = place is not None if options.header == "auto" else options.header == "yes"
    titles = rows[: place or 0] if header else []
    line, first = rows[len(titles)]
    columns = column_names(f"{entry.name}:{above + line}", first) if header else tuple(map(str, range(len(first))))
    facts: dict[str, Any] = {
        "format": "text table",
        **dialect.facts(),
        "header": header,
        "header_found_by": "looking" if options.header == "auto" else "--header",
    }
    if titles:
        facts["titles"] = len(titles)
        above += line - 1
    chunks = _Body(entry, encoding, dialect, above, len(columns)).chunks(header, columns, facts)
    return Table(columns, header, chunks, facts, by_line=True, notes=title_notes(entry.name, titles))


def _one_character(given: str | None) -> str | None:
    delimiter = parse_delimiter(given) if given is not None else None
    if delimiter is not None and len(delimiter) > 1:
        raise UsageError(
            f"--delimiter is {delimiter!r}, but a CSV or TSV has one character between columns", "such as , or ; or \\t"
        )
    return delimiter


def title_notes(name: str, titles: Sequence[tuple[int, Sequence[str]]]) -> list[str]:
    """A sentence on the rows above the names of columns, which were passed over."""
    words = [cell.strip() for _, row in titles for cell in row if cell.strip()]
    if not titles:
        return []
    shown = f" ({', '.join(word[:40] for word in words[:3])})" if words else ""
    return [f"{name}: {len(titles)} lines above the names of the columns were left out{shown}."]


def _check_delimiter(entry: Entry, sample: Sequence[str], preferred: str, given: Dialect) -> None:
    """Refuse a ``--delimiter`` that cuts nothing, or cuts unevenly where another one cuts evenly."""
    share, found = even_share(sample, given), find_dialect(sample, preferred, None)
    better = even_share(sample, found) > 0.9 and found.delimiter != given.delimiter
    if any(given.delimiter in line for line in sample) and not (better and share < 0.5):
        return
    raise DataError(
        f"--delimiter is {given.delimiter!r}, which does not cut the first {len(sample)} lines of {entry.name} into columns",
        f"leave it out, or give --delimiter {found.delimiter!r}" if better else "leave it out, or give the right one",
    )


def _sample(entry: Entry, encoding: str) -> list[str]:
    with open_text(entry.open(), encoding) as text:
        lines, size = [], 0
        for line in read_lines(text, entry.name):
            lines.append(line)
            size += len(line)
            if size >= _SAMPLE_CHARACTERS or len(lines) >= 5_000:
                break
    return lines


def column_names(where: str, cells: Sequence[str]) -> tuple[str, ...]:
    """The names in a row of them, its place where one is empty. Raises :class:`DataError` for a name that stands twice."""
    names = [cell.strip().lstrip("\ufeff") or str(place) for place, cell in enumerate(cells)]
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DataError(
            f"{where} names the column {repeated[0]!r} more than once: {', '.join(names)}",
            "rename one of them, or give --header no and name columns by position: --column text=0 --column label=1",
        )
    return tuple(names)


class _Body:
    """The lines of a table below its first ``above``, and the ``width`` that each row must have."""

    def __init__(self, entry: Entry, encoding: str, dialect: Dialect, above: int, width: int) -> None:
        self.entry, self.encoding, self.dialect, self.above, self.width = entry, encoding, dialect, above, width

    def _lines(self, text: Any) -> Iterator[str]:
        return islice(read_lines(text, self.entry.name), self.above, None)

    def chunks(self, header: bool, columns: Sequence[str], facts: dict[str, Any]) -> Iterator[Chunk]:
        """Rows in chunks; the chunk's size follows the rows' size, so that memory stays bounded."""
        place = {name: index for index, name in enumerate(columns)}
        characters, blank, size = 0, 0, 100

        def counted(lines: Iterator[str]) -> Iterator[str]:
            nonlocal characters
            for line in lines:
                characters += len(line)
                yield line

        with open_text(self.entry.open(), self.encoding) as text:
            reader, skip, line = self.dialect.reader(counted(self._lines(text))), header, self.above + 1
            while batch := self._some(reader, size):
                lines = row_lines(batch, line, self.above + reader.line_num)
                line = self.above + reader.line_num + 1
                filled = [(number, row) for number, row in zip(lines, batch, strict=True) if row]
                blank += len(batch) - len(filled)
                if any(len(row) != self.width for _, row in filled):
                    raise self._row_error("")
                if skip and filled:
                    filled, skip = filled[1:], False
                if filled:
                    values = list(zip(*(row for _, row in filled), strict=True))
                    yield Chunk([number for number, _ in filled], lambda name, values=values: values[place[name]])
                size, characters = chunk_rows(len(batch), characters), 0
        facts["blank_lines"] = blank

    def _some(self, reader: Any, size: int) -> list[list[str]]:
        try:
            return list(islice(reader, size))
        except csv.Error as error:
            raise self._row_error(str(error)) from None

    def _row_error(self, problem: str) -> DataError:
        """Read again to the first bad row, and name its line."""
        name, start = self.entry.name, self.above + 1
        with open_text(self.entry.open(), self.encoding) as text:
            reader = self.dialect.reader(self._lines(text))
            try:
                for row in reader:
                    if row and len(row) != self.width:
                        return DataError(
                            f"{name}:{start} has {len(row)} columns where the first row has {self.width} (columns are cut at {self.dialect.delimiter!r})",
                            'put fields that hold the delimiter in "double quotes", or give --delimiter if another one is meant',
                        )
                    start = self.above + reader.line_num + 1
            except csv.Error as error:
                problem = str(error)
        if "unexpected end" in problem:
            return DataError(
                f'{name}:{start} opens a quote (") that never closes',
                'close it, or double each quote inside a field: ""',
            )
        return DataError(
            f"{name}:{start} is not a whole row: {problem}",
            'double each quote inside a quoted field (""), or give --delimiter if another one is meant',
        )
