"""Rows of files, of standard input and of arguments for the exported model in this folder; :mod:`predict` uses it.

They are read as the model's rows were when it learned: pretune.json says which column holds what, and how texts are cleaned.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Unread", "cleaner_of", "rows_of", "text_of"]

TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
LINES = (".jsonl", ".ndjson", ".txt", ".text", ".json")
OTHERS = (".parquet", ".xlsx", ".xls", ".zip", ".gz", ".arrow", ".feather", ".tar", ".pdf", ".docx")
FILES = {
    "image": (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"),
}  # fmt: skip
"""What a folder is searched for."""
TURNS = ("messages", "conversations", "turns")
SAMPLE_LINES = 1_000
MARKS = (",", "\t", ";", "|")
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Unread(ValueError):
    """A row that cannot be answered; the others can."""


@dataclass(frozen=True)
class Wanted:
    """What rows of the model hold (``kind``, and ``text_pair`` with it where ``pair``), and how files are read.

    ``columns``: role to column as the model learned, ``given`` as this call says. ``by_place``: the tables that the model learned
    from did not name their columns. ``turns``: a row of JSON may hold a conversation. ``more`` are roles that a row may have a
    cell for.
    """

    kind: str
    pair: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    by_place: bool = False
    turns: bool = False
    more: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that every row needs a cell for."""
        return (self.kind, "text_pair") if self.pair else (self.kind,)

    def column(self, role: str, names: Sequence[str], where: str) -> str:
        """The column of a role among ``names``. Raises :class:`ValueError` where there is none."""
        given = self.given.get(role)
        for wanted in (given,) if given is not None else (self.columns.get(role), role):
            if found := _named(wanted, names):
                return found
        if given is None and len(names) == 1 and role == self.kind:
            return names[0]
        asked = given or self.columns.get(role, role)
        raise ValueError(f"{where} has no column {asked}, only {', '.join(names)}: name it with --column {role}=NAME")

    def others_in(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of the roles that a row need not have."""
        found = {role: row.get(self.given.get(role, self.columns.get(role, role))) for role in self.more}
        return {role: cell for role, cell in found.items() if cell not in (None, "")}

    def turns_in(self, names: Iterable[str]) -> str | None:
        """The column that holds a conversation; None where none does."""
        asked = (self.given.get("turns"), self.columns.get("turns"), *TURNS) if self.turns else ()
        return next((name for name in asked if name is not None and name in names), None)


def _named(wanted: str | None, names: Sequence[str]) -> str | None:
    if wanted is None or wanted in names:
        return wanted
    plain = [name for name in names if _plain(name) == _plain(wanted)]
    return plain[0] if len(plain) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().casefold())


def rows_of(
    arguments: Sequence[str], about: Mapping[str, Any], *, column: Sequence[str] = (), delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows that the arguments ask for: files of rows, folders of pictures or clips, standard input (-), or each argument
    itself (each two where rows are pairs of texts). A row that cannot be used has a ``problem``.

    Raises :class:`ValueError` for a file that is not there or cannot be read.
    """
    wanted = _wanted(about, column, delimiter, encoding)
    waiting = list(arguments)
    for number in itertools.count(1):
        if not waiting:
            return
        argument = waiting.pop(0)
        if argument == "-":
            yield from _rows_of_stream(sys.stdin.buffer, "standard input", "", Path(), wanted)
        elif (place := _place_of(argument, wanted)) is not None:
            yield from _rows_of_place(place, argument, wanted)
        elif wanted.pair:
            if not waiting:
                raise ValueError("the model reads pairs of texts: give two")
            yield {"id": str(number), "text": argument, "text_pair": waiting.pop(0)}
        else:
            yield {"id": str(number) if wanted.kind == "text" else argument, wanted.kind: argument}


def _wanted(about: Mapping[str, Any], column: Sequence[str], delimiter: str | None, encoding: str | None) -> Wanted:
    learned = about.get("reading", {})
    how = learned.get("how", {})
    given = {}
    for word in column:
        role, equals, name = word.partition("=")
        if not equals:
            raise ValueError(f"--column is {word!r}: write ROLE=NAME, such as --column text=title")
        given[role.strip()] = name.strip()
    columns = {**learned.get("found", {}), **learned.get("columns", {})}
    return Wanted(
        about["inputs"]["modality"], about["inputs"].get("reads_pairs", False),
        {role: name for role, name in columns.items() if name}, given,
        by_place=how.get("header") == "no" or bool(learned.get("width")),
        delimiter={"\\t": "\t", "tab": "\t"}.get(told := delimiter or how.get("delimiter"), told),
        encoding=encoding or how.get("encoding"), turns=about["inputs"].get("reader") == "chat",
        more=tuple(about["inputs"].get("more", ())),
    )  # fmt: skip


def _place_of(argument: str, wanted: Wanted) -> Path | None:
    """The file of rows or the folder that an argument names; None where it is a row itself. Raises :class:`ValueError`."""
    suffix = Path(argument).suffix.lower() if len(argument) < 4096 and "\n" not in argument else ""
    try:
        exists = os.path.exists(argument)  # noqa: PTH110 - False for any text
    except ValueError:
        exists = False
    if exists and (suffix in (*TABLES, *LINES) or Path(argument).is_dir()):
        return Path(argument)
    if wanted.kind != "text":
        if suffix in (*TABLES, *LINES):
            raise ValueError(f"there is no file {argument}")
        return None
    if exists:
        raise ValueError(
            f"{argument} is a file of a kind that is not read here: give {', '.join((*TABLES, *LINES))}; "
            "texts that are called like a file go on standard input, one a line"
        )
    if suffix in (*TABLES, *LINES, *OTHERS) and not re.search(r"\s", argument):
        raise ValueError(f"there is no file {argument}; a text that ends so goes on standard input, one a line")
    return None


def _rows_of_place(place: Path, argument: str, wanted: Wanted) -> Iterator[dict[str, Any]]:
    if not place.is_dir():
        with open(place, "rb") as stream:
            yield from _rows_of_stream(stream, place.name, place.suffix.lower(), place.parent, wanted)
        return
    suffixes = FILES.get(wanted.kind, (".txt", ".text"))
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not files:
        raise ValueError(f"{argument} holds no file with one of the suffixes {', '.join(suffixes)}")
    for path in files:
        if wanted.kind == "text":
            with open(path, "rb") as stream:
                yield from _rows_of_stream(stream, str(path), ".txt", path.parent, wanted)
        else:
            yield {"id": str(path), wanted.kind: str(path)}


def _rows_of_stream(stream: Any, name: str, suffix: str, folder: Path, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Rows of a table, of JSON, or of lines that are texts or paths, as they arrive. ``stream`` gives bytes."""
    marked = next((found for mark, found in BOMS if stream.peek(4).startswith(mark)), "utf-8")
    encoding, text = wanted.encoding or marked, None
    try:
        text = io.TextIOWrapper(stream, encoding, newline="")
        yield from _rows_of_text(text, name, suffix, folder, wanted)
    except (UnicodeDecodeError, LookupError) as error:
        raise ValueError(f"{name} cannot be read as {encoding} ({error}): give --encoding, such as gb18030") from None
    finally:
        if text is not None:
            text.detach()  # whoever opened the stream closes it


def _rows_of_text(text: Any, name: str, suffix: str, folder: Path, wanted: Wanted) -> Iterator[dict[str, Any]]:
    before, first = 0, ""
    for line in text:
        before, first = before + 1, line.lstrip("\ufeff")
        if first.strip():
            break
    if not first.strip():
        raise ValueError(f"{name} holds no rows")
    lines = itertools.chain([first], text)
    numbered = ((number, line) for number, line in enumerate(lines, before) if line.strip())
    whole = suffix == ".json" and not _is_row(first)
    if whole or (suffix == "" and first.lstrip().startswith("[") and not wanted.pair):
        yield from _json_rows(enumerate(_document("".join(lines), name), 1), f"{name} row", folder, wanted)
    elif suffix in (".jsonl", ".ndjson", ".json") or (suffix not in TABLES and first.lstrip().startswith("{")):
        yield from _json_rows(numbered, name, folder, wanted)
    elif suffix in TABLES or _mark_of(first, wanted) is not None:
        yield from _table_rows(first, before, lines, suffix, name, folder, wanted)
    else:
        for number, line in numbered:
            yield _row({wanted.kind: line.strip()}, number, name, folder, wanted, by_name=True)


def _document(text: str, name: str) -> list[Any]:
    """The rows of a JSON document. Raises :class:`ValueError`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON that can be read: {error}") from None
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ValueError(f'{name} is neither an array of objects nor {{"data": [...]}}')
    return rows


def _is_row(line: str) -> bool:
    """Is the line a whole object, and no document of many?"""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not isinstance(value.get("data"), list)


def _json_rows(
    numbered: Iterable[tuple[int, Any]], name: str, folder: Path, wanted: Wanted
) -> Iterator[dict[str, Any]]:
    for number, line in numbered:
        try:
            row = json.loads(line) if isinstance(line, str) else line
        except (ValueError, RecursionError) as error:
            yield _without(number, name, f"is no JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield _without(number, name, "is no JSON object")
            continue
        if (held := wanted.turns_in(row)) is not None:
            yield {"id": _name_of(name, number), **_id_of(row, wanted), "turns": row[held]}
            continue
        try:
            columns = {role: wanted.column(role, list(row), "it") for role in wanted.roles}
        except ValueError as error:
            yield _without(number, name, str(error).removeprefix("it "), row)
            continue
        own = {role: row[column] for role, column in columns.items()}
        yield _row({**_id_of(row, wanted), **wanted.others_in(row), **own}, number, name, folder, wanted, others=row)


def _mark_of(first: str, wanted: Wanted) -> str | None:
    """What separates the columns of a table whose first line names those that are wanted; None of another line."""
    asked = (name for role in wanted.roles for name in (wanted.given.get(role), wanted.columns.get(role), role))
    names = {_plain(name) for name in asked if name}
    for mark in (*((wanted.delimiter,) if wanted.delimiter else ()), *MARKS):
        if {_plain(cell.strip().strip('"')) for cell in first.split(mark)} & names:
            return mark
    return None


def _table_rows(
    first: str, start: int, lines: Iterator[str], suffix: str, name: str, folder: Path, wanted: Wanted
) -> Iterator[dict[str, Any]]:
    """Rows of a table, numbered by the line on which they begin; its ``first`` line is number ``start``. That line names the
    columns, unless the tables that the model learned from had no such line.
    """
    csv.field_size_limit(2**30)
    named = _mark_of(first, wanted)
    mark = named or wanted.delimiter or TABLES.get(suffix, ",")
    sample = list(itertools.islice(lines, SAMPLE_LINES))
    quoting = csv.QUOTE_MINIMAL if mark != "\t" or _quoted(sample) else csv.QUOTE_NONE
    reader = csv.reader(itertools.chain(sample, lines), delimiter=mark, quoting=quoting, strict=True)
    table = _numbered(reader, start)
    try:
        line, head = next(table)
        has_names = named is not None or not wanted.by_place
        names = [cell.strip() for cell in head] if has_names else [str(place) for place in range(len(head))]
        columns = {role: wanted.column(role, names, name) for role in wanted.roles}
        if not wanted.pair and wanted.kind == "text" and "text_pair" in names:
            raise ValueError(f"{name} has a column text_pair, but the model reads single texts")
        for number, row in table if has_names else itertools.chain([(line, head)], table):
            if len(row) != len(names):
                yield _without(number, name, f"has {len(row)} columns where the first row has {len(names)}")
                continue
            cells = dict(zip(names, row, strict=True))
            own = {role: cells[column] for role, column in columns.items()}
            yield _row({**_id_of(cells, wanted), **wanted.others_in(cells), **own}, number, name, folder, wanted)
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}") from None


def _numbered(reader: Any, start: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line on which it begins."""
    line = start
    for row in reader:
        if row:
            yield line, row
        line = start + reader.line_num


def _quoted(sample: Sequence[str]) -> bool:
    """Are cells between tabs quoted? They mostly are not there, and quotes are plain signs: cells that open with one do not close
    with it, and all lines have as many tabs.
    """
    lines = [line.rstrip("\r\n") for line in sample if line.strip()]
    quoted = [cell for line in lines for cell in line.split("\t") if cell.startswith('"')]
    whole = all(len(cell) > 1 and cell.endswith('"') and '"' not in cell[1:-1].replace('""', "") for cell in quoted)
    return whole or len({line.count("\t") for line in lines}) > 1


def _id_of(row: Mapping[str, Any], wanted: Wanted) -> dict[str, str]:
    asked = wanted.given.get("id", wanted.columns.get("id", "id"))
    return {"id": str(row[asked])} if row.get(asked) not in (None, "") else {}


def _row(
    cells: Mapping[str, Any], number: int, name: str, folder: Path, wanted: Wanted, *, by_name: bool = False,
    others: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    if not wanted.pair and others is not None and wanted.kind == "text" and "text_pair" in others:
        return _without(number, name, "has a text_pair, but the model reads single texts", cells)
    if wanted.pair and "text_pair" not in cells:
        return _without(number, name, "holds one text, and the model reads pairs", cells)
    row = {"id": _name_of(name, number), **cells}
    if wanted.kind != "text":
        if not isinstance(row[wanted.kind], str) or not row[wanted.kind].strip():
            return _without(number, name, "names no file", cells)
        if by_name:
            row["id"] = row[wanted.kind]
        row[wanted.kind] = str(folder / row[wanted.kind].strip())
    return row


def _without(number: int, name: str, problem: str, row: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"id": str((row or {}).get("id", _name_of(name, number))), "problem": problem}


def _name_of(name: str, number: int) -> str:
    """What a row is called: its file and its line, or its number among the file's rows."""
    return f"{name} {number}" if name.endswith(" row") else f"{name}:{number}"


def text_of(value: Any) -> str:
    """What a row holds as text. Raises :class:`Unread` for nothing, and for what is no text."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    if value is None or (isinstance(value, float) and value != value):
        raise Unread("has no text")
    if not isinstance(value, (str, int, float)):
        raise Unread(f"has a {type(value).__name__} where a text is needed")
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pseudonymising(name: str, load: Callable[[str], Any]) -> Callable[[str], str]:
    """What puts pseudonyms into a text, with the key of this name. Raises :class:`ValueError` where it is not at hand: no export holds it."""
    pseudonyms, redact = load("pseudonyms"), load("pii").redact
    try:
        key = pseudonyms.read_key(name)
    except ValueError as error:
        raise ValueError(f"{error}: let {pseudonyms.KEY_FILE} name the file with the right key") from None
    return lambda text: redact(text, lambda kind, value: f"-{pseudonyms.pseudonym(key, kind, value)}")


def cleaner_of(about: Mapping[str, Any], load: Callable[[str], Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What makes the texts of a row those that the model learned from: cleaned as they were, by the same file (scrub.py).

    ``load`` gives a file of this folder as a module. The result raises :class:`Unread` for a row without a text.
    """
    reading = about.get("reading", {})
    steps, clean = reading.get("clean", []), None
    if steps:
        redact = (
            load("pii").redact
            if "redact" in steps
            else _pseudonymising(reading["key"], load)
            if "pseudonym" in steps
            else None
        )
        clean = load("scrub").cleaner(steps, english=about.get("stopwords", ()), redact=redact)

    def cleaned(row: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(row)
        if "turns" in row:
            turns = load("turns")
            said = turns.conversation_of(row["turns"])
            if isinstance(said, turns.Unusable):
                raise Unread(said.why)
            asked, _ = turns.without_answer(said)
            found["turns"] = [
                {**turn, "content": turn["content"] if clean is None else clean(turn["content"])} for turn in asked
            ]
            return found
        for key in ("text", "text_pair"):
            if key in row:
                text = text_of(row[key])
                found[key] = text if clean is None else clean(text)
                if not found[key].strip():
                    raise Unread("has no text" if not text.strip() else "has no text after cleaning")
        return found

    return cleaned
