"""Faults for a forked child to suffer: a crash or a full disk at its n-th operation on files, a NaN, no memory.

Everything here changes the child's process only; the functions are patched after the fork.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import Mark

__all__ = ["CRASHED", "Disk", "between", "crash_at", "full_from", "mark_saves", "nothing", "on_loss"]

CRASHED = 137
"""The exit code of a child that crashed at an operation: what a shell shows for SIGKILL."""


class Disk:
    """Counts the operations on files below ``folder`` (write, fsync, rename, unlink, mkdir, rmdir) while ``armed``.

    ``strike(operation, real, half)`` decides what happens at each: ``real()`` does it, ``half()`` writes half of it
    (None where that has no meaning). Native writers (safetensors, tokenizers) count as one write a file.
    """

    def __init__(self, folder: Path, strike: Callable[[str, Callable[[], Any], Callable[[], Any] | None], Any]) -> None:
        self.folder = str(folder.resolve())
        self.strike = strike
        self.armed = False

    def arm(self) -> None:
        self.armed = True

    def disarm(self) -> None:
        self.armed = False

    def install(self) -> None:
        """Patch this process."""
        for name in ("rename", "replace", "unlink", "remove", "rmdir", "mkdir"):
            self._wrap(os, name, by_path=True)
        self._wrap(os, "fsync", by_path=False)
        real_open = builtins.open

        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            handle = real_open(file, mode, *rest, **named)
            writes = set(mode) & set("wax+") and isinstance(file, str | os.PathLike)
            return _Written(handle, self, str(file)) if writes and self._is_mine(str(file)) else handle

        builtins.open = io.open = opened  # type: ignore[assignment]
        self._wrap_native_writers()

    def _wrap(self, module: Any, name: str, *, by_path: bool) -> None:
        real = getattr(module, name)

        def counted(target: Any, *rest: Any, **named: Any) -> Any:
            path = _path_of(target, named.get("dir_fd") if by_path else None)
            if not (self.armed and self._is_mine(path)):
                return real(target, *rest, **named)
            return self.strike(f"{name} {self._short(path)}", lambda: real(target, *rest, **named), None)

        setattr(module, name, counted)

    def _wrap_native_writers(self) -> None:
        import safetensors.torch
        import transformers
        from transformers import modeling_utils as modeling

        save_file = safetensors.torch.save_file

        def counted(tensors: Any, filename: Any, *rest: Any, **named: Any) -> None:
            self._native(Path(filename), lambda: save_file(tensors, filename, *rest, **named))

        safetensors.torch.save_file = counted
        for name, value in vars(modeling).items():
            if value is save_file:
                setattr(modeling, name, counted)
        backend = transformers.PreTrainedTokenizerFast
        save_tokenizer = backend._save_pretrained

        def counted_tokenizer(self: Any, save_directory: Any, *rest: Any, **named: Any) -> Any:
            path = Path(save_directory) / "tokenizer.json"
            return self_disk._native(path, lambda: save_tokenizer(self, save_directory, *rest, **named))

        self_disk = self
        backend._save_pretrained = counted_tokenizer

    def _native(self, path: Path, real: Callable[[], Any]) -> Any:
        if not (self.armed and self._is_mine(str(path))):
            return real()

        def half() -> None:
            real()
            os.truncate(path, path.stat().st_size // 2)

        return self.strike(f"write {self._short(str(path))}", real, half)

    def _is_mine(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self.folder + os.sep)  # noqa: PTH100 - no link is followed

    def _short(self, path: str) -> str:
        return os.path.relpath(path, self.folder)


class _Written:
    """A file open for writing whose writes are counted."""

    def __init__(self, file: Any, disk: Disk, path: str) -> None:
        self._file, self._disk, self._path = file, disk, path

    def write(self, content: Any) -> Any:
        if not self._disk.armed:
            return self._file.write(content)

        def put(part: Any) -> Any:
            count = self._file.write(part)
            self._file.flush()
            return count

        name = f"write {self._disk._short(self._path)}"
        return self._disk.strike(name, lambda: put(content), lambda: put(content[: len(content) // 2]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)


def _path_of(target: Any, folder: int | None) -> str:
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")  # noqa: PTH115
    if folder is not None:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fspath(target))  # noqa: PTH115
    return os.fspath(target)


def crash_at(number: int, moment: str, mark: Mark) -> Callable[..., Any]:
    """A strike that ends the process before, half-way through, or after the ``number``-th operation (from 1)."""
    seen = 0

    def strike(operation: str, real: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        nonlocal seen
        seen += 1
        mark(f"{operation}{' (write)' if half else ''}")
        if seen != number:
            return real()
        try:
            if moment == "half" and half is not None:
                half()
            elif moment == "after":
                real()
        finally:
            os._exit(CRASHED)

    return strike


def full_from(number: int, mark: Mark, fill: Callable[[], None] | None = None) -> Callable[..., Any]:
    """A strike after which the disk is full: for real by ``fill``, else by errors of its own from every write."""
    seen = 0

    def strike(operation: str, real: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        nonlocal seen
        seen += 1
        if seen == number:
            mark(f"full at {operation}")
            if fill is not None:
                fill()
        if fill is None and seen >= number and (half is not None or operation.startswith(("mkdir", "fsync"))):
            if half is not None:
                half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real()

    return strike


def between(module: Any, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call ``before`` and ``after`` around every call of ``module.name``."""
    real = getattr(module, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        before()
        try:
            return real(*given, **named)
        finally:
            after()

    setattr(module, name, wrapped)


def mark_saves(mark: Mark) -> None:
    """Mark ``save`` when a save begins, ``saved`` when the old checkpoints are pruned."""
    from pretune.engine import checkpoint

    between(checkpoint, "save", lambda: mark("save"), nothing)
    between(checkpoint, "prune", nothing, lambda: mark("saved"))


def nothing() -> None:
    """For one side of :func:`between`."""


def on_loss(change: Callable[[Any, Any], Any]) -> None:
    """Replace what the objective returns: ``change(batch, loss)``."""
    from pretune.objectives.supervised import Supervised

    real = Supervised.loss

    def loss(self: Any, model: Any, feed: Any, rng: Any) -> Any:
        return change(feed["labelled"], real(self, model, feed, rng))

    Supervised.loss = loss  # type: ignore[method-assign]
