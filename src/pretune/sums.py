"""Sums of the files that are read again, so that damage at rest is found before anything is made of it.

A folder's sums are a file in it, ``sums.json`` (of a checkpoint ``manifest.json``)::

    {"format": 1, "files": {"model.safetensors": {"bytes": 4321, "sha256": "..."}}, "sha256": the sum of "files" itself}

Sums are no signature: who may write the folder may write them. A file that was changed on purpose is accepted by
:meth:`Sums.accept` (``pretune verify FOLDER --accept``), which is remembered and told.

A file that is replaced has two right contents for a moment. Its sum is written first, beside the sum of what is there
still (``was``): a crash between the two leaves either, and both are whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pretune import notices
from pretune.errors import CorruptFile
from pretune.files import (
    fsync_dir,
    fsync_file,
    open_regular,
    read_json,
    replaced_folder,
    translate_disk_errors,
    write_bytes,
    write_json,
)
from pretune.locks import FolderLock

__all__ = ["SEALED", "SUMS_FILE", "Sums", "sealed_folder"]

SUMS_FILE = "sums.json"
FORMAT = 1
SEALED = 2
"""The ``format`` of a record (``run.json``, ``pretune.json``) that was written beside sums; one of format 1 is older than they are."""
_PIECE = 1 << 20
_NOT_READ_AGAIN = ("README.md", "report.html")
_EXECUTED_BY_PYTHON = "__pycache__"


def _xxh3() -> Any:
    import xxhash

    return xxhash.xxh3_128()


_ALGORITHMS: dict[str, Callable[[], Any]] = {"sha256": hashlib.sha256, "xxh3_128": _xxh3}
"""By the key that holds the sum. SHA-256 is in every Python (a folder that is handed over is checked by its own program);
XXH3 is many times faster, for the gigabytes of a cache."""


class Sums:
    """The sums of ``folder``. Names are relative to it, with ``/`` between their parts."""

    def __init__(self, folder: Path, *, name: str = SUMS_FILE, algorithm: str = "sha256") -> None:
        self.folder, self.path, self.algorithm = folder, folder / name, algorithm

    def exist(self) -> bool:
        """Has the folder sums?"""
        return self.path.exists()

    def seal(self, names: Iterable[str] | None = None) -> None:
        """Write the sums of these files (default: of all that are read again), forced to the disk with the files."""
        found = {}
        for name in sorted(self._readable() if names is None else names):
            fsync_file(self.folder / name)
            found[name] = self._facts(self.folder / name)
        self._write(found)

    def check(self, names: Iterable[str] | None = None, *, required: bool = False) -> None:
        """Raise :class:`CorruptFile` naming the first listed file (default: of all) that is not what was written.

        Nothing is checked in a folder without sums, unless they are ``required``. Changes that were accepted are told.
        """
        names = None if names is None else list(names)
        if self._first_problem(names, required=required):
            with self._held(shared=True):  # a writer may have been between its sums and its file
                problem = self._first_problem(names, required=required)
            if problem:
                raise CorruptFile(problem, self._way_out())
        self._tell_accepted(names)

    def _first_problem(self, names: list[str] | None, *, required: bool) -> str:
        listed = self.listed()
        if listed is None:
            return f"{self.path} is missing" if required else ""
        if names is None:
            wanted = list(listed)
        else:  # what a file that is gone means is for who asks for it
            wanted = [name for name in names if name in listed and (self.folder / name).exists()]
        return next((problem for name in wanted if (problem := self._problem(name, listed[name]))), "")

    def problems(self) -> list[str]:
        """A sentence on every listed file that is not what was written; none where there are no sums."""
        try:
            listed = self.listed() or {}
        except CorruptFile as error:
            return [error.problem]
        return [problem for name in listed if (problem := self._problem(name, listed[name]))]

    def accept(self, names: Iterable[str] | None = None) -> list[str]:
        """Take these files (default: all that are read again) as they are for what was written.

        Returns the names of those that were written otherwise, or are gone; that is remembered, and told by :meth:`check`.
        """
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        with self._held():
            try:
                before = self._listed_or_none()
            except CorruptFile:
                before = {}
            wanted = {*before, *(self._readable() if names is None else names)}
            found = {name: self._facts(self.folder / name) for name in sorted(wanted) if (self.folder / name).is_file()}
            changed = [name for name in before if not self._is_one_of(found.get(name, {}), before[name])]
            for name, facts in found.items():
                day = today if name in changed else before.get(name, {}).get("accepted")
                if day is not None:
                    facts["accepted"] = day
            self._write(found)
        return changed

    def read(self, name: str) -> bytes:
        """A file's content. Raises :class:`CorruptFile` where it is not what was written, FileNotFoundError for none."""
        self.check([name])
        return self._bytes(name)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file durably and at once, with its sum. Raises :class:`pretune.errors.DiskFull`."""
        with self._held():
            self._replace(name, data)

    def append(self, name: str, line: bytes) -> None:
        """Add a line at the end of a file, durably; what a crash left of a torn line before it is dropped.

        Raises :class:`CorruptFile` where the lines before it are damaged.
        """
        with self._held():
            before = self._bytes(name) if (self.folder / name).exists() else b""
            if not self._is_right(name, before):
                raise CorruptFile(_changed(self.folder / name), self._way_out())
            self._replace(name, before[: before.rfind(b"\n") + 1] + line)

    def _replace(self, name: str, data: bytes) -> None:
        path, listed = self.folder / name, self._listed_or_none()
        facts = {"bytes": len(data), self.algorithm: self._sum_of(data)}
        if name in listed and path.exists():
            self._write({**listed, name: {**facts, "was": self._facts(path)}})
            write_bytes(path, data)
        else:  # a file that is not listed is nobody's damage: a crash in between leaves that
            write_bytes(path, data)
            self._write({**listed, name: facts})

    def forget(self, name: str) -> None:
        """A file is being written in pieces from now on: it has no sum until :meth:`include`."""
        with self._held():
            listed = self._listed_or_none()
            if name in listed:
                self._write({key: facts for key, facts in listed.items() if key != name})

    def include(self, name: str) -> None:
        """A file is complete: write down its sum."""
        with self._held():
            fsync_file(self.folder / name)
            self._write({**self._listed_or_none(), name: self._facts(self.folder / name)})

    def listed(self) -> dict[str, dict[str, Any]] | None:
        """Name to size and sum; None without sums. Raises :class:`CorruptFile` where the sums themselves are damaged."""
        if not self.path.exists():
            return None
        record = read_json(self.path)
        files = record.get("files") if isinstance(record, dict) else None
        if not isinstance(files, dict) or not all(isinstance(facts, dict) for facts in files.values()):
            raise CorruptFile(f"{self.path} holds no sums", self._way_out())
        if record.get("format") != FORMAT:
            raise CorruptFile(f"{self.path} is not of format {FORMAT}", "it may come from a newer pretune: update")
        if record.get("sha256") != _digest(files):
            raise CorruptFile(f"{self.path} does not match its own sum", self._way_out())
        return files

    def _listed_or_none(self) -> dict[str, dict[str, Any]]:
        return self.listed() or {}

    def _write(self, files: dict[str, Any]) -> None:
        write_json(self.path, {"format": FORMAT, "files": files, "sha256": _digest(files)})

    def _readable(self) -> list[str]:
        """Every file that is read again: not what is for people, hidden, or left by Python."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return [
            name.as_posix()
            for name in found
            if name.name not in (*_NOT_READ_AGAIN, self.path.name)
            and not any(part.startswith(".") or part == _EXECUTED_BY_PYTHON for part in name.parts)
        ]

    def _problem(self, name: str, facts: dict[str, Any]) -> str:
        path = self.folder / name
        if not path.exists():
            return f"{path} is missing"
        try:
            return "" if self._is_one_of(self._facts(path, like=facts), facts) else _changed(path)
        except CorruptFile as error:
            return error.problem

    def _facts(self, path: Path, *, like: dict[str, Any] | None = None) -> dict[str, Any]:
        """Size and sum of a file; only the size where ``like`` tells that it has another."""
        size = path.stat().st_size
        if like is not None and size not in (like.get("bytes"), like.get("was", {}).get("bytes")):
            return {"bytes": size}
        algorithm = next((key for key in _ALGORITHMS if key in (like or {})), self.algorithm)
        digest = _ALGORITHMS[algorithm]()
        with open_regular(path) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return {"bytes": size, algorithm: digest.hexdigest()}

    def _sum_of(self, data: bytes) -> str:
        digest = _ALGORITHMS[self.algorithm]()
        digest.update(data)
        return digest.hexdigest()

    @staticmethod
    def _is_one_of(found: dict[str, Any], facts: dict[str, Any] | None) -> bool:
        """Is it what was written, or what was there before?"""
        if facts is None or len(found) < 2:
            return False
        return any(found.items() <= one.items() for one in (facts, facts.get("was", {})))

    def _is_right(self, name: str, data: bytes) -> bool:
        facts = (self.listed() or {}).get(name)
        if facts is None:
            return True
        return self._is_one_of({"bytes": len(data), self.algorithm: self._sum_of(data)}, facts)

    def _bytes(self, name: str) -> bytes:
        with open_regular(self.folder / name) as file:
            return file.read()

    @contextlib.contextmanager
    def _held(self, *, shared: bool = False) -> Iterator[None]:
        """One writer at a time, by a lock on the folder itself, for the instant of a write."""
        lock = FolderLock(self.folder)
        try:
            with contextlib.suppress(OSError):  # a disk without locks
                lock.take(shared=shared)
            yield
        finally:
            lock.close()

    def miss(self, record: Mapping[str, Any]) -> None:
        """Warn where a record tells that its folder had sums and they are gone."""
        told = record.get("format")
        if isinstance(told, int) and told >= SEALED and not self.exist():
            notices.warn(
                f"{self.path} is gone: whether the files beside it are whole cannot be told. "
                f"To take them as they are: pretune verify {self.folder} --accept"
            )

    def _tell_accepted(self, names: list[str] | None) -> None:
        told = [
            f"{name} (accepted {facts['accepted']})"
            for name, facts in self._listed_or_none().items()
            if "accepted" in facts and (names is None or name in names)
        ]
        if told:
            notices.warn(f"{self.folder} is not as it was made: {', '.join(told)}")

    def _way_out(self) -> str:
        return (
            "bring the file back from a copy, or make it again; "
            f"if it was changed on purpose: pretune verify {self.folder} --accept"
        )


def _changed(path: Path) -> str:
    return f"{path} is not what was written: it is damaged, or was changed by hand"


def _digest(files: dict[str, Any]) -> str:
    """A damaged list is told from a damaged file."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def sealed_folder(target: Path) -> Iterator[Path]:
    """:func:`pretune.files.replaced_folder`, with the sums of all that was written in it. Raises :class:`pretune.errors.DiskFull`."""
    with replaced_folder(target) as aside:
        yield aside
        with translate_disk_errors(aside):
            shutil.rmtree(aside / _EXECUTED_BY_PYTHON, ignore_errors=True)
            Sums(aside).seal()
            fsync_dir(aside)
