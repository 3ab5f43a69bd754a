"""From the files of a folder or archive to what will be read: tables, documents of classes, pictures or clips."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pretune.data.archive import Entry
from pretune.data.formats_media import media_groups, media_kind, stems_of
from pretune.data.formats_place import (
    ABOUT,
    LABEL_FILE,
    SPLIT_BY_WORD,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    Place,
    Source,
    hidden,
    left_out,
    named_after_split,
    split_of_path,
    split_of_word,
    stamp_of,
)
from pretune.data.media import Find, kind_of_name
from pretune.errors import DataError

__all__ = ["sorted_out"]

_KINDS = {".tab": ".tsv", ".ndjson": ".json", ".jsonl": ".json", ".pq": ".parquet", ".feather": ".arrow"}
_MANY_TEXT_FILES = 200


def sorted_out(entries: Sequence[Entry], place: str, find_from: Callable[[Entry], Find]) -> Place:
    """Sources of a folder or archive: what holds rows, what names classes, what is left out and told.

    ``find_from`` gives, for a table, what finds the files that its rows name. Raises :class:`DataError`.
    """
    entries = [entry for entry in entries if not any(map(hidden, PurePosixPath(entry.name).parts))]
    label_files = [entry for entry in entries if LABEL_FILE.fullmatch(PurePosixPath(entry.name).name)]
    known = [
        entry for entry in entries if entry.suffix in (*TABLE_SUFFIXES, *TEXT_SUFFIXES) and entry not in label_files
    ]
    rows = [entry for entry in known if not ABOUT.fullmatch(PurePosixPath(entry.inner).stem)]
    sources = _sources(rows, [entry for entry in entries if kind_of_name(entry.name)], place, find_from)
    if not sources:
        seen = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise DataError(
            f"{place} holds no table, text, picture or sound (it holds {seen}{' ...' if len(entries) > 5 else ''})",
            f"allowed: {' '.join((*TABLE_SUFFIXES, *TEXT_SUFFIXES))}, also with .gz; pictures; clips of sound",
        )
    sources, notes = _placed(sources, place)
    used = {entry.name for source in sources for entry in source.entries} | {entry.name for entry in label_files}
    named = any(source.find for source in sources)  # then the rows say which pictures or clips are used
    others = [
        entry.name
        for entry in entries
        if entry.name not in used
        and not (named and kind_of_name(entry.name))
        and not any(entry.name in note for note in notes)
    ]
    notes += [left_out(others, "they hold no rows, or are about the data")] if others else []
    return Place(sources, [stamp_of(entry) for entry in entries], label_files, notes)


def _sources(
    rows: Sequence[Entry], media: Sequence[Entry], place: str, find_from: Callable[[Entry], Find]
) -> list[Source]:
    """Tables before all; else pictures or clips where they are more than the text files."""
    tables = [entry for entry in rows if entry.suffix in TABLE_SUFFIXES]
    kinds = sorted({_KINDS.get(entry.suffix, entry.suffix) for entry in tables})
    if len(kinds) > 1:
        raise DataError(
            f"{place} holds tables of several kinds ({', '.join(kinds)})",
            "give one of the files, or put one kind in a folder of its own",
        )
    if tables:
        stems = frozenset(stems_of(media))
        return [replace(_source(entry), find=find_from(entry), stems=stems, num_beside=len(media)) for entry in tables]
    twins = {PurePosixPath(entry.inner).stem for entry in rows} & stems_of(media)
    if twins and 2 * len(twins) > len(stems_of(media)):
        raise DataError(
            f"{place} holds pictures or clips with a text file of the same name each, such as {min(twins)}",
            "write one table, such as JSON lines with audio_filepath and text, or put the texts elsewhere",
        )
    return _media_sources(media, place) if len(media) > len(rows) else _text_sources(rows)


def _placed(sources: list[Source], place: str) -> tuple[list[Source], list[str]]:
    """Only the sources of a split where some name one, and a note on the others.

    Raises :class:`DataError` where files are called after splits, none of them train, and others are called otherwise.
    """
    if not any(source.split in ("train", "validation", "test") for source in sources):
        return sources, []
    unplaced = [source for source in sources if source.split is None]
    names = [name for source in unplaced for name in _names(source)]
    if sources[0].media and 2 * len(names) > sum(len(source.entries) for source in sources):
        raise DataError(
            f"{place}: some folders are named after splits, most files are in others, such as {names[0]}",
            "put all files into folders such as train, validation and test, or give one of the folders",
        )
    if unplaced and not sources[0].media and not any(source.split == "train" for source in sources):
        return _without_train(sources, place)
    notes = [left_out(names, "their names say no split while others do")] if names else []
    return [source for source in sources if source.split is not None], notes


def _without_train(sources: list[Source], place: str) -> tuple[list[Source], list[str]]:
    """Where no table is called train: a split's word inside another name (``test_drive_reviews.csv``) is then no split."""
    placed = [source for source in sources if source.split in ("validation", "test")]
    if not any(named_after_split(source.name) for source in placed):
        listed = ", ".join(source.name for source in placed)
        note = f"{place}: no file is called train, so {listed} is read like the others, not as a split of its own; --test and --validation name files of a split."
        return [replace(source, split=None) if source in placed else source for source in sources], [note]
    others = [source for source in sources if source.split is None]
    flags = [(source.split or "train", source.name) for source in [*others, *placed]]
    raise DataError(
        f"{place} holds {', '.join(f'{source.name} ({source.split})' for source in placed)} and no train split, but also {', '.join(source.name for source in others)}",
        "say what is what: "
        + " ".join(f"--{split} {shlex.quote(str(PurePosixPath(place) / name))}" for split, name in flags),
    )


def _names(source: Source) -> list[str]:
    return [entry.name for entry in source.entries] if source.media else [source.name]


def _media_sources(media: Sequence[Entry], place: str) -> list[Source]:
    """One source a split; files of the rarer kind are left to be told as such."""
    kind = media_kind(media, place)
    files = [entry for entry in media if kind_of_name(entry.name) == kind]
    name = PurePosixPath(place).name or "files"
    return [
        Source(group.split or name, group.entries, group.split, media=kind, classes=group.classes)
        for group in media_groups(files, SPLIT_BY_WORD)
    ]


def _source(entry: Entry) -> Source:
    return Source(entry.name, (entry,), split_of_path(entry.name))


def _text_sources(entries: Sequence[Entry]) -> list[Source]:
    """Class folders (one row a file, the folder's name its label), or files with one row a line."""
    by_folder: dict[PurePosixPath, list[Entry]] = {}
    for entry in entries:
        by_folder.setdefault(PurePosixPath(entry.name).parent, []).append(entry)
    siblings: dict[PurePosixPath, list[PurePosixPath]] = {}
    for folder in by_folder:
        if folder.name and not split_of_word(folder.name):
            siblings.setdefault(folder.parent, []).append(folder)
    parents = {parent for parent, folders in siblings.items() if len(folders) >= 2}
    if not parents:
        return [source for folder, files in by_folder.items() for source in _plain_text(folder, files)]
    sources = []
    for folder, files in by_folder.items():
        if folder.parent in parents and folder.name:
            label = None if split_of_word(folder.name) else folder.name
            sources.append(Source(str(folder), tuple(files), split_of_path(str(folder / "x")), label, documents=True))
    return sources


def _plain_text(folder: PurePosixPath, files: Sequence[Entry]) -> list[Source]:
    if len(files) <= _MANY_TEXT_FILES:
        return [_source(entry) for entry in files]
    return [Source(str(folder), tuple(files), split_of_path(str(folder / "x")), documents=True)]
