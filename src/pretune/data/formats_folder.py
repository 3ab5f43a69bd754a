"""From a place that a person gave to its files: a file, a folder, an archive, a hub id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pretune.data.archive import Entry, file_entry, zip_entries
from pretune.data.formats_media import stems_of
from pretune.data.formats_place import (
    ABOUT,
    LABEL_FILE,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    Place,
    Source,
    hidden,
    left_out,
    split_of_word,
    stamp_of,
)
from pretune.data.formats_sources import sorted_out
from pretune.data.media import disk_finder, kind_of_bytes, kind_of_name, media_entry, zip_finder
from pretune.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import datasets

__all__ = ["find_place"]

_MAX_DEPTH, _MAX_MEDIA_DEPTH = 4, 10
_STAMP_BYTES, _MOST_STAMPS = 2**16, 500_000


def find_place(given: str) -> Place:
    """The tables at a file, folder, archive or hub id. Raises :class:`DataError` when there are none."""
    from pretune.data.formats_arrow import hub_datasets, looks_like_hub_id

    path = Path(given).expanduser()
    if not os.path.lexists(path):
        if looks_like_hub_id(given) and path.suffix.lower() not in (*TABLE_SUFFIXES, *TEXT_SUFFIXES, ".gz", ".zip"):
            return _loaded(hub_datasets(given), given)
        raise _missing(path)
    if path.is_dir():
        return _folder(path)
    if kind := kind_of_name(path.name):
        return _one_media_file(path, kind)
    entry = file_entry(path, path.name)
    if path.suffix.lower() == ".zip" or _starts_with(entry, b"PK\x03\x04") or _starts_with(entry, b"PK\x05\x06"):
        return _archive(path)
    if path.suffix.lower() not in (*TABLE_SUFFIXES, *TEXT_SUFFIXES):
        with entry.open() as stream:
            kind = kind_of_bytes(stream.read(12))
        if kind:
            return _one_media_file(path, kind)
    beside = [
        file_entry(other, other.name)
        for other in sorted(path.parent.iterdir())
        if LABEL_FILE.fullmatch(other.name) and other.is_file()
    ]
    beside = [other for other in beside if other.name != path.name]
    files = _media_beside(path, entry)
    find = disk_finder(path.parent, path.parent)
    source = Source(entry.name, (entry,), find=find, stems=frozenset(stems_of(files)))
    return Place([source], [stamp_of(e) for e in (entry, *beside, *files)], beside)


def _one_media_file(path: Path, kind: str) -> Place:
    """One picture or clip. Raises :class:`DataError` when it is not a readable file; what it holds is looked at later."""
    real = Path(os.path.realpath(path))
    entry = replace(media_entry(real, path.name, real.parent), name=path.name)
    if not path.is_file():
        raise DataError(f"{path} is not a regular file", "give a file or folder")
    return Place([Source(path.name, (entry,), media=kind, classes=(None,))], [stamp_of(entry)])


def _media_beside(table: Path, entry: Entry) -> list[Entry]:
    """The media files below the folder of a table that seems to name some: when they change, so do its rows.

    A text that mentions a file's name is no reason to fail, so what cannot be looked into is passed over.
    """
    with entry.open() as stream:
        start = stream.read(_STAMP_BYTES).lower()
    if re.search(rb"\.(jpe?g|png|gif|bmp|webp|tiff?|wav|flac|ogg|opus|mp3|aiff?)\b", start):
        tops = [table.parent]
    else:  # LJSpeech's list leaves the suffix out
        tops = [table.parent / name for name in ("wavs", "wav", "clips")] if start.count(b"|") else []
    root = Path(os.path.realpath(table.parent))
    files = (Path(here, name) for top in tops for here, _, names in os.walk(top) for name in sorted(names))
    media = (path for path in islice(files, _MOST_STAMPS) if kind_of_name(path.name))
    return [media_entry(path, path.relative_to(table.parent).as_posix(), root) for path in media]


def _archive(path: Path) -> Place:
    entries = zip_entries(path)
    members = {entry.name: entry for entry in entries}
    return sorted_out(entries, str(path), lambda entry: zip_finder(members, str(PurePosixPath(entry.name).parent)))


def _starts_with(entry: Entry, mark: bytes) -> bool:
    with entry.open() as stream:
        return stream.read(len(mark)) == mark


def _missing(path: Path) -> DataError:
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    names = sorted(beside.name for beside in parent.iterdir() if not beside.name.startswith("."))[:2000]
    wanted = path.relative_to(parent).parts[0] if parent in path.parents and parent != Path() else path.parts[0]
    fix = did_you_mean(wanted, names) if names else f"{parent} is empty"
    fix = fix if len(fix) <= 300 else fix[:300] + " ..."
    return DataError(f"{path} does not exist", f"in {parent}: {fix}")


def _loaded(found: dict[str, datasets.Dataset], name: str) -> Place:
    known = {part: split_of_word(part) for part in found}
    if len(found) > 1 and not any(known.values()):
        raise DataError(f"{name} has the splits {', '.join(found)}", "name one of them train")
    sources = [
        Source(part or name, split=known[part], dataset=rows)
        for part, rows in found.items()
        if known[part] or len(found) == 1
    ]
    left_out = [part for part in found if not known[part]] if len(found) > 1 else []
    notes = (
        [f"The splits {', '.join(left_out)} were left out: their names are not train, validation, test or unlabelled."]
        if left_out
        else []
    )
    return Place(sources, [[part, rows._fingerprint] for part, rows in found.items()], notes=notes)


def _folder(given: Path) -> Place:
    from pretune.data.formats_arrow import saved_datasets

    folder = Path(os.path.realpath(given))
    saved = saved_datasets(folder)
    if saved is not None:
        place = _loaded(saved, folder.name)
        stamps: list[object] = [
            stamp_of(file_entry(path, str(path))) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        return Place(place.sources, stamps, notes=place.notes)
    entries = [
        media_entry(path, name, folder) if kind_of_name(name) else file_entry(path, name)
        for path, name in _walk(folder)
    ]
    place = sorted_out(_unpacked(entries), str(given), lambda entry: disk_finder((folder / entry.name).parent, folder))
    if any(source.media for source in place.sources):
        place.notes += _odd_folders(folder)
    return place


def _odd_folders(folder: Path) -> list[str]:
    """Sentences on folders that gave nothing: empty ones, and links to folders."""
    empty, linked = [], []
    for here, folders, files in os.walk(folder):
        shown = Path(here).relative_to(folder)
        linked += [str(shown / name) for name in sorted(folders) if Path(here, name).is_symlink()]
        if not folders and not files and not any(map(hidden, shown.parts)):
            empty.append(str(shown))
    notes = [left_out(empty, "folders without files")] if empty else []
    return notes + ([left_out(linked, "links to folders, which are not followed")] if linked else [])


def _unpacked(entries: Sequence[Entry]) -> list[Entry]:
    """The members of the zip archives of pictures or clips in a folder that holds nothing else with rows."""
    archives = [entry for entry in entries if entry.suffix == ".zip" and entry.path is not None]
    others = [entry for entry in entries if entry.suffix in (*TABLE_SUFFIXES, *TEXT_SUFFIXES)]
    others = [entry for entry in others if not ABOUT.fullmatch(PurePosixPath(entry.inner).stem)]
    if not archives or others or any(kind_of_name(entry.name) for entry in entries):
        return list(entries)
    found = [entry for entry in entries if entry not in archives]
    for archive in archives:
        assert archive.path is not None, "chosen above"
        found += [
            replace(member, name=f"{archive.name}/{member.name}", inner=f"{archive.name}/{member.inner}")
            for member in zip_entries(archive.path)
        ]
    return found if any(kind_of_name(entry.name) for entry in found) else list(entries)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files to a few levels deep, hidden ones left out, in order of name."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}", "check its permissions")

    for here, folders, files in os.walk(folder, onerror=refuse):
        inner = Path(here).relative_to(folder)
        depth = len(inner.parts)
        folders[:] = [] if depth >= _MAX_MEDIA_DEPTH else sorted(name for name in folders if not hidden(name))
        for name in sorted(files):
            if not hidden(name) and (depth <= _MAX_DEPTH or kind_of_name(name)):
                yield Path(here, name), (inner / name).as_posix()
