"""The parts of an Excel workbook (.xlsx) as streams of values: ECMA-376, Office Open XML, part 1, SpreadsheetML.

The XML is read in pieces; a document type or entity in it is refused. Texts that cells share are held once.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from xml.parsers import expat

from pretune.data.archives.streams import Entry
from pretune.errors import DataError

__all__ = ["Sheet", "Workbook"]

_PIECE_BYTES = 2**18
_MOST_COLUMNS = 16_384  # Excel's own limit
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DATE_FORMATS = frozenset((*range(14, 23), *range(45, 48)))  # section 18.8.30: built-in formats of dates and times
_NOT_DATE = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')


@dataclass(frozen=True)
class Sheet:
    """One sheet: its name, whether a person sees it, and the part that holds its cells."""

    name: str
    visible: bool
    part: Entry


class Workbook:
    """A workbook of these parts, by name. Raises :class:`DataError` for one that is damaged."""

    def __init__(self, parts: Mapping[str, Entry], name: str) -> None:
        self.name, self._parts = name, parts
        self._from_1904 = False
        self.sheets = self._sheets()
        self._shared = self._texts("xl/sharedStrings.xml")
        self._dates = self._date_styles("xl/styles.xml")

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, list[Any]]]:
        """Number (as the sheet shows it) and values of each row that has cells; a cell that is empty is None."""
        reader = _SheetReader(self._value)
        for _ in self._parse(sheet.part, reader.start, reader.end, reader.text):
            yield from reader.take()
        yield from reader.take()

    def _sheets(self) -> list[Sheet]:
        targets: dict[str, str] = {}
        told: list[tuple[str, bool, str]] = []

        def relation(tag: str, attributes: Mapping[str, str]) -> None:
            if tag == "Relationship":
                target = attributes.get("Target", "")
                path = target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl", target))
                targets[attributes.get("Id", "")] = path

        def sheet(tag: str, attributes: Mapping[str, str]) -> None:
            if tag == "workbookPr":
                self._from_1904 = attributes.get("date1904", "0") in ("1", "true")
            elif tag == "sheet":
                told.append(
                    (
                        attributes.get("name", ""),
                        attributes.get("state", "visible") == "visible",
                        attributes.get("id", ""),
                    )
                )

        self._read("xl/_rels/workbook.xml.rels", relation)
        self._read("xl/workbook.xml", sheet)
        found = [(name, seen, self._parts.get(targets.get(key, ""))) for name, seen, key in told]
        sheets = [Sheet(name, seen, part) for name, seen, part in found if part is not None]
        if not sheets:
            raise self._damaged("it names no sheet")
        return sheets

    def _texts(self, part: str) -> list[str]:
        texts: list[str] = []
        reader = _TextReader(texts.append)
        if part in self._parts:
            for _ in self._parse(self._parts[part], reader.start, reader.end, reader.text):
                pass
        return texts

    def _date_styles(self, part: str) -> list[bool]:
        """Whether cells of each style are dates or times."""
        codes: dict[int, str] = {}
        formats: list[int] = []
        inside = False

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            nonlocal inside
            if tag == "numFmt":
                codes[int(attributes.get("numFmtId", -1))] = attributes.get("formatCode", "")
            elif tag == "cellXfs":
                inside = True
            elif tag == "xf" and inside:
                formats.append(int(attributes.get("numFmtId", 0)))

        def end(tag: str) -> None:
            nonlocal inside
            inside = inside and tag != "cellXfs"

        if part in self._parts:
            self._read(part, start, end)
        return [
            key in _DATE_FORMATS or bool(re.search("[ymdhs]", _NOT_DATE.sub("", codes.get(key, "").lower())))
            for key in formats
        ]

    def _value(self, kind: str, style: int, text: str, number: int) -> Any:
        """A cell's value by its type. Raises :class:`DataError` naming its row."""
        try:
            if kind == "s":
                return self._shared[int(text)]
            if kind in ("str", "inlineStr", "d"):
                return _unescaped(text)
            if kind == "b":
                return text.strip() == "1"
            if kind == "e":
                return None  # an error such as #N/A holds no value
            value = float(text)
            if style < len(self._dates) and self._dates[style]:
                return self._date(value)
            return int(value) if value.is_integer() and abs(value) < 1e15 else value
        except (ValueError, IndexError, OverflowError):
            raise DataError(
                f"{self.name} row {number} has a cell that cannot be read: {text[:40]!r}",
                "open and save it again, or save it as CSV",
            ) from None

    def _date(self, days: float) -> str:
        """A day number as ISO date or time."""
        begin = dt.datetime(1904, 1, 1) if self._from_1904 else dt.datetime(1899, 12, 30)
        if days < 1:
            return (dt.datetime.min + dt.timedelta(seconds=round(days * 86_400))).time().isoformat()
        moment = begin + dt.timedelta(seconds=round(days * 86_400))
        return moment.date().isoformat() if float(days).is_integer() else moment.isoformat(sep=" ")

    def _read(
        self, part: str, start: Callable[[str, Mapping[str, str]], None], end: Callable[[str], None] = lambda tag: None
    ) -> None:
        if part not in self._parts:
            raise self._damaged(f"{part} is not in it")
        for _ in self._parse(self._parts[part], start, end, lambda text: None):
            pass

    def _parse(
        self,
        part: Entry,
        start: Callable[[str, Mapping[str, str]], None],
        end: Callable[[str], None],
        text: Callable[[str], None],
    ) -> Iterator[None]:
        """Parse a part piece by piece, pausing after each."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True

        def refuse(*_: object) -> None:
            raise self._damaged(f"{part.name} declares a document type, which no spreadsheet program writes")

        parser.StartDoctypeDeclHandler = refuse
        parser.StartElementHandler = lambda tag, attributes: start(
            _local(tag), {_local(key): value for key, value in attributes.items()}
        )
        parser.EndElementHandler = lambda tag: end(_local(tag))
        parser.CharacterDataHandler = text
        try:
            with part.open() as stream:
                while piece := stream.read(_PIECE_BYTES):
                    parser.Parse(piece, False)
                    yield
                parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise self._damaged(f"{part.name}: {error}") from None
        except (ValueError, KeyError) as error:
            if isinstance(error, DataError):
                raise
            raise self._damaged(f"{part.name}: {error}") from None

    def _damaged(self, problem: str) -> DataError:
        return DataError(f"{self.name} is not a whole workbook: {problem}", "open and save it again, or save it as CSV")


def _local(tag: str) -> str:
    return tag.rpartition(" ")[2]


def _unescaped(text: str) -> str:
    """``_x000D_`` stands for the character 0x0D (section 22.4.2.4)."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


