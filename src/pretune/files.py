"""Files that survive a crash: durable atomic writes, checksums, one writer a folder.

The order of every durable write is: write aside, fsync the file, rename over the target, fsync the folder. A reader
therefore sees the old bytes or the new ones, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from pretune.errors import CorruptFile, DiskFull, FolderBusy, RunError
from pretune.locks import LockFile

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "append_json_line",
    "cache_dir",
    "check_free_space",
    "fsync_dir",
    "fsync_file",
    "json_text",
    "jsonable",
    "lock_folder",
    "open_regular",
    "read_json",
    "read_json_lines",
    "read_object",
    "readable_by_umask",
    "replaced_folder",
    "translate_disk_errors",
    "weight_bytes",
    "write_bytes",
    "write_json",
    "write_text",
]

_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")
"""Windows opens no folders."""
_NO_FILES = ("/dev/", "/proc/", "/sys/")
_LINES = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_CACHE_IS_FULL = "that is the cache, which saves work and can be emptied: pretune cache --clear; or let PRETUNE_CACHE name a folder on a disk with more space"
_RESTORE = "restore the file, or start again with --overwrite"

MAX_JSON_BYTES = 64 << 20
MAX_JSON_VALUES = 4_000_000
"""A file of JSON is read as a whole: so many values take some hundred megabytes."""


def cache_dir(*parts: str) -> Path:
    """A folder under ``$PRETUNE_CACHE`` (default ``~/.cache/pretune``), made when missing."""
    folder = _cache_root().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_root() -> Path:
    root = os.environ.get("PRETUNE_CACHE")
    return Path(root) if root else Path.home() / ".cache" / "pretune"


def _is_cache(path: Path) -> bool:
    return path.absolute().is_relative_to(_cache_root().absolute())


@contextlib.contextmanager
def translate_disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" of any library into :class:`DiskFull`, saying where and what to do."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "errno", None)
        text = str(error)
        if code in _OUT_OF_SPACE or "No space left" in text or "File too large" in text or "os error 28" in text:
            raise DiskFull(
                f"no space left while writing {path} ({_free_text(path)})",
                _CACHE_IS_FULL
                if _is_cache(path)
                else "what was saved before is intact: free some space and run the same command again, it goes on from the last checkpoint",
            ) from error
        raise


def _free_text(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB free"
    except OSError:
        return "free space unknown"


def check_free_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise :class:`DiskFull` before work begins that could not be saved."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise DiskFull(
            f"{what} needs {needed_bytes / 2**20:.0f} MiB in {folder}, {free_bytes / 2**20:.0f} MiB are free",
            _CACHE_IS_FULL if _is_cache(folder) else "free some space, or choose another folder with --out",
        )


def fsync_file(path: Path) -> None:
    """Force a written file to the disk."""
    descriptor = os.open(path, os.O_RDONLY if _OPENS_FOLDERS else os.O_RDWR)  # Windows forces only what may be written
    try:
        _force(descriptor)
    finally:
        os.close(descriptor)


def fsync_dir(path: Path) -> None:
    """Force a folder's entries (renames, new files) to the disk, where the system opens folders: Windows keeps them in its journal."""
    if _OPENS_FOLDERS:
        fsync_file(path)


