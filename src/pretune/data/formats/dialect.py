"""How a text table is cut into cells: delimiter, quoting and blanks, found by looking at several lines."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pretune.errors import UsageError

__all__ = [
    "CANDIDATES",
    "Dialect",
    "even_share",
    "find_dialect",
    "numbered_rows",
    "parse_delimiter",
    "row_lines",
    "sample_rows",
]

CANDIDATES = (",", "\t", ";", "|")
_LINE_END = re.compile(r"\r\n|\r|\n")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


@dataclass(frozen=True)
class Dialect:
    """How a table is cut. ``spaced`` passes over blanks after a delimiter, so that a quote may follow them."""

    delimiter: str
    quoted: bool = True
    backslash: bool = False
    spaced: bool = False

    def reader(self, lines: Iterator[str]) -> Any:
        """A strict csv reader: an open quote or junk after a closing one is an error."""
        csv.field_size_limit(2**30)
        if not self.quoted:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        if self.backslash:
            return csv.reader(lines, delimiter=self.delimiter, escapechar="\\", doublequote=False, strict=True)
        return csv.reader(lines, delimiter=self.delimiter, skipinitialspace=self.spaced, strict=True)

    def facts(self) -> dict[str, str]:
        """What to tell people."""
        quoting = ("backslash" if self.backslash else "double quotes") if self.quoted else "none"
        return {"delimiter": _NAMES.get(self.delimiter, self.delimiter), "quoting": quoting}


def parse_delimiter(given: str) -> str:
    r"""The characters meant by ``--delimiter``: ``\t`` and ``tab`` are a tab."""
    text = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(given, given)
    if not text or text in ('"', "\n", "\r"):
        raise UsageError(f"--delimiter is {given!r}", "give the characters between columns, for example , or ; or \\t")
    return text


def numbered_rows(reader: Any, before: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Rows, blank lines too (as an empty list), each with the line on which it begins; ``before`` lines were read already."""
    last = before
    for row in reader:
        yield last + 1, row
        last = before + reader.line_num


def row_lines(rows: Sequence[Sequence[str]], first: int, last: int) -> Sequence[int]:
    """The line on which each of some rows begins, which together fill the lines ``first`` to ``last``."""
    if last - first + 1 == len(rows):
        return range(first, last + 1)
    lengths = [1 + sum(len(_LINE_END.findall(cell)) for cell in row) for row in rows]
    return list(accumulate(lengths[:-1], initial=first))


def sample_rows(sample: Sequence[str], dialect: Dialect) -> list[tuple[int, list[str]]]:
    """Rows of the sample that are not blank, with their lines; a row cut off at its end, or the place of an error, ends them."""
    rows = []
    with contextlib.suppress(csv.Error):
        rows.extend((line, row) for line, row in numbered_rows(dialect.reader(iter(sample))) if row)
    if rows:
        return rows
    first = next((line for line in sample if line.strip()), "")
    return [(1, next(iter(csv.reader([first], delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)), []))]


def find_dialect(sample: Sequence[str], preferred: str, delimiter: str | None) -> Dialect:
    """The delimiter and quoting under which most sampled rows have the same width, the usual ones winning ties."""
    marks = (delimiter,) if delimiter else (preferred, *(mark for mark in CANDIDATES if mark != preferred))
    best, best_share = Dialect(marks[0], quoted=marks[0] != "\t" or _well_quoted(sample, marks[0])), 0.0
    for mark in marks:
        for dialect in _dialects(sample, mark):
            share = even_share(sample, dialect)
            if share > best_share + _lead(dialect, best):
                best, best_share = dialect, share
    return best


def _lead(dialect: Dialect, best: Dialect) -> float:
    """By how much a dialect has to cut more evenly than the best so far; one damaged row does not turn quotes into text."""
    if dialect.delimiter != best.delimiter:
        return 0.02
    return 0.2 if best.spaced and not dialect.spaced else 0.0


def _dialects(sample: Sequence[str], mark: str) -> list[Dialect]:
    """Ways of quoting to try, the one that wins ties first."""
    plain = Dialect(mark, quoted=False)
    if mark in "\t@":
        return [Dialect(mark), plain] if _well_quoted(sample, mark) else [plain, Dialect(mark)]
    after_blanks = re.compile(re.escape(mark) + ' +"')
    spaced = [Dialect(mark, spaced=True)] if any(map(after_blanks.search, sample)) else []
    escaped = [Dialect(mark, backslash=True)] if any('\\"' in line for line in sample) else []
    return [*spaced, Dialect(mark), *escaped]


def _well_quoted(sample: Sequence[str], mark: str) -> bool:
    """Whether fields that open with a quote also close with one; stray quotes mean that quotes are plain text."""
    quoted = stray = 0
    for line in sample:
        for cell in line.rstrip("\r\n").split(mark):
            if cell.startswith('"'):
                proper = len(cell) >= 2 and cell.endswith('"') and '"' not in cell[1:-1].replace('""', "")
                quoted, stray = quoted + proper, stray + (not proper)
    return quoted > 0 and stray == 0


def even_share(sample: Sequence[str], dialect: Dialect) -> float:
    """Share of sampled lines that stand in rows of the commonest width, if that is at least two."""
    reader, widths, last = dialect.reader(iter(sample)), Counter[int](), 0
    with contextlib.suppress(csv.Error):
        for row in reader:
            widths[len(row)] += reader.line_num - last if row else 0
            last = reader.line_num
    width, lines = max(widths.items(), key=lambda item: item[1], default=(0, 0))
    return lines / max(1, sum(1 for line in sample if line.strip())) if width >= 2 else 0.0
