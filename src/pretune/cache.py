"""The cache folder: what was costly to make, kept so that it need not be made again; bounded, and safe to clean at any time.

An entry is a folder ``KIND/KEY``. It is written aside, with the sums of its files, and renamed when whole; it is removed by a
rename first. One whose files are not what was written is removed when it is opened, and made again. Who reads an entry holds
a shared lock on its folder, which the kernel drops when the process dies; only unlocked entries are removed. The folder's time
of change is when the entry was last opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pretune import notices
from pretune.errors import CorruptFile, UsageError
from pretune.files import cache_dir, fsync_dir, translate_disk_errors
from pretune.locks import FolderLock
from pretune.sums import Sums

__all__ = [
    "KINDS",
    "Entry",
    "Hold",
    "clean",
    "discard",
    "entries",
    "get_or_create",
    "holds",
    "kept",
    "limit_bytes",
    "opened",
    "replace",
    "writing",
]

KINDS = {
    "remote": "copies of data at addresses",
    "given": "rows that a program gave in place of a file",
    "tables": "data as it was read",
    "pairs": "pictures and clips that are copies of each other",
    "tokens": "texts as tokens",
    "items": "texts as tokens, with the places of words or passages in them",
    "pixels": "pictures, decoded and scaled",
    "masks": "masks, scaled as their pictures",
    "samples": "clips, decoded",
    "trunks": "outputs of frozen layers",
    "teachers": "answers of teachers",
    "features": "features of rows",
    "embeddings": "token embeddings counted in rows",
    "rewrites": "texts that a masked model wrote anew",
    "trials": "tokenizers and graphs that were tried",
    "forecasts": "what dry runs foretold",
}
"""Every kind of entry with what it holds. Nothing else in the folder is ever touched: it may be somebody's."""

_ALGORITHM = "xxh3_128"
LIMIT_GB = 20.0
_LIMIT = "PRETUNE_CACHE_GB"
_KEY = re.compile(r"[0-9a-f]{24}")
_LEFT_BEHIND = re.compile(r"\.*[0-9a-f]{24}\..+")
_GRACE_SECONDS = 60.0
"""A writer locks its new folder an instant after making it: no younger one is taken for left behind."""

Store = TypeVar("Store")


@dataclass(frozen=True)
class Entry:
    """One thing kept. ``used`` is when it was last opened, in seconds since the epoch; ``in_use`` says that somebody reads it."""

    kind: str
    path: Path
    bytes: int
    used: float
    in_use: bool


class Hold:
    """A shared lock on an entry, from now until :meth:`close` or until nobody keeps this; it counts as a use.

    Raises OSError where there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        lock = _lock_on(folder)
        self._closing = weakref.finalize(self, lock.close)
        with contextlib.suppress(OSError):  # a disk without locks, on which nothing is removed either
            lock.take(shared=True)
        with contextlib.suppress(OSError):  # a folder that may only be read
            os.utime(folder)

    def close(self) -> None:
        """Let go. Twice is as once."""
        self._closing()


def get_or_create(kind: str, name: str, read: Callable[[Path], Store], write: Callable[[Path], None]) -> Store:
    """What ``read`` finds in the entry of ``kind`` and ``name``; ``write`` fills a new one first where it fails.

    Written aside and renamed: a broken-off writing leaves nothing. The entry stays as long as what ``read`` gave lives.
    Raises :class:`~pretune.errors.DiskFull`.
    """
    key = _key(name)
    found = opened(kind, key, read)
    if found is None:
        with writing(kind, key) as (aside, publish):
            write(aside)
            publish()
            found = _read(cache_dir(kind) / key, read)
    store, hold = found
    weakref.finalize(store, hold.close)
    return store


def opened(kind: str, key: str, read: Callable[[Path], Store]) -> tuple[Store, Hold] | None:
    """What ``read`` finds in an entry, and the hold on it; None where there is none.

    One that is not what was written, or that ``read`` cannot use, is removed, which is told.
    """
    folder = cache_dir(kind) / key
    if not Sums(folder).exist():  # none, or one of an older pretune
        discard(folder)
        return None
    try:
        return _read(folder, read)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = error.problem if isinstance(error, CorruptFile) else str(error)
    discard(folder)
    notices.note(f"cache: an entry ({KINDS[kind]}) was damaged and is made again: {problem}")
    return None


def holds(kind: str, name: str) -> bool:
    """Is there an entry of this ``kind`` and ``name``? Whether it is whole shows when it is read."""
    return Sums(cache_dir(kind) / _key(name)).exist()


def kept(kind: str, name: str, read: Callable[[Path], Store]) -> Store | None:
    """What ``read`` finds in the entry of ``kind`` and ``name``; None where there is none."""
    found = opened(kind, _key(name), read)
    if found is None:
        return None
    store, hold = found
    hold.close()
    return store


def replace(kind: str, name: str, write: Callable[[Path], None]) -> None:
    """Put what ``write`` fills in place of the entry of ``kind`` and ``name``, if there is one. Raises :class:`~pretune.errors.DiskFull`."""
    key = _key(name)
    discard(cache_dir(kind) / key)
    with writing(kind, key) as (aside, publish):
        write(aside)
        publish()


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def _read(folder: Path, read: Callable[[Path], Store]) -> tuple[Store, Hold]:
    hold = Hold(folder)
    try:
        Sums(folder, algorithm=_ALGORITHM).check(required=True)
        return read(folder), hold
    except BaseException:
        hold.close()
        raise


@contextlib.contextmanager
def writing(kind: str, key: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder to fill, and a function that puts it in its place when it is whole; left without that, it is removed.

    After it was put there, entries unused for longest are removed where all are more than :func:`limit_bytes`.
    Raises :class:`~pretune.errors.DiskFull`, and :class:`~pretune.errors.UsageError` for a limit that is none.
    """
    assert kind in KINDS, f"{kind} is no kind of entry"
    limit = limit_bytes()
    target = cache_dir(kind) / key
    aside = _beside(target, "tmp")

    def publish() -> None:
        Sums(aside, algorithm=_ALGORITHM).seal()
        try:
            aside.rename(target)
        except OSError:  # another process was first, with the same
            if not target.is_dir():
                raise
        fsync_dir(target.parent)
        _keep_within(limit)

    with translate_disk_errors(target.parent):
        aside.mkdir()
        hold = Hold(aside)  # it goes with the folder to its place: no moment in which the new entry is nobody's
        try:
            yield aside, publish
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            hold.close()


