"""A table on its own, and the pictures or clips that its rows may name: beside it, below it, or where ``--files`` says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pretune.data.archives.streams import Entry, file_entry, zip_archive
from pretune.data.archives.tar import tar_archive
from pretune.data.formats.base import Options
from pretune.data.formats.media import stems_of
from pretune.data.media.base import Find, kind_of_entry, media_entry
from pretune.data.media.find import archive_finder, disk_finder, media_below
from pretune.data.media.kinds import MEDIA_SUFFIXES
from pretune.data.places.folder_names import is_archive
from pretune.data.places.place import LABEL_FILE, Place, Source, stamp_of
from pretune.errors import UsageError

__all__ = ["lone_table", "named_files"]

_STAMP_BYTES = 2**16
_MOST_NEAR, _NEAR_DEPTH = 50_000, 2
_SUFFIXES = re.compile(rb"\.(?:" + "|".join(suffix[1:] for suffix in MEDIA_SUFFIXES).encode() + rb")\b")
_CELL_ENDS = re.compile(r'[,;|\t"\r\n]+')


def lone_table(path: Path, entry: Entry, options: Options) -> Place:
    """The place that one table is, with the files that give its classes names and those that its rows may name."""
    beside = [
        file_entry(other, other.name)
        for other in sorted(path.parent.iterdir())
        if LABEL_FILE.fullmatch(other.name) and other.is_file() and other.name != path.name
    ]
    if options.files is not None:
        find, files = named_files(options)
    else:
        find = disk_finder(path.parent, path.parent, trust=options.trust_paths)
        files = _media_beside(path, entry, options)
    source = Source(entry.name, (entry,), find=find, stems=stems_of(files))
    return Place([source], [stamp_of(e) for e in (entry, *beside, *files)], beside)


def named_files(options: Options) -> tuple[Find, list[Entry]]:
    """What finds a file in the folder or archive that ``--files`` names, and the pictures and clips that are there.

    Raises :class:`UsageError` where there is none.
    """
    assert options.files is not None, "asked for"
    place = Path(options.files).expanduser()
    if place.is_dir():
        return disk_finder(place, place, trust=options.trust_paths), _entries(place, options)
    if not place.is_file() or not is_archive(place.name):
        raise UsageError(
            f"--files is {options.files}, which is no folder and no archive", "give the folder in which the files lie"
        )
    opened = zip_archive if place.suffix.lower() == ".zip" else tar_archive
    members = {entry.name: entry for entry in opened(place, options.encoding).entries}
    return archive_finder(members, ""), [entry for entry in members.values() if kind_of_entry(entry)]


def _entries(folder: Path, options: Options) -> list[Entry]:
    root = Path(os.path.realpath(folder))
    names = media_below(folder, follow=options.trust_paths)
    return [media_entry(folder / name, name, root, trust=options.trust_paths) for name in names]


def _media_beside(table: Path, entry: Entry, options: Options) -> list[Entry]:
    """The media files below the folder of a table that seems to name some: when they change, so do its rows.

    A text that mentions a file's name is no reason to fail, so what cannot be looked into is passed over.
    """
    with entry.open() as stream:
        start = stream.read(_STAMP_BYTES)
    if _SUFFIXES.search(start.lower()) or _names_stems(start, table.parent):
        return _entries(table.parent, options)
    if b"|" not in start:
        return []
    # LJSpeech's list leaves the suffix out
    tops = (table.parent / name for name in ("wavs", "wav", "clips"))
    return [one for top in tops for one in _entries(top, options)]


def _names_stems(start: bytes, folder: Path) -> bool:
    """Whether half of the first lines have a cell that is the name, without suffix, of a picture or clip near the table."""
    stems = {Path(name).stem for name in media_below(folder, _MOST_NEAR, depth=_NEAR_DEPTH)}
    lines = start.decode("utf-8", "ignore").splitlines()[:-1][:1000]
    named = sum(any(cell.strip() in stems for cell in _CELL_ENDS.split(line)) for line in lines)
    return bool(stems) and 2 * named >= max(2, len(lines))
