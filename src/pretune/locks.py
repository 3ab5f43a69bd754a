"""Locks that the system drops when their process dies: by ``flock`` where there is one (Linux, macOS), else by filelock.

Windows opens no folder and has no shared locks of files. There a lock on a folder is files elsewhere: each reader holds
one of its own, and a writer a guard, under which no reader begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["FolderLock", "LockFile"]

_PAUSE_SECONDS = 0.02
_HOLDER_BYTES = 500


class FolderLock:
    """A lock on ``folder``, not taken yet. ``beside``: where its files lie if it needs some; default: a place of this machine.

    Raises OSError where there is no such folder.
    """

    def __init__(self, folder: Path, *, beside: Path | None = None) -> None:
        folder.stat()
        self._files = None if fcntl else _Files(beside or _place_of(folder))
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if fcntl else -1

    def take(self, *, shared: bool = False, wait: bool = True) -> None:
        """Hold it until :meth:`close`.

        Raises BlockingIOError where another holds it and one does not ``wait``, and OSError on a disk without locks.
        """
        if self._files:
            self._files.take(shared=shared, wait=wait)
        elif fcntl:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))

    def close(self) -> None:
        """Let go. Twice is as once."""
        if self._files:
            self._files.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LockFile:
    """A file that one process holds, from :meth:`take` to :meth:`close`. It may say who; Windows lets nobody read a locked file."""

    def __init__(self, path: Path) -> None:
        self._lock = None if fcntl else _file_lock(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644) if fcntl else -1

    def take(self) -> None:
        """Raises BlockingIOError where another holds it, OSError on a disk without locks."""
        if self._lock:
            _take(self._lock)
        elif fcntl:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, holder: str) -> None:
        """Say who holds it; nothing, if the folder is handed on."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, holder.encode())

    def holder(self) -> str:
        """Who holds it, by their own words. Who took it this instant is given a moment to say so: until then a dead one stands there."""
        for _ in range(10 if self._descriptor >= 0 else 0):
            time.sleep(0.05)
            if holder := os.pread(self._descriptor, _HOLDER_BYTES, 0).decode(errors="replace").strip():
                return holder
        return "another process"

    def close(self) -> None:
        """Let go."""
        if self._lock:
            self._lock.release()
        if self._descriptor >= 0:
            os.close(self._descriptor)


class _Files:
    """A lock of many readers or one writer, made of exclusive locks on files in ``place``."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self._place = place
        self._held: list[BaseFileLock] = []

    def take(self, *, shared: bool, wait: bool) -> None:
        guard = _file_lock(self._place / "guard")
        _take(guard, wait=wait or shared)  # a writer that only looks is gone in an instant
        if not shared:
            self._held.append(guard)
            try:
                while self._has_readers():
                    if not wait:
                        raise BlockingIOError(f"{self._place} has readers")
                    time.sleep(_PAUSE_SECONDS)
            except BaseException:
                self.close()
                raise
            return
        try:
            own = _file_lock(self._place / f"{os.urandom(8).hex()}.reader")
            _take(own)
            self._held.append(own)
        finally:
            guard.release()

    def _has_readers(self) -> bool:
        return any(not _forgotten(path) for path in self._place.glob("*.reader"))

    def close(self) -> None:
        while self._held:
            _drop(self._held.pop())


def _forgotten(path: Path) -> bool:
    """Is a reader's file nobody's any more? Then it goes."""
    lock = _file_lock(path)
    try:
        _take(lock)
    except BlockingIOError:
        return False
    _drop(lock)
    return True


def _file_lock(path: Path) -> BaseFileLock:
    import filelock

    return filelock.FileLock(path, thread_local=False)  # what nobody keeps is let go in whichever thread finds that


def _take(lock: BaseFileLock, *, wait: bool = False) -> None:
    import filelock

    try:
        lock.acquire(timeout=-1 if wait else 0, poll_interval=_PAUSE_SECONDS)
    except filelock.Timeout:
        raise BlockingIOError(f"{lock.lock_file} is held by another") from None


def _drop(lock: BaseFileLock) -> None:
    lock.release()
    if lock.lock_file.endswith(".reader"):
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)


def _place_of(folder: Path) -> Path:
    name = hashlib.sha256(os.path.normcase(os.path.realpath(folder)).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / "pretune-locks" / name
