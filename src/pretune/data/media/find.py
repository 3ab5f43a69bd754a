"""From what a table names to the file that is meant: as written, in the usual folders, without its suffix, or by its bare
name in any folder below, where that name is there once.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.media.base import BrokenMedia, Find, inside, media_entry
from pretune.data.media.kinds import kind_of_name
from pretune.data.places.place import hidden

__all__ = ["archive_finder", "disk_finder", "free_finder", "media_below"]

_NEARBY = ("", "wavs", "clips", "audio", "images")
_USUAL = (".wav", ".flac", ".mp3", ".ogg", ".jpg", ".jpeg", ".png")
_MOST_FILES = 500_000


def media_below(folder: Path, most: int = _MOST_FILES, depth: int = 64, *, follow: bool = False) -> Iterator[str]:
    """The names of the pictures and clips in a folder and below, relative to it, of its first ``most`` files and to a depth.

    ``follow``: in folders that are links too, each once.
    """
    return (name for name in islice(_names_below(folder, depth, follow), most) if kind_of_name(name))


def _names_below(folder: Path, depth: int, follow: bool) -> Iterator[str]:
    seen = {os.path.realpath(folder)}
    for here, folders, names in os.walk(folder, followlinks=follow):
        inner = Path(here).relative_to(folder)
        folders[:] = [] if len(inner.parts) >= depth else sorted(name for name in folders if not hidden(name))
        if follow:
            real = {name: os.path.realpath(Path(here, name)) for name in folders}
            folders[:] = [name for name in folders if real[name] not in seen]
            seen.update(real.values())
        yield from ((inner / name).as_posix() for name in sorted(names) if not hidden(name))


class _Index:
    """Files by their bare names, with suffix and without, whatever their case and Unicode form."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names, self._lock = names, threading.Lock()
        self._found: dict[str, list[str]] | None = None

    def find(self, reference: str) -> list[str]:
        """The files whose path ends in ``reference``: one with its very letters, or all that differ in case or form alone."""
        with self._lock:
            if self._found is None:
                self._found = self._read()
        wanted = _key(reference)
        alike = self._found.get(PurePosixPath(wanted).name, [])
        ends = [name for name in alike if _ends_in(_key(name), wanted)]
        same = [name for name in ends if _ends_in(_composed(name), _composed(reference))]
        return same or ends

    def _read(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._names():
            path = PurePosixPath(_key(name))
            for key in {path.name, path.stem}:
                found.setdefault(key, []).append(name)
        return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _key(name: str) -> str:
    return _composed(name.casefold())


def _ends_in(path: str, end: str) -> bool:
    """Whether a path ends in these folders and this name, with its suffix or without."""
    parts, wanted = PurePosixPath(path).parts, PurePosixPath(end).parts
    same = parts[-len(wanted) : -1] == wanted[:-1]
    return same and wanted[-1:] in (parts[-1:], (PurePosixPath(path).stem,))


def _candidates(plain: str) -> Iterator[str]:
    """Where a named file may lie: as named, then in the usual folders, then with a suffix that the name lacks."""
    for folder in _NEARBY:
        yield f"{folder}/{plain}" if folder else plain
    if kind_of_name(plain) is None:
        for folder in _NEARBY:
            for suffix in _USUAL:
                yield f"{folder}/{plain}{suffix}" if folder else f"{plain}{suffix}"


def _plain(reference: str) -> str:
    """A reference with the slashes of this system. Raises :class:`BrokenMedia` for one that can name no file here."""
    plain = reference.strip().replace("\\", "/")
    if not plain or "\0" in plain:
        raise BrokenMedia("missing", reference or "(no name)")
    if "://" in plain:
        raise BrokenMedia("web", reference)
    return plain


def _only(found: list[str], reference: str) -> str:
    if len(found) > 1:
        raise BrokenMedia("ambiguous", reference, ", ".join(found[:3]) + (" ..." if len(found) > 3 else ""))
    if not found:
        raise BrokenMedia("missing", reference)
    return found[0]


def disk_finder(folder: Path, root: Path, *, trust: bool = False) -> Find:
    """Finds files named relative to ``folder`` (or by a whole path), or by a bare name anywhere below ``root``.

    All have to lie inside ``root``, unless ``trust``.
    """
    real_root = Path(os.path.realpath(root))
    index = _Index(lambda: media_below(root, follow=trust))

    def find(reference: str) -> Entry:
        plain = _plain(reference)
        if not trust and not inside(folder / plain, real_root):
            raise BrokenMedia("outside", reference)
        for candidate in _candidates(plain):
            if os.path.lexists(folder / candidate):
                return opened(folder / candidate, reference)
        return opened(root / _only(index.find(plain), reference), reference)

    def opened(path: Path, reference: str) -> Entry:
        if not trust and not inside(path, real_root):
            raise BrokenMedia("outside", reference)
        return media_entry(Path(os.path.realpath(path)), reference, real_root, trust=trust)

    return find


def free_finder(reference: str) -> Entry:
    """A file that a person names by hand, wherever it lies."""
    path = Path(reference.strip()).expanduser()
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise BrokenMedia("missing", reference) from None
    return media_entry(real, reference, real.parent)


def archive_finder(members: Mapping[str, Entry], folder: str) -> Find:
    """Finds members of an archive, named relative to ``folder`` inside it, or by a bare name anywhere in it."""
    index = _Index(lambda: [name for name in members if kind_of_name(name)])

    def find(reference: str) -> Entry:
        plain = _plain(reference)
        for candidate in _candidates(plain):
            name = os.path.normpath(f"{folder}/{candidate}" if folder else candidate).replace("\\", "/")
            if name.startswith(("/", "..")):
                raise BrokenMedia("outside", reference)
            if name in members:
                return members[name]
        return members[_only(index.find(plain), reference)]

    return find
