"""Rows to predict, one after the other, in bounded memory: the readers of ``read`` without its tables on disk."""

from __future__ import annotations

import codecs
import contextlib
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from pretune.data.columns.find import find_roles
from pretune.data.columns.roles import ANSWER_ROLES, Roles, parse_columns
from pretune.data.dialogue.columns import join_turns
from pretune.data.dialogue.turns import Unusable
from pretune.data.formats.base import ABSENT, Chunk, Options, Table
from pretune.data.formats.dialect import parse_delimiter
from pretune.data.formats.header import header_delimiter
from pretune.data.formats.json import jsonl_batches, jsonl_rows, looks_like_json_lines
from pretune.data.formats.lines import line_chunks
from pretune.data.formats.open import reading
from pretune.data.formats.table import piped_table
from pretune.data.media.find import free_finder
from pretune.data.places.folder import find_place
from pretune.data.prepare import prepared_tables
from pretune.data.reading import WHOLE_LINE, Reading
from pretune.data.remote.copies import local
from pretune.data.rows import RowMaker, Rows
from pretune.data.splits import COLUMNS
from pretune.data.store import canonical_columns
from pretune.errors import DataError
from pretune.modalities import FILES, Modality

__all__ = ["RowWithoutText", "stream_rows"]

_INPUT = "standard input"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of rows to predict: of ``modality``, with the columns ``asked`` for, else those of old (``learned``).

    ``on_left_out`` is told of each row that cannot be used; without it such a row is an error. ``on_read`` is told of each
    table and its columns by role.
    """

    modality: Modality = Modality.TEXT
    asked: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    learned: Reading = field(default_factory=Reading)
    on_left_out: Callable[[DataError], None] | None = None
    on_read: Callable[[str, Mapping[str, str]], None] = lambda name, columns: None
    counts: Counter[str] | None = None

    def columns(self, table: Table, name: str) -> dict[str, str]:
        """The columns to ask of a table. In which split or fold a row stands is nothing to a prediction."""
        return self.learned.asked(table, {"split": "", "fold": "", "mask": "", "keypoints": "", **self.asked}, name)

    def told(self, name: str, table: Table, roles: Roles) -> None:
        """Tell which columns the inputs are read from, where the format does not say that."""
        found = {role: column for role, column in roles.to_dict().items() if role in self.modality.columns}
        if table.roles == {"text": "0"} and table.by_line and self.learned.width > 1:
            found = {"text": WHOLE_LINE}
        else:
            found = {role: column for role, column in found.items() if role not in table.roles}
        self.on_read(name, found)


def stream_rows(
    place: str,
    *,
    columns: tuple[str, ...] = (),
    modality: Modality = Modality.TEXT,
    learned: Reading | None = None,
    on_left_out: Callable[[DataError], None] | None = None,
    on_read: Callable[[str, Mapping[str, str]], None] = lambda name, columns: None,
    counts: Counter[str] | None = None,
    by_path: bool = False,
    files: str | None = None,
    trust_paths: bool = False,
    **how: str | None,
) -> Iterator[dict[str, Any]]:
    """Rows as ``{"id", "text", "text_pair"?, "words"?, "label"?, "value"?, "tags"?}`` from a file, folder, archive, or ``-``: standard input, with a JSON
    object or a text on each line, or a CSV or TSV whose first line names the columns. Rows of pictures or clips have
    ``image`` or ``audio`` and what is known of the file.

    ``modality`` (of files) refuses rows of another kind, and on standard input reads each line that is not JSON
    as a path. Rows come in the order of the files' names; a row without an answer has no such key. What ``columns`` and ``how``
    (header, delimiter, encoding, format) leave open is as a model ``learned`` it. ``on_left_out`` is told of each file that
    cannot be used and of each row without a text; without it such a file is an error, and a row without a text stays.
    ``on_read`` is told of each table and its columns by role; ``counts`` takes the values that were changed. ``by_path``: names
    of rows begin with ``place``, as that of a single picture or clip does. Raises :class:`DataError`.
    """
    learned = learned or Reading()
    asked = parse_columns(columns)
    names = tuple(sorted({*asked.values(), *learned.names}))
    options = Options(**learned.options(**how), names=names, files=local(files), trust_paths=trust_paths)
    wanted = Wanted(modality, asked, options, learned, on_left_out, on_read, counts)
    if place == "-":
        yield from _from_input(sys.stdin.buffer, wanted)
        return
    with reading(place):
        found = find_place(local(place) or place, options, ask=False)
    for prepared in prepared_tables(
        found, {"split": "", "fold": "", "mask": "", "keypoints": "", **asked}, options, in_order=True, learned=learned
    ):
        _check_kind(prepared.maker, prepared.name, modality)
        wanted.told(prepared.name, prepared.table, prepared.roles)
        is_named = prepared.roles.id is not None and "id" not in prepared.table.roles
        with reading(prepared.name), _telling(prepared.maker, on_left_out) as maker:
            for chunk in prepared.chunks:
                for row in _dicts(maker(_usable(chunk, maker, on_left_out))):
                    is_place = modality.is_file and row["id"] == Path(place).name
                    yield {**row, "id": _by_path(row["id"], place)} if is_place or (by_path and not is_named) else row
            if counts is not None:
                counts.update(maker.counts)


def _by_path(name: str, place: str) -> str:
    """The name of a row with the path of its place: ``inbox/a.jpg``, ``more/new.csv:3``."""
    own = Path(place).name
    return f"{place}{name.removeprefix(own)}" if name.startswith(own) else f"{place.rstrip('/')}/{name}"


def _usable(chunk: Chunk, maker: RowMaker, tell: Callable[[DataError], None] | None) -> Chunk:
    """The rows of a chunk that hold their texts; the others are told of, and left out."""
    _refuse_unusable(chunk, maker, tell)
    if tell is None or maker.media is not None:
        return chunk
    roles, whole = maker.roles, len(chunk.numbers)
    problems: dict[int, str] = {}
    for column in (roles.text, roles.text_pair, roles.words if roles.text is None else None):
        if column is not None:
            found = {place: _why_unusable(value) for place, value in enumerate(chunk.column(column))}
            problems |= {place: why for place, why in found.items() if why}
    if not problems:
        return chunk
    ids = chunk.column(roles.id) if roles.id is not None else ()
    for place in sorted(problems):
        tell(
            RowWithoutText(f"{f'row {ids[place]}' if ids else maker.row_name(chunk.numbers[place])} {problems[place]}")
        )
    keep = [place for place in range(whole) if place not in problems]

    def column_of(name: str) -> list[Any]:
        values = chunk.column(name)
        return [values[place] for place in keep]

    return Chunk([chunk.numbers[place] for place in keep], column_of)


def _refuse_unusable(chunk: Chunk, maker: RowMaker, tell: Callable[[DataError], None] | None) -> None:
    """Raise :class:`RowWithoutText` for a row that is no conversation, where nobody is told of such."""
    column = maker.roles.turns if tell is None else None
    for place, cell in enumerate(chunk.column(column) if column is not None else ()):
        if isinstance(cell, Unusable):
            raise RowWithoutText(f"{maker.row_name(chunk.numbers[place])} {cell.why}", "mend the row")


class RowWithoutText(DataError):
    """A row that holds nothing to answer."""


def _why_unusable(value: Any) -> str:
    """What is wrong with a cell that should hold a text; "" for one that does."""
    if isinstance(value, Unusable):
        return value.why
    if value is ABSENT:
        return "has no text (the key is absent)"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "has no text (null)"
    if isinstance(value, str):
        return "" if value.strip() else "has no text"
    if isinstance(value, (list, tuple)):
        return "" if value and all(isinstance(part, str) for part in value) else "has a list that is no text"
    return "" if isinstance(value, (bool, int, float)) else f"has a {type(value).__name__} where a text is needed"


def _check_kind(maker: RowMaker, name: str, modality: Modality) -> None:
    found = Modality.TEXT if maker.media is None else Modality(maker.media.kind)
    if modality.is_file and modality is not found:
        raise DataError(
            f"{name} holds {found.many}, and {modality.many} are needed",
            f"give such files, a folder of them, or a table and --column {modality}=NAME",
        )


@contextlib.contextmanager
def _telling(maker: RowMaker, on_left_out: Callable[[DataError], None] | None) -> Iterator[RowMaker]:
    """The maker, whose lost files are told or raised; its threads end with it."""
    if maker.media is None:
        yield maker
        return
    maker.media.on_lost = on_left_out or _refuse
    try:
        yield maker
    finally:
        maker.close()


def _refuse(error: DataError) -> None:
    raise error


def _dicts(rows: Rows) -> Iterator[dict[str, Any]]:
    columns = canonical_columns(rows, labels=True)
    names = [name for name in COLUMNS if name in columns]
    for values in zip(*(columns[name] for name in names), strict=True):
        yield {
            name: value
            for name, value in zip(names, values, strict=True)
            if not (value is None and name in (*ANSWER_ROLES, "words", "turns", "speaker", "group", "slice"))
        }


def _from_input(stream: BinaryIO, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Rows as soon as their line has arrived, so that a program can talk to ``predict`` through a pipe."""
    lines = _decoded(stream, wanted.options.encoding or "utf-8-sig")
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(
            "standard input holds no rows", 'give one text, or one object such as {"text": "..."}, on each line'
        )
    every, modality = chain([first], lines), wanted.modality
    if looks_like_json_lines([first]):
        table = jsonl_rows(jsonl_batches(every, _INPUT, rows=1), _INPUT)
    elif (mark := _delimiter_of(first, wanted)) is not None:
        table = piped_table(every, _INPUT, mark, header=wanted.options.header != "no")
    elif not modality.is_file:
        table = Table(("0",), False, line_chunks(every, {}, rows=1), roles={"text": "0"}, by_line=True)
    else:
        table = _paths(every, modality)
    table = join_turns(table, wanted.columns(table, _INPUT))
    sample = [chunk for chunk in [next(table.chunks, None)] if chunk is not None]
    if not sample:
        raise DataError("standard input holds column names and no rows", "give a row on each line after them")
    roles = find_roles(table, sample, _with_media(wanted.columns(table, _INPUT), table), _INPUT)
    maker = RowMaker(table, roles, _INPUT, find=free_finder)
    _check_kind(maker, _INPUT, modality)
    wanted.told(_INPUT, table, roles)
    with _telling(maker, wanted.on_left_out):
        for chunk in chain(sample, table.chunks):
            yield from _dicts(maker(_usable(chunk, maker, wanted.on_left_out)))
    if wanted.counts is not None:
        wanted.counts.update(maker.counts)