def _beside(target: Path, why: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.{why}")


def discard(folder: Path) -> None:
    """Take an entry away at once: renamed first, so that a kill halfway leaves nothing that could pass for whole."""
    gone = _beside(folder, "gone")
    with contextlib.suppress(OSError):  # it is not there, or another process was first
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def limit_bytes() -> int:
    """How much the cache may hold, in bytes: ``$PRETUNE_CACHE_GB``, else :data:`LIMIT_GB`.

    Raises :class:`~pretune.errors.UsageError` for what is no size.
    """
    given = os.environ.get(_LIMIT, "")
    try:
        size = float(given or LIMIT_GB)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise UsageError(f"{_LIMIT} is {given!r}", "it takes a size in GB, such as 20 or 0.5")
    return round(size * 1e9)


def entries() -> list[Entry]:
    """What is kept, least recently used first."""
    found = [_entry(path) for path in _folders(_KEY)]
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.used)


def _folders(pattern: re.Pattern[str]) -> list[Path]:
    root = cache_dir()
    places = [root / kind for kind in KINDS if (root / kind).is_dir() and not (root / kind).is_symlink()]
    return [path for place in places for path in place.iterdir() if pattern.fullmatch(path.name) and _is_folder(path)]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _entry(path: Path) -> Entry | None:
    """None where it went while it was looked at."""
    try:
        used = path.stat().st_mtime
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    except OSError:
        return None
    with _alone(path) as alone:
        return Entry(path.parent.name, path, size, used, not alone)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Does nobody else hold the folder? Nobody can begin to while this lasts."""
    try:
        lock = _lock_on(path)
    except OSError:
        yield False
        return
    try:
        lock.take(wait=False)
        is_alone = True
    except OSError:
        is_alone = False
    try:
        yield is_alone
    finally:
        lock.close()


def _lock_on(folder: Path) -> FolderLock:
    """The lock on an entry: where it is made of files, one for the entry and what is written for it, which then need no other when it is renamed."""
    key = _KEY.search(folder.name)
    return FolderLock(folder, beside=folder.parent / ".locks" / (key[0] if key else folder.name))


def clean(*, keep_bytes: float = math.inf, before: float = -math.inf) -> list[Entry]:
    """Remove entries last used ``before`` that time (seconds since the epoch), and, unused for longest first, those over ``keep_bytes``.

    Entries that a process reads stay, and count. What killed processes left behind goes too. Returns what was removed.
    """
    _sweep()
    found, removed = entries(), []
    left = sum(entry.bytes for entry in found)
    for entry in found:
        if (left > keep_bytes or entry.used < before) and _removed(entry.path):
            left -= entry.bytes
            removed.append(entry)
    return removed


def _sweep() -> None:
    """Remove what killed processes left half written or half removed."""
    for path in _folders(_LEFT_BEHIND):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _GRACE_SECONDS or path.suffix == ".gone":
                _removed(path)


def _removed(path: Path) -> bool:
    with _alone(path) as alone:
        if alone:
            discard(path)
    return alone and not path.exists()


def _keep_within(limit: int) -> None:
    found = entries()
    if sum(entry.bytes for entry in found) <= limit:
        return
    removed = clean(keep_bytes=limit)
    if removed:
        size = sum(entry.bytes for entry in removed)
        notices.note(
            f"cache: {len(removed)} of {len(found)} entries, unused for longest, were removed ({size / 1e9:,.2f} GB): it holds"
            f" at most {limit / 1e9:g} GB ({_LIMIT} changes that, pretune cache shows it)"
        )