def _force(descriptor: int) -> None:
    """macOS answers ``fsync`` when the disk has the bytes in its own memory; only F_FULLFSYNC waits for the disk itself."""
    wholly = getattr(fcntl, "F_FULLFSYNC", None)
    if fcntl is not None and wholly is not None:
        with contextlib.suppress(OSError):  # a disk that does not know it
            fcntl.fcntl(descriptor, wholly)
            return
    os.fsync(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` durably and at once."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` durably and at once."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with translate_disk_errors(path):
            with open(aside, "wb") as file:
                file.write(data)
                file.flush()
                _force(file.fileno())
            aside.replace(path)
            fsync_dir(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def jsonable(value: Any) -> Any:
    """The same value in plain JSON types: NumPy's become Python's, NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any) -> str:
    """A value as one line of JSON. Raises ValueError for NaN and infinity, which JSON has not."""
    return _LINES.encode(value)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` durably by readable JSON; NaN is refused, as JSON has none."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def open_regular(path: Path, *, most_bytes: int | None = None) -> BinaryIO:
    """Open a file for its bytes; a pipe or device, which may never end, is not touched.

    Raises FileNotFoundError where there is none, and :class:`CorruptFile` for what is no file, or a larger one.
    """
    info = path.stat()
    if not stat.S_ISREG(info.st_mode) or os.path.realpath(path).startswith(_NO_FILES):
        raise CorruptFile(
            f"{path} is not a regular file (a folder, pipe, socket or device)", "put the file itself in its place"
        )
    if most_bytes is not None and info.st_size > most_bytes:
        raise CorruptFile(
            f"{path} has {info.st_size} bytes, {most_bytes} are the most that such a file may have", "copy it again"
        )
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAIT))


def read_json(path: Path) -> Any:
    """Read JSON; :class:`CorruptFile` names the file and line when it is not."""
    try:
        with open_regular(path, most_bytes=MAX_JSON_BYTES) as file:
            return parse_json(file.read())
    except FileNotFoundError:
        raise RunError(f"{path} does not exist", f"is {path.parent} a folder that pretune wrote?") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, CorruptFile):
            raise
        raise CorruptFile(f"{path} is not valid JSON: {error}", _RESTORE) from None


def parse_json(data: bytes, *, allow_nan: bool = False) -> Any:
    """The value of some JSON. Raises ValueError (RecursionError) for what is none, holds NaN, or would fill the memory."""
    if values_of_json(data) > MAX_JSON_VALUES:
        raise ValueError(f"it holds more than {MAX_JSON_VALUES} values")
    if allow_nan:
        return json.loads(data.decode("utf-8"))
    return json.loads(data.decode("utf-8"), parse_constant=_no_number)


def values_of_json(data: bytes) -> int:
    """How many values some JSON holds, at most; nothing is parsed."""
    return 1 + data.count(b",") + data.count(b"[") + data.count(b"{")


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"it holds {word}, which is no number")


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object that pretune wrote; :class:`CorruptFile` when it is another thing or lacks one of ``keys``."""
    value = read_json(path)
    wrong = f"it holds a {type(value).__name__}" if not isinstance(value, dict) else ""
    lacking = [key for key in keys if not wrong and key not in value]
    if wrong or lacking:
        raise CorruptFile(
            f"{path} is not as pretune wrote it: {wrong or f'{lacking[0]} is missing'}",
            _RESTORE,
        )
    return value


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside ``target``, to be written in; at the end of the block it takes ``target``'s place, whole.

    After an error it is gone, and ``target`` is as it was. A killed process leaves it under its own name, ``.target.tmp``.
    """
    aside = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        readable_by_umask(aside)
        fsync_dir(aside)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
        fsync_dir(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def readable_by_umask(folder: Path) -> None:
    """Give the files in a folder that was just made the rights that a new file has; some libraries write them for their owner alone."""
    rights = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(rights)


def append_json_line(path: Path, value: Any) -> None:
    """Add one line; what a crash left of a torn last line is cut off first."""
    line = json_text(value) + "\n"
    with translate_disk_errors(path), open(path, "a+b") as file:
        _drop_torn_line(file)
        file.write(line.encode())


def _drop_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn last line is left out. :class:`CorruptFile` names a line that is broken."""
    if not path.exists():
        return
    number = 0
    try:
        with open_regular(path) as file:
            while line := file.readline(MAX_JSON_BYTES):
                number += 1
                if line.endswith(b"\n"):
                    yield _object_of(line)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CorruptFile):
            raise
        raise CorruptFile(f"{path}:{number} is not valid JSON: {error}", "restore the file, or delete it") from None


def _object_of(line: bytes) -> dict[str, Any]:
    value = parse_json(line)
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}, not an object")
    return value


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, or raise :class:`FolderBusy` naming who holds it, :class:`RunError` where none can be held.

    The kernel drops the lock when its process dies, so a killed run never blocks the next one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = LockFile(folder / ".lock")
    try:
        try:
            lock.take()
        except BlockingIOError:
            raise FolderBusy(
                f"{folder} is being written by {lock.holder()}",
                "wait for it to end, stop it, or choose another folder with --out",
            ) from None
        except OSError as error:
            raise RunError(
                f"{folder} cannot be locked: {error.strerror}", "choose a folder on a local disk with --out"
            ) from None
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        try:
            yield
        finally:
            lock.write("")  # the folder may be handed on; who wrote it is nobody's business
    finally:
        lock.close()


def weight_bytes(model_dir: Path) -> int:
    """The bytes that a model's weights (and graph) take on the disk."""
    kinds = (".safetensors", ".onnx", ".data", ".bin", ".xml", ".pt2")
    return sum(path.stat().st_size for path in model_dir.iterdir() if path.suffix in kinds)
