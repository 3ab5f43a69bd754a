"""Files, gzip files and members of zip archives, all as streams of plain bytes; nothing is ever unpacked to disk.

Archives are not trusted: names that leave the folder, links, encrypted members and decompression bombs are refused.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pretune.data.archives.names import decode_names, name_parts
from pretune.errors import DataError
from pretune.modalities import Modality

__all__ = ["Archive", "Entry", "check_size", "file_entry", "gunzipped", "stamp_of_file", "zip_archive"]

MAX_TOTAL_BYTES = 10 * 2**30
MAX_RATIO = 200
RATIO_FROM_BYTES = 10 * 2**20
MAX_ENTRIES = 100_000
_UTF8_FLAG = 0x800
UNPACK = "unpack it yourself if you trust it, and give the folder"


@dataclass(frozen=True)
class Entry:
    """A file that may hold rows. ``name`` is what people are told, ``inner`` the name without ``.gz``.

    ``open`` gives a fresh stream of the plain bytes; ``path`` is the file itself when its bytes are plain. ``stamp`` is
    what the disk says of the file (:func:`stamp_of_file`); ``kind`` says what it is where the file's first bytes do
    and its name does not.
    """

    name: str
    inner: str
    size: int
    open: Callable[[], BinaryIO]
    path: Path | None = None
    stamp: tuple[int, ...] = ()
    kind: Modality | None = None

    @property
    def suffix(self) -> str:
        """The last suffix of the plain file's name, in lower case: ``.csv``."""
        return PurePosixPath(self.inner).suffix.lower()


class _Guard(io.RawIOBase):
    """A decompressed stream with an end: too many bytes, or too many for their packed size, raise DataError."""

    def __init__(self, stream: BinaryIO, name: str, packed_bytes: int) -> None:
        self._stream, self._name, self._packed, self._total = stream, name, max(1, packed_bytes), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            data = self._stream.read(len(buffer))
        except EOFError:
            raise DataError(f"{self._name} ends in the middle: it is truncated", "copy or download it again") from None
        except (zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self._name} cannot be decompressed: {error}", "copy or download it again") from None
        self._total += len(data)
        check_size(self._name, self._total, self._packed)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def check_size(name: str, plain_bytes: int, packed_bytes: int) -> None:
    """Raise :class:`DataError` for what unpacks to too much, or to too much for its packed size."""
    if plain_bytes > MAX_TOTAL_BYTES:
        raise DataError(f"{name} unpacks to more than {MAX_TOTAL_BYTES // 2**30} GiB", UNPACK)
    if plain_bytes > RATIO_FROM_BYTES and plain_bytes > MAX_RATIO * max(1, packed_bytes):
        raise DataError(f"{name} unpacks to more than {MAX_RATIO} times its size, as a decompression bomb does", UNPACK)


def gunzipped(entry: Entry) -> Entry:
    """The entry of what a gzip file holds."""

    def opened() -> BinaryIO:
        packed = entry.open()
        guard = _Guard(cast(BinaryIO, _Gunzip(packed)), entry.name, entry.size)
        return cast(BinaryIO, io.BufferedReader(guard, 2**18))

    return Entry(entry.name, entry.inner.removesuffix(".gz").removesuffix(".GZ"), entry.size, opened, None, entry.stamp)


class _Gunzip(gzip.GzipFile):
    """GzipFile that closes the stream below it."""

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()


def stamp_of_file(info: os.stat_result) -> tuple[int, ...]:
    """What changes when the file does: its size, and when its bytes and its entry on the disk were changed (ns). The last cannot be
    set: who gives a copy the times of another file (``cp -p``, ``rsync -t``) changes it.
    """
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def file_entry(path: Path, name: str) -> Entry:
    """A plain or gzipped file on disk. Raises :class:`DataError` for what is not a regular, readable file."""
    name = name.encode("utf-8", "replace").decode()  # a name on disk may hold bytes that are no text
    try:
        info = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} is a link to nothing", "mend or remove the link") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "check its permissions") from None
    if not stat.S_ISREG(info.st_mode):
        raise DataError(
            f"{path} is not a regular file (a pipe, socket or device)", "give a file, or - for standard input"
        )

    def opened() -> BinaryIO:
        try:
            return open(path, "rb")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", "check its permissions") from None

    entry = Entry(name, name, info.st_size, opened, path, stamp_of_file(info))
    return gunzipped(entry) if name.lower().endswith(".gz") else entry


@dataclass(frozen=True)
class Archive:
    """The files of an archive, and the encoding that their names were read in where they carry no mark of it. ``close`` it when
    none of them is read any more.
    """

    entries: list[Entry]
    encoding: str | None = None
    close: Callable[[], None] = lambda: None


def zip_archive(path: Path, encoding: str | None, *, office: bool = False) -> Archive:
    """The files inside a zip archive, checked before anything is read.

    ``encoding`` is that of names that carry no mark and are not UTF-8; ``office`` allows the parts of an Office document.
    Raises :class:`DataError`.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(f"{path} is not a whole zip archive: {error}", "copy or download it again") from None
    members = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    if len(members) > MAX_ENTRIES:
        raise DataError(f"{path} holds {len(members)} files, more than {MAX_ENTRIES}", UNPACK)
    check_size(str(path), sum(info.file_size for info in members), 2**62)
    for info in members:
        _check_member(path, info)
    if not office and any(info.filename == "[Content_Types].xml" for info in members):
        raise DataError(
            f"{path} is an Office document, not a workbook (.xlsx)", "save its table as .xlsx or CSV and give that file"
        )
    status = path.stat()
    stamp = stamp_of_file(status)
    unmarked = [info for info in members if not info.flag_bits & _UTF8_FLAG]
    decoded, found = decode_names(
        [info.orig_filename.encode("cp437", "replace") for info in unmarked], encoding, "cp437"
    )
    names = {id(info): name for info, name in zip(unmarked, decoded, strict=True)}
    entries = [_member_entry(path, archive, info, names.get(id(info), info.filename), stamp) for info in members]
    return Archive(entries, found, archive.close)


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    told = f"{path} holds {name!r},"
    if name_parts(name) is None:
        raise DataError(f"{told} a name that leads out of the archive", UNPACK)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError(f"{told} a symbolic link", UNPACK)
    if info.flag_bits & 0x1:
        raise DataError(f"{told} which is encrypted", "unpack it with its password and give the folder")
    check_size(f"{path}: {name}", info.file_size, info.compress_size)


def _member_entry(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, stamp: tuple[int, ...]
) -> Entry:
    name = "/".join(name_parts(name) or ())

    def opened() -> BinaryIO:
        try:
            stream = archive.open(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
            raise DataError(f"{path}: {name} cannot be read: {error}", "copy or download the archive again") from None
        guard = _Guard(cast(BinaryIO, stream), f"{path}: {name}", info.compress_size)
        return cast(BinaryIO, io.BufferedReader(guard, 2**18))

    entry = Entry(name, name, info.file_size, opened, None, stamp)
    return gunzipped(entry) if name.lower().endswith(".gz") else entry