def _paths(lines: Iterator[str], modality: Modality) -> Table:
    """One file a line; its path is its row's id."""
    chunks = line_chunks(lines, {}, rows=1)
    both = (Chunk(chunk.numbers, lambda _, chunk=chunk: chunk.column("0")) for chunk in chunks)
    return Table(("0", "1"), False, both, roles={modality: "0", "id": "1"}, by_line=True)


def _delimiter_of(first: str, wanted: Wanted) -> str | None:
    """What separates columns, where the input is a table: one was told of, or the first line names columns.

    What a model learned makes a table of no line that is none: a text may hold a comma.
    """
    asked, options, learned = wanted.asked, wanted.options, wanted.learned
    if options.delimiter is not None and learned.how.get("delimiter") != options.delimiter:
        return parse_delimiter(options.delimiter)
    own = options.delimiter and parse_delimiter(options.delimiter)
    names = {*asked.values(), *learned.names}
    if own and (options.header == "no" or names & {cell.strip().strip('"') for cell in first.split(own)}):
        return own if own in first else None
    named = header_delimiter(first, names)
    if named is None and (asked or (options.header == "yes" and learned.how.get("header") != "yes")):
        return "\t" if "\t" in first else ","
    if named is None and first.strip().strip('"') in {*names, wanted.modality}:
        return "\t"  # one column and its name: its texts may hold commas
    return None if options.header == "no" and not asked else named


def _with_media(asked: Mapping[str, str], table: Table) -> dict[str, str]:
    """On standard input only a key called ``image`` or ``audio`` names a file: one row cannot tell more."""
    if {*FILES} & asked.keys() or table.roles:
        return dict(asked)
    return {**asked, **{kind: kind if kind in table.columns else "" for kind in FILES}}


def _decoded(stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines as text; UTF-8 is read strictly. The row numbers count from the first line that is not blank."""
    decoder = codecs.getincrementaldecoder(encoding)()
    held, number = "", 0
    while data := stream.readline(2**20):
        try:
            held += decoder.decode(data)
        except UnicodeError as error:
            raise DataError(
                f"standard input, line {number + 1}, is not {encoding}: {error}", "give its encoding with --encoding"
            ) from None
        if "\0" in held:
            raise DataError(f"standard input, line {number + 1}, holds a NUL byte", "give lines of text or JSON")
        if held.endswith("\n"):
            number += 1
            yield held
            held = ""
    if held:
        yield held
