"""From a place that a person gave to its files: a file, a folder, an archive, a hub id."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pretune.data.archives.streams import Archive, Entry, file_entry, zip_archive
from pretune.data.archives.tar import looks_like_tar, tar_archive
from pretune.data.formats.base import Options
from pretune.data.formats.excel import EXCEL_SUFFIXES
from pretune.data.media.base import inside, kind_of_entry, looked_into, media_entry, mend_of, reason_words
from pretune.data.media.find import archive_finder, disk_finder
from pretune.data.media.kinds import HEAD_BYTES, kind_of_bytes, kind_of_name
from pretune.data.places.beside import lone_table
from pretune.data.places.folder_names import is_archive
from pretune.data.places.place import (
    ABOUT,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    LeftOut,
    Place,
    Source,
    hidden,
    split_of_word,
    stamp_of,
)
from pretune.data.places.sources import sorted_out
from pretune.errors import DataError, did_you_mean
from pretune.modalities import Modality

if TYPE_CHECKING:
    import datasets

__all__ = ["find_place", "refuse_missing"]

_MAX_DEPTH, _MAX_MEDIA_DEPTH = 4, 10
_ROWS = (*TABLE_SUFFIXES, *TEXT_SUFFIXES)


def find_place(given: str, options: Options, *, ask: bool = True) -> Place:
    """The tables at a file, folder, archive or hub id. ``ask``: refuse where it is open which folders are the labels.

    Raises :class:`DataError` when there are none.
    """
    path = Path(given).expanduser()
    if not os.path.lexists(path):
        from pretune.data.formats.arrow import hub_datasets

        refuse_missing(given)
        return _loaded(hub_datasets(given), given)
    if path.is_dir():
        return _folder(path, options, ask=ask)
    if kind := kind_of_name(path.name):
        return _one_media_file(path, kind)
    entry = file_entry(path, path.name)
    if archive := _opened(path, entry, options):
        return _archive(archive, str(path), options, ask=ask)
    if path.suffix.lower() not in _ROWS:
        with entry.open() as stream:
            kind = kind_of_bytes(stream.read(HEAD_BYTES))
        if kind:
            return _one_media_file(path, kind)
    return lone_table(path, entry, options)


def _one_media_file(path: Path, kind: Modality) -> Place:
    """One picture or clip. Raises :class:`DataError` when it is not a readable file; what it holds is looked at later."""
    real = Path(os.path.realpath(path))
    entry = replace(media_entry(real, path.name, real.parent), name=path.name)
    if not path.is_file():
        raise DataError(f"{path} is not a regular file", "give a file or folder")
    return Place([Source(path.name, (entry,), media=kind, classes=(None,))], [stamp_of(entry)])


def _opened(path: Path, entry: Entry, options: Options) -> Archive | None:
    """The files of a zip or tar archive, None for a file that is none. Raises :class:`DataError` for a damaged one."""
    with entry.open() as stream:
        head = stream.read(4)
    if path.suffix.lower() in EXCEL_SUFFIXES:
        return None
    if path.suffix.lower() == ".zip" or head in (b"PK\x03\x04", b"PK\x05\x06"):
        return zip_archive(path, options.encoding)
    named = is_archive(path.name)
    if named or (path.suffix.lower() not in _ROWS and looks_like_tar(path)):
        return tar_archive(path, options.encoding)
    return None


def _archive(archive: Archive, place: str, options: Options, *, ask: bool) -> Place:
    entries = [_looked_into(entry) for entry in archive.entries]
    members = {entry.name: entry for entry in entries}
    found = sorted_out(
        entries,
        place,
        lambda entry: archive_finder(members, str(PurePosixPath(entry.name).parent)),
        options,
        ask=ask,
    )
    found.notes += _names_note(archive, place)
    return found


def _names_note(archive: Archive, place: str) -> list[str]:
    if archive.encoding is None:
        return []
    return [f"The names in {place} carry no mark of their encoding; they were read as {archive.encoding}."]


def _looked_into(entry: Entry) -> Entry:
    """The entry with its kind, where its name does not say what it holds."""
    plain = kind_of_name(entry.name) is None and entry.suffix not in (*_ROWS, ".gz") and not is_archive(entry.name)
    return looked_into(entry) if plain and entry.size else entry


def refuse_missing(given: str) -> None:
    """Raise :class:`DataError`, naming what lies there, for a place that is not there and may be no hub id."""
    from pretune.data.formats.arrow import looks_like_hub_id

    path = Path(given).expanduser()
    if looks_like_hub_id(given) and path.suffix.lower() not in (*_ROWS, ".gz", ".zip"):
        return
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    names = sorted(beside.name for beside in parent.iterdir() if not beside.name.startswith("."))[:2000]
    wanted = path.relative_to(parent).parts[0] if parent in path.parents and parent != Path() else path.parts[0]
    fix = did_you_mean(wanted, names) if names else f"{parent} is empty"
    fix = fix if len(fix) <= 300 else fix[:300] + " ..."
    raise DataError(f"{path} does not exist", f"in {parent}: {fix}")


def _loaded(found: dict[str, datasets.Dataset], name: str) -> Place:
    known = {part: split_of_word(part) for part in found}
    if len(found) > 1 and not any(known.values()):
        raise DataError(f"{name} has the splits {', '.join(found)}", "name one of them train")
    sources = [
        Source(part or name, split=known[part], dataset=rows)
        for part, rows in found.items()
        if known[part] or len(found) == 1
    ]
    names = [part for part in found if not known[part]] if len(found) > 1 else []
    why = "splits whose names are not train, validation, test or unlabelled"
    unplaced = [LeftOut(why, names, "no-split", "give such rows one of these names")] if names else []
    return Place(sources, [[part, rows._fingerprint] for part, rows in found.items()], left_out=unplaced)


def _folder(given: Path, options: Options, *, ask: bool) -> Place:
    from pretune.data.formats.arrow import saved_datasets

    folder = Path(os.path.realpath(given))
    saved = saved_datasets(folder)
    if saved is not None:
        place = _loaded(saved, folder.name)
        stamps: list[object] = [
            stamp_of(file_entry(path, str(path))) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        return Place(place.sources, stamps, left_out=place.left_out)
    walk = _Walk(folder, trust=options.trust_paths)
    entries, notes = _unpacked(walk.entries, folder, options)
    walk.check(str(given))
    place = sorted_out(
        entries,
        str(given),
        lambda entry: disk_finder((folder / entry.name).parent, folder, trust=options.trust_paths),
        options,
        ask=ask,
    )
    place.notes += notes
    place.left_out += walk.left_out(empty=any(source.media for source in place.sources))
    return place


def _unpacked(entries: Sequence[Entry], folder: Path, options: Options) -> tuple[list[Entry], list[str]]:
    """The members of the archives of pictures or clips in a folder that holds nothing else with rows; notes on their names."""
    archives = [entry for entry in entries if is_archive(entry.name)]
    others = [
        entry for entry in entries if entry.suffix in _ROWS and not ABOUT.fullmatch(PurePosixPath(entry.inner).stem)
    ]
    if not archives or others or any(map(kind_of_entry, entries)):
        return list(entries), []
    found = [entry for entry in entries if entry not in archives]
    notes: list[str] = []
    for entry in archives:
        archive = _opened(folder / entry.name, entry, options)
        assert archive is not None, "its name says so"
        notes += _names_note(archive, entry.name)
        found += [
            replace(_looked_into(member), name=f"{entry.name}/{member.name}", inner=f"{entry.name}/{member.inner}")
            for member in archive.entries
        ]
    return (found, notes) if any(map(kind_of_entry, found)) else (list(entries), [])


class _Walk:
    """The files of a folder to a few levels deep, hidden ones passed over, in order of name; and what was not looked at."""

    def __init__(self, folder: Path, *, trust: bool) -> None:
        self.folder, self._trust = folder, trust
        self._empty: list[str] = []
        self._linked: list[str] = []
        self._outside: list[str] = []
        self._deep: list[str] = []
        self.entries = [entry for path, name in self._files() if (entry := self._entry(path, name)) is not None]

    def _files(self) -> Iterator[tuple[Path, str]]:
        def refuse(error: OSError) -> None:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}", "check its permissions")

        seen = {self.folder}
        for here, folders, files in os.walk(self.folder, onerror=refuse, followlinks=self._trust):
            inner = Path(here).relative_to(self.folder)
            depth = len(inner.parts)
            if not folders and not files:
                self._empty.append(inner.as_posix())
            folders[:] = sorted(name for name in folders if not hidden(name) and self._enter(Path(here, name), seen))
            if depth >= _MAX_MEDIA_DEPTH:
                self._deep += [(inner / name).as_posix() for name in folders]
                folders[:] = []
            for name in sorted(files):
                if not hidden(name):
                    yield Path(here, name), (inner / name).as_posix()

    def _enter(self, path: Path, seen: set[Path]) -> bool:
        """Whether to look into a folder: a link is followed where links are trusted, and no folder twice."""
        if not path.is_symlink():
            return True
        real = Path(os.path.realpath(path))
        if not self._trust or real in seen or real in path.parents:
            self._linked.append(path.relative_to(self.folder).as_posix())
            return False
        seen.add(real)
        return True

    def _entry(self, path: Path, name: str) -> Entry | None:
        if kind_of_name(name):
            return media_entry(path, name, self.folder, trust=self._trust)
        if len(PurePosixPath(name).parts) > _MAX_DEPTH + 1:
            self._deep.append(name)
            return None
        if path.is_symlink() and not self._trust and not inside(path, self.folder):
            self._outside.append(name)
            return None
        return _looked_into(file_entry(path, name))

    def check(self, place: str) -> None:
        """Raise :class:`DataError` where more than half of the files are links out of the folder."""
        if len(self._outside) > len(self.entries):
            problem = f"{place}: {len(self._outside)} of {len(self.entries) + len(self._outside)} files"
            raise DataError(f"{problem} {reason_words('outside', 2)}: {self._outside[0]} ...", mend_of("outside"))

    def left_out(self, *, empty: bool) -> list[LeftOut]:
        """What gave no files: folders, links, what lies too deep."""
        follow = "--trust-paths follows links, wherever they lead; only for data that you trust"
        found = [
            LeftOut("folders without files", self._empty if empty else []),
            LeftOut("links to folders, which are not followed", self._linked, "links", follow),
            LeftOut("links that lead out of the folder, and were not opened", self._outside, "links", follow),
            LeftOut(
                f"more than {_MAX_DEPTH} folders deep",
                self._deep,
                "deep-files",
                "give a folder nearer to them, or move them up",
            ),
        ]
        return [one for one in found if one.names]
