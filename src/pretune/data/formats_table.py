"""Text tables (CSV, TSV and kin): delimiter, quoting and header found by looking at several lines."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pretune.data.archive import Entry
from pretune.data.encodings import open_text, read_lines
from pretune.data.formats import Chunk, Options, Table, chunk_rows
from pretune.errors import DataError, UsageError

__all__ = ["delimited_table", "header_delimiter", "parse_delimiter", "piped_table", "tabbed"]

_SAMPLE_CHARACTERS = 2**20
_CANDIDATES = (",", "\t", ";", "|")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_NAME_LIKE = re.compile(r"[^\W\d][\w .\-/#()]{0,39}")


@dataclass(frozen=True)
class _Dialect:
    delimiter: str
    quoted: bool = True
    backslash: bool = False

    def reader(self, lines: Iterator[str]) -> Any:
        """A strict csv reader: an open quote or junk after a closing one is an error."""
        csv.field_size_limit(2**30)
        if not self.quoted:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        if self.backslash:
            return csv.reader(lines, delimiter=self.delimiter, escapechar="\\", doublequote=False, strict=True)
        return csv.reader(lines, delimiter=self.delimiter, strict=True)


def parse_delimiter(given: str) -> str:
    r"""The characters meant by ``--delimiter``: ``\t`` and ``tab`` are a tab."""
    text = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(given, given)
    if not text or text in ('"', "\n", "\r"):
        raise UsageError(f"--delimiter is {given!r}", "give the characters between columns, for example , or ; or \\t")
    return text


def tabbed(sample: Sequence[str]) -> bool:
    """Whether every sampled line has the same number of tabs, at least one."""
    counts = {line.count("\t") for line in sample if line.strip()}
    return len(counts) == 1 and counts.pop() >= 1 and len(sample) >= 2


def header_delimiter(line: str, is_known_name: Callable[[str], bool]) -> str | None:
    """What separates the column names of a table's first line; None where the line is no such row of names."""
    for mark in _CANDIDATES:
        cells = [cell.strip().strip('"') for cell in line.split(mark)]
        if len(cells) > 1 and all(_NAME_LIKE.fullmatch(cell) for cell in cells) and any(map(is_known_name, cells)):
            return mark
    return None


def piped_table(lines: Iterable[str], name: str, delimiter: str, *, header: bool) -> Table:
    """The rows of a text table that arrives line by line, each as soon as it is whole. Raises :class:`DataError`."""
    reader = _Dialect(delimiter).reader(iter(lines))
    first = _next_row(reader, name)
    if first is None:
        raise DataError(f"{name} holds no rows", "give a row of column names, then rows")
    columns = _column_names(name, first) if header else tuple(str(place) for place in range(len(first)))
    return Table(columns, header, _piped_chunks(reader, name, columns, None if header else first))


def _piped_chunks(reader: Any, name: str, columns: Sequence[str], row: list[str] | None) -> Iterator[Chunk]:
    place = {column: index for index, column in enumerate(columns)}
    row = row or _next_row(reader, name)
    number = 1
    while row is not None:
        if len(row) != len(columns):
            raise DataError(
                f"{name}, line {reader.line_num}, has {len(row)} columns where the first row has {len(columns)}",
                'put fields that hold the delimiter in "double quotes", or give --delimiter if another one is meant',
            )
        yield Chunk([number], lambda column, row=row: [row[place[column]]])
        row, number = _next_row(reader, name), number + 1


def _next_row(reader: Any, name: str) -> list[str] | None:
    """The next row that is not blank; None at the end."""
    try:
        return next((row for row in reader if row), None)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {reader.line_num}, is not a whole row: {error}",
            'double each quote inside a quoted field: ""',
        ) from None


