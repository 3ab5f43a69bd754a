"""The files of a corpus that is learned from file by file: where they are, before any of them is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pretune.config import DataSettings
from pretune.data.media.kinds import kind_of_name
from pretune.data.places.folder_names import is_archive
from pretune.data.places.inputs import STDIN
from pretune.data.places.patterns import expanded
from pretune.data.places.place import ABOUT, TABLE_SUFFIXES, TEXT_SUFFIXES, hidden, split_of_path
from pretune.data.remote.addresses import is_address
from pretune.data.remote.stores import listing_of
from pretune.errors import DataError, UsageError

__all__ = ["CorpusFile", "files_of"]

_ROWS = (*TABLE_SUFFIXES, *TEXT_SUFFIXES)
_HELD_OUT = ("validation", "test")
_SHOWN = 5


@dataclass(frozen=True)
class CorpusFile:
    """One file: its name below what was given (its place, where several have one name), its path or address, and its size (0 where nobody tells)."""

    name: str
    place: str
    bytes: int


def files_of(settings: DataSettings) -> tuple[list[CorpusFile], list[str]]:
    """The files of ``--data``, ``--train`` and ``--unlabelled`` that hold rows to learn from, in the order of their names, and
    sentences on those that do not. Nothing is opened, and nothing copied.

    Raises :class:`DataError` where there are none, or where single pictures or clips lie among them, and :class:`UsageError`
    for standard input.
    """
    found: list[CorpusFile] = []
    left_out: dict[str, list[str]] = {}
    for given in (*settings.places, *settings.train, *settings.unlabelled):
        if given == STDIN:
            raise UsageError("--stream reads files, and standard input (-) is none", "write the rows to a file")
        for file in _listed(given):
            if why := _why_not(file, told=given not in settings.places, by_name=settings.splits != "none"):
                left_out.setdefault(why, []).append(file.name)
            else:
                found.append(file)
    if not found:
        raise DataError(
            f"{settings.place} has no file of rows to learn from",
            f"--stream reads {', '.join(_ROWS[:4])} and archives of such; pretune inspect shows what is there",
        )
    times = Counter(file.name for file in found)
    found = [replace(file, name=file.place) if times[file.name] > 1 else file for file in found]
    return found, [
        f"Left out: {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''} ({why})."
        for why, names in left_out.items()
    ]


def _listed(given: str) -> Iterator[CorpusFile]:
    if is_address(given):
        listing = listing_of(given)
        scheme = given.partition("://")[0]
        for file in listing.files:
            place = given if listing.kind == "file" else f"{scheme}://{file.path.lstrip('/')}"
            yield CorpusFile(file.name, place, file.bytes or 0)
        return
    for place in expanded(given):
        path = Path(place).expanduser()
        if path.is_dir():
            inside = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
            yield from (CorpusFile(one.relative_to(path).as_posix(), str(one), one.stat().st_size) for one in inside)
        elif path.is_file():
            yield CorpusFile(path.name, str(path), path.stat().st_size)
        else:
            raise DataError(f"{given} is no file, folder, pattern or address", "--stream reads files, in turn")


def _why_not(file: CorpusFile, *, told: bool, by_name: bool) -> str:
    """Why a file gives no rows to learn from; "" for one that does. ``told``: its split was, and its name says nothing."""
    name = PurePosixPath(file.name)
    inner = PurePosixPath(name.stem) if name.suffix.lower() == ".gz" else name
    if any(map(hidden, name.parts)) or not file.bytes:
        return "hidden or empty"
    if ABOUT.fullmatch(inner.stem):
        return "about the data"
    if kind_of_name(inner.name):
        raise DataError(
            f"{file.place} is a single file of one row, and --stream reads files of many",
            "put such files into archives (tar or zip) of a few thousand each, or leave --stream out",
        )
    if inner.suffix.lower() not in _ROWS and not is_archive(name.name):
        return "no table, text or archive"
    split = split_of_path(file.name) if by_name and not told else None
    return f"{split} rows" if split in _HELD_OUT else ""
