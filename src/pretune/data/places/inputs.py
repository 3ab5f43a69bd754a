"""From what a person gave to one place: a file, a folder, a hub id, a pattern, several files, files of each split, standard input."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pretune.config import DataSettings
from pretune.data.archives.streams import Entry, file_entry
from pretune.data.formats.base import Options
from pretune.data.media.base import media_entry
from pretune.data.media.find import disk_finder
from pretune.data.media.kinds import kind_of_name
from pretune.data.parallel import parallel_in
from pretune.data.places.folder import find_place
from pretune.data.places.folder_names import is_archive
from pretune.data.places.patterns import expanded
from pretune.data.places.place import Place, Source, split_of_path
from pretune.data.places.sources import placed, sorted_out
from pretune.errors import DataError, UsageError

__all__ = ["STDIN", "find_inputs", "input_paths"]

STDIN = "-"
_SPLITS = ("train", "validation", "test", "unlabelled")


def input_paths(settings: DataSettings) -> list[tuple[str | None, list[str]]]:
    """The split that was told (None: by their names) and the paths of it, for all that the settings name."""
    told = [(name, getattr(settings, name)) for name in _SPLITS]
    groups: list[tuple[str | None, Sequence[str]]] = [(None, settings.places), *told]
    return [(split, [path for given in places for path in expanded(given)]) for split, places in groups if places]


def find_inputs(settings: DataSettings, options: Options, *, ask: bool) -> Place:
    """The place that the settings name; several files are read as a folder that holds them.

    Raises :class:`DataError` where something is not there, or files of a told split hold splits of their own.
    """
    groups = input_paths(settings)
    if groups == [(None, [STDIN])]:
        return _standard_input()
    parts = [_told(_group(paths, options, ask=ask, told=split is not None), split, paths) for split, paths in groups]
    return parts[0] if len(parts) == 1 else _together(parts)


def _group(paths: Sequence[str], options: Options, *, ask: bool, told: bool) -> Place:
    """One place, or several files as a folder that holds them, or several folders together. Where their split was ``told``,
    names of files say none.
    """
    if STDIN in paths:
        raise UsageError("standard input (-) stands beside other files", "give it alone, or write it to a file")
    paths = list(dict.fromkeys(paths))
    if len(paths) == 1:
        return find_place(paths[0], options, ask=ask)
    if not all(Path(path).expanduser().is_file() and not is_archive(path) for path in paths):
        return _together([_renamed(find_place(path, options, ask=ask), path) for path in paths])
    options = replace(options, splits="none") if told else options
    top = os.path.commonpath([Path(path).expanduser().absolute().parent for path in paths])
    names = [Path(os.path.relpath(Path(path).expanduser(), top)).as_posix() for path in paths]
    where = os.path.relpath(top)
    if all(map(kind_of_name, names)):
        entries = [media_entry(Path(top, name), name, Path(os.path.realpath(top))) for name in names]
        folder = disk_finder(Path(top), Path(top), trust=options.trust_paths)
        return sorted_out(entries, where, lambda _: folder, options, ask=ask)
    entries = [file_entry(Path(path).expanduser(), name) for path, name in zip(paths, names, strict=True)]
    if parallel_in(entries):
        folder = disk_finder(Path(top), Path(top), trust=options.trust_paths)
        return sorted_out(entries, where, lambda _: folder, options, ask=ask)
    parts = [find_place(path, options, ask=ask) for path in paths]
    whole = _together([_called(part, name, options) for part, name in zip(parts, names, strict=True)])
    sources, left_out, notes = placed(whole.sources, where)
    return replace(whole, sources=sources, left_out=[*whole.left_out, *left_out], notes=[*whole.notes, *notes])


def _called(place: Place, name: str, options: Options) -> Place:
    """The place of one file among several: its split is what its name says."""
    split = None if options.splits == "none" else split_of_path(name)
    return replace(place, sources=[replace(source, name=name, split=split) for source in place.sources])


def _renamed(place: Place, path: str) -> Place:
    """The place with its path before the names of its sources, as several places may hold files of one name."""
    before = PurePosixPath(Path(path).as_posix())
    sources = [
        source if source.name == before.name else replace(source, name=str(before / source.name))
        for source in place.sources
    ]
    return replace(place, sources=sources)


def _told(place: Place, split: str | None, paths: Sequence[str]) -> Place:
    """The place with all its sources of the split that was told. Raises :class:`DataError` where it holds several."""
    if split is None:
        return place
    own = sorted({source.split for source in place.sources if source.split is not None})
    if len(own) > 1:
        raise DataError(
            f"--{split} {paths[0]} holds splits of its own: {', '.join(own)}",
            f"name its part of {split}, or give the whole as --data",
        )
    return replace(place, sources=[replace(source, split=split, told=True) for source in place.sources])


def _together(places: Sequence[Place]) -> Place:
    """Several places as one. Sources of equal names get the number of their place, so that rows keep names of their own."""
    names = [source.name for place in places for source in place.sources]
    twice = {name for name in names if names.count(name) > 1}
    sources = [
        replace(source, name=f"{source.split or number}/{source.name}") if source.name in twice else source
        for number, place in enumerate(places, 1)
        for source in place.sources
    ]
    label_files = {entry.path: entry for place in places for entry in place.label_files}
    return Place(
        sources,
        [stamp for place in places for stamp in place.stamps],
        list(label_files.values()),
        [note for place in places for note in place.notes],
        [one for place in places for one in place.left_out],
        [table for place in places for table in place.mask_tables],
    )


def _standard_input() -> Place:
    """The rows on standard input, held in a file that goes with the process, as they are read more than once."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "standard input (-) is the keyboard", "give a file, or pipe rows: cat news.csv | pretune inspect -"
        )
    held, digest = tempfile.NamedTemporaryFile(), hashlib.blake2b(digest_size=16)  # noqa: SIM115 - until all is read
    while block := sys.stdin.buffer.read(2**20):
        digest.update(block)
        held.write(block)
    held.flush()
    if not held.tell():
        raise DataError("standard input holds no rows", "pipe rows: cat news.csv | pretune inspect -")
    size = held.tell()
    entry = Entry("standard input", "standard input", size, lambda: open(held.name, "rb"))  # noqa: SIM115 - who opens an entry closes it
    return Place([Source(entry.name, (entry,))], [[entry.name, size, digest.hexdigest()]])