def delimited_table(
    entry: Entry, encoding: str, options: Options, is_known_name: Callable[[str], bool], preferred: str = ","
) -> Table:
    """The rows of a text table. ``is_known_name`` tells usual column names, which make row 1 a header.

    Raises :class:`DataError` naming the file and line for ragged rows, open quotes and repeated column names.
    """
    sample = _sample(entry, encoding)
    if not sample:
        raise DataError(f"{entry.name} is empty", "give a file with rows")
    delimiter = parse_delimiter(options.delimiter) if options.delimiter is not None else None
    if delimiter is not None and len(delimiter) > 1:
        raise UsageError(
            f"--delimiter is {delimiter!r}, but a CSV or TSV has one character between columns", "such as , or ; or \\t"
        )
    dialect = _find_dialect(sample, preferred, delimiter)
    rows = _parse_sample(sample, dialect)
    if delimiter is not None:
        _check_delimiter(entry, sample, preferred, dialect)
    header = _has_header(rows, is_known_name) if options.header == "auto" else options.header == "yes"
    width = len(rows[0]) if rows else 0
    columns = _column_names(entry.name, rows[0]) if header and rows else tuple(map(str, range(width)))
    facts: dict[str, Any] = {
        "format": "text table",
        "delimiter": _NAMES.get(dialect.delimiter, dialect.delimiter),
        "header": header,
        "header_found_by": "looking" if options.header == "auto" else "--header",
        "quoting": ("backslash" if dialect.backslash else "double quotes") if dialect.quoted else "none",
    }
    return Table(columns, header, _chunks(entry, encoding, dialect, header, columns, facts), facts)


def _check_delimiter(entry: Entry, sample: Sequence[str], preferred: str, given: _Dialect) -> None:
    """Refuse a ``--delimiter`` that cuts nothing, or cuts unevenly where another one cuts evenly."""
    share, found = _even_share(sample, given), _find_dialect(sample, preferred, None)
    better = _even_share(sample, found) > 0.9 and found.delimiter != given.delimiter
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
    while lines and not lines[0].strip():
        del lines[0]
    return lines


def _parse_sample(sample: Sequence[str], dialect: _Dialect) -> list[list[str]]:
    """Rows of the sample; a row cut off at its end, or the place of an error, ends them."""
    rows = []
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in dialect.reader(iter(sample)) if row)
    return rows or [list(next(iter(csv.reader(sample[:1], delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE))))]


def _find_dialect(sample: Sequence[str], preferred: str, delimiter: str | None) -> _Dialect:
    """The delimiter and quoting under which most sampled rows have the same width, the usual ones winning ties."""
    marks = (delimiter,) if delimiter else (preferred, *(mark for mark in _CANDIDATES if mark != preferred))
    best, best_share = _Dialect(marks[0], quoted=marks[0] != "\t" or _well_quoted(sample, marks[0])), 0.0
    for mark in marks:
        for dialect in _dialects(sample, mark):
            share = _even_share(sample, dialect)
            if share > best_share + (0.0 if mark == best.delimiter else 0.02):
                best, best_share = dialect, share
    return best


def _dialects(sample: Sequence[str], mark: str) -> list[_Dialect]:
    """Ways of quoting to try, the one that wins ties first."""
    plain = _Dialect(mark, quoted=False)
    if mark in "\t@":
        return [_Dialect(mark), plain] if _well_quoted(sample, mark) else [plain, _Dialect(mark)]
    escaped = [_Dialect(mark, backslash=True)] if any('\\"' in line for line in sample) else []
    return [_Dialect(mark), *escaped]


def _well_quoted(sample: Sequence[str], mark: str) -> bool:
    """Whether fields that open with a quote also close with one; stray quotes mean that quotes are plain text."""
    quoted = stray = 0
    for line in sample:
        for cell in line.rstrip("\r\n").split(mark):
            if cell.startswith('"'):
                proper = len(cell) >= 2 and cell.endswith('"') and '"' not in cell[1:-1].replace('""', "")
                quoted, stray = quoted + proper, stray + (not proper)
    return quoted > 0 and stray == 0


def _even_share(sample: Sequence[str], dialect: _Dialect) -> float:
    """Share of sampled lines that stand in rows of the commonest width, if that is at least two."""
    reader, widths, last = dialect.reader(iter(sample)), Counter[int](), 0
    with contextlib.suppress(csv.Error):
        for row in reader:
            widths[len(row)] += reader.line_num - last if row else 0
            last = reader.line_num
    width, lines = max(widths.items(), key=lambda item: item[1], default=(0, 0))
    return lines / max(1, sum(1 for line in sample if line.strip())) if width >= 2 else 0.0