class _TextReader:
    """Collects the texts of ``<si>`` and ``<is>``: their runs joined, how they are spoken left out."""

    def __init__(self, add: Callable[[str], None]) -> None:
        self._add, self._parts = add, list[str]()
        self._inside = self._spoken = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if tag in ("si", "is"):
            self._parts = []
        self._spoken = self._spoken or tag == "rPh"
        self._inside = tag == "t" and not self._spoken

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag in ("si", "is"):
            self._add(_unescaped("".join(self._parts)))
        self._spoken = self._spoken and tag != "rPh"
        self._inside = False

    def text(self, text: str) -> None:
        """Letters of an element."""
        if self._inside:
            self._parts.append(text)


class _SheetReader:
    """Collects rows of ``<row>`` and ``<c>``; ``value`` makes a cell's value of its type, style, text and row."""

    def __init__(self, value: Callable[[str, int, str, int], Any]) -> None:
        self._value, self._rows = value, list[tuple[int, list[Any]]]()
        self._row, self._cells = 0, dict[int, Any]()
        self._column, self._kind, self._style = -1, "n", 0
        self._parts: list[str] | None = None
        self._inline = _TextReader(self._put_inline)

    def take(self) -> Sequence[tuple[int, list[Any]]]:
        """The rows that are whole by now."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if tag == "row":
            self._row, self._cells, self._column = int(attributes.get("r", self._row + 1)), {}, -1
        elif tag == "c":
            letters = attributes.get("r", "").rstrip("0123456789")
            self._column = _column(letters) if letters else self._column + 1
            self._kind, self._style = attributes.get("t", "n"), int(attributes.get("s", 0))
        elif tag == "v":
            self._parts = []
        else:
            self._inline.start(tag, attributes)

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag == "v" and self._parts is not None:
            text, self._parts = "".join(self._parts), None
            if text:
                self._cells[self._column] = self._value(self._kind, self._style, text, self._row)
        elif tag == "row" and self._cells:
            width = max(self._cells) + 1
            self._rows.append((self._row, [self._cells.get(place) for place in range(width)]))
        else:
            self._inline.end(tag)

    def text(self, text: str) -> None:
        """Letters of an element."""
        if self._parts is not None:
            self._parts.append(text)
        else:
            self._inline.text(text)

    def _put_inline(self, text: str) -> None:
        self._cells[self._column] = text


def _column(letters: str) -> int:
    """``A`` is 0, ``AA`` is 26. Raises :class:`ValueError` beyond Excel's last column."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
        if not 1 <= ord(letter) - 64 <= 26 or number > _MOST_COLUMNS:
            raise ValueError(f"there is no column {letters[:10]!r}")
    return number - 1
