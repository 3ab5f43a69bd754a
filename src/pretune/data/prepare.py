"""The tables of a place, opened in turn, with the meaning of their columns: what ``read`` and ``stream_rows`` share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pretune.data.cells.squad import join_answers
from pretune.data.columns.find import find_roles
from pretune.data.columns.looks import column_flag, names_files, sampled
from pretune.data.columns.roles import ANSWER_ROLES, Roles
from pretune.data.columns.split import FoldTally
from pretune.data.dialogue.columns import join_turns
from pretune.data.formats.base import Chunk, Options, Table
from pretune.data.formats.open import open_source, reading
from pretune.data.labels.lists import join_indicators
from pretune.data.media.rows import small_chunks
from pretune.data.places.place import Place, Source
from pretune.data.points.columns import join_points
from pretune.data.reading import Reading
from pretune.data.rows import RowMaker
from pretune.errors import DataError

__all__ = ["Prepared", "prepared_tables"]

_SAMPLE_ROWS, _SAMPLE_FILES = 2_000, 200
_MANY_FILES = 10


@dataclass
class Prepared:
    """A table with its roles, ready to give rows. ``told``: its split was told by the person, and its rows may say no other."""

    name: str
    split: str | None
    table: Table
    roles: Roles
    maker: RowMaker
    chunks: Iterator[Chunk]
    told: bool = False

    @property
    def class_names(self) -> Sequence[str]:
        """The names that the file itself gives to class indices, in the order of these."""
        return self.table.class_names.get(self.roles.label or self.roles.labels or self.roles.keypoints or "", ())


def prepared_tables(
    place: Place,
    asked: Mapping[str, str],
    options: Options,
    *,
    in_order: bool = False,
    folds: FoldTally | None = None,
    learned: Reading | None = None,
) -> Iterator[Prepared]:
    """The tables of a place in turn, each opened when its turn comes, with the roles of its columns: those ``asked`` for, else
    those that a model ``learned`` from, else those that are found.

    ``in_order`` keeps the order of names; otherwise the tables that tell most about the columns come first. ``folds`` counts
    the rows of each fold.
    """
    earlier: dict[tuple[object, ...], Roles] = {}
    told = asked
    for source in place.sources if in_order else _largest_first(place.sources):
        for inner_split, table in open_source(source, options).items():
            name = f"{source.name} ({inner_split})" if inner_split else source.name
            with reading(name):
                told = asked if learned is None else learned.asked(table, asked, name)
                if source.told and source.split == "unlabelled":  # those rows need no column of answers
                    told = {role: column for role, column in told.items() if role not in ANSWER_ROLES}
                table = join_points(join_answers(join_indicators(table, told.get("labels"), name)), told, source.stems)
                table = join_turns(table, told)
                key = (table.columns, tuple(table.roles.items()))
                sample = _sample(table)
                if not sample:
                    raise DataError(
                        f"{name} holds no rows{', only column names' if table.named else ''}", "give a file with rows"
                    )
                roles = earlier.get(key) or _roles(source, table, sample, told, name, bool(place.label_files))
            earlier[key] = roles
            label = None if told.get("label") == "" or roles.answers else source.label
            maker = RowMaker(table, roles, name, label, source.find, folds, options.group_from, sample)
            chunks = chain(sample, table.chunks)
            chunks = small_chunks(chunks, maker.media) if maker.media is not None else chunks
            split = source.split if source.told else inner_split or source.split
            yield Prepared(name, split, table, roles, maker, chunks, source.told)


def _roles(
    source: Source, table: Table, sample: list[Chunk], asked: Mapping[str, str], name: str, classes_named: bool
) -> Roles:
    """The roles of the columns. A table beside many pictures or clips has to name them, or be read without them on purpose."""
    beside = 0 if {"image", "audio"} & asked.keys() else source.num_beside
    refused = DataError(
        f"{name} lies beside {beside} pictures or clips, but none of its columns names them: {', '.join(table.columns)}",
        "name the column: --column image=NAME or --column audio=NAME (--column image= reads the table alone); "
        "or give the folder of the files alone",
    )
    try:
        roles = find_roles(table, sample, asked, name, classes_named=classes_named)
    except DataError as error:
        raise (refused if beside >= _MANY_FILES else error) from None
    if roles.media is None and beside >= _MANY_FILES:
        raise refused
    if roles.text is not None and roles.media is None and roles.how["text"] in ("its name", "what it holds"):
        path = source.entries[0].path if source.entries else None
        _refuse_names_of_files(roles.text, sampled(sample, roles.text), name, path and path.parent)
    return roles


def _refuse_names_of_files(column: str, cells: Sequence[Any], name: str, folder: Path | None) -> None:
    """Raise :class:`DataError` where the column that was found to be the text names files (in ``folder``, where there is one)."""
    if files := names_files(cells, folder):
        raise DataError(
            f"{name}: the cells of {column}, which would be the text, are names of files, such as {files[0]!r}; a model would learn from the names",
            f"if they are pictures or clips, name the column {column_flag('image', column)} or {column_flag('audio', column)} "
            f"(kinds that cannot be read: convert them first, to PNG or FLAC); {column_flag('text', column)} reads the names themselves",
        )


def _largest_first(sources: list[Source]) -> list[Source]:
    """Training rows first and large files before small ones: they tell best what the columns mean."""
    return sorted(
        sources, key=lambda source: (source.split not in ("train", None), -sum(entry.size for entry in source.entries))
    )


def _sample(table: Table) -> list[Chunk]:
    sample: list[Chunk] = []
    for chunk in table.chunks:
        sample.append(chunk)
        if sum(len(seen.numbers) for seen in sample) >= (_SAMPLE_FILES if table.media else _SAMPLE_ROWS):
            break
    return sample