def _has_header(rows: Sequence[Sequence[str]], is_known_name: Callable[[str], bool]) -> bool:
    """Whether row 1 names the columns: short name-like cells, all different, that do not stand in their columns again."""
    first, others = rows[0], rows[1:]
    cells = [cell.strip().lstrip("\ufeff") for cell in first]
    filled = [cell for cell in cells if cell]
    if not filled:
        return False
    known = sum(map(is_known_name, filled))
    if known and (known >= 2 or len(filled) <= 3 or known >= len(filled) / 2):
        return True
    if len(set(filled)) < len(filled) or not all(_NAME_LIKE.fullmatch(cell) for cell in filled):
        return False
    if any(row[i].strip() == cell for row in others for i, cell in enumerate(cells) if i < len(row) and cell):
        return known >= 1
    lengths = [sum(len(row[i]) for row in others if i < len(row)) / max(1, len(others)) for i in range(len(cells))]
    longest = max(range(len(cells)), key=lengths.__getitem__)
    return bool(others) and len(cells[longest].split()) <= 3 and len(cells[longest]) * 1.5 < lengths[longest]


def _column_names(place: str, cells: Sequence[str]) -> tuple[str, ...]:
    names = [cell.strip().lstrip("\ufeff") or str(place) for place, cell in enumerate(cells)]
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DataError(
            f"{place}:1 names the column {repeated[0]!r} more than once: {', '.join(names)}",
            "rename one of them, or give --header no and name columns by position: --column text=0 --column label=1",
        )
    return tuple(names)


def _chunks(
    entry: Entry, encoding: str, dialect: _Dialect, header: bool, columns: Sequence[str], facts: dict[str, Any]
) -> Iterator[Chunk]:
    """Rows in chunks; the chunk's size follows the rows' size, so that memory stays bounded."""
    place = {name: index for index, name in enumerate(columns)}
    characters, first, blank, size = 0, 1, 0, 100

    def counted(lines: Iterator[str]) -> Iterator[str]:
        nonlocal characters
        for line in lines:
            characters += len(line)
            yield line

    with open_text(entry.open(), encoding) as text:
        reader = dialect.reader(counted(read_lines(text, entry.name)))
        skip = header
        while True:
            try:
                rows = list(islice(reader, size))
            except csv.Error as error:
                raise _row_error(entry, encoding, dialect, len(columns), str(error)) from None
            if not rows:
                break
            filled = [row for row in rows if row]
            blank += len(rows) - len(filled)
            if any(len(row) != len(columns) for row in filled):
                raise _row_error(entry, encoding, dialect, len(columns), "")
            if skip and filled:
                filled, skip = filled[1:], False
            if filled:
                values = list(zip(*filled, strict=True))
                yield Chunk(range(first, first + len(filled)), lambda name, values=values: values[place[name]])
            first += len(filled)
            size, characters = chunk_rows(len(rows), characters), 0
    facts["blank_lines"] = blank


def _row_error(entry: Entry, encoding: str, dialect: _Dialect, width: int, problem: str) -> DataError:
    """Read again to the first bad row, and name its line."""
    with open_text(entry.open(), encoding) as text:
        reader, start = dialect.reader(read_lines(text, entry.name)), 1
        try:
            for row in reader:
                if row and len(row) != width:
                    return DataError(
                        f"{entry.name}:{start} has {len(row)} columns where the first row has {width} (columns are cut at {dialect.delimiter!r})",
                        'put fields that hold the delimiter in "double quotes", or give --delimiter if another one is meant',
                    )
                start = reader.line_num + 1
        except csv.Error as error:
            problem = str(error)
    if "unexpected end" in problem:
        return DataError(
            f'{entry.name}:{start} opens a quote (") that never closes',
            'close it, or double each quote inside a field: ""',
        )
    return DataError(
        f"{entry.name}:{start} is not a whole row: {problem}",
        'double each quote inside a quoted field (""), or give --delimiter if another one is meant',
    )
