"""Tar archives, packed or not, read in place: a packed one becomes one nameless temporary file, and no member is ever written.

Headers are read one by one (POSIX.1-2001, "pax Interchange Format", and GNU's long names), so that what stands in the
archive is checked before it is used. Links, devices, sparse files and names that leave the folder are refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from pretune.data.archives.names import decode_names, name_parts
from pretune.data.archives.streams import MAX_ENTRIES, UNPACK, Archive, Entry, check_size, gunzipped, stamp_of_file
from pretune.errors import DataError
from pretune.files import cache_dir

__all__ = ["looks_like_tar", "tar_archive"]

_BLOCK = tarfile.BLOCKSIZE
_PIECE_BYTES = 2**20
_MOST_HEADER_BYTES = 2**20
_MOST_XZ_MEMORY = 2**28
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_PACKED: dict[bytes, Callable[[], Any]] = {
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(memlimit=_MOST_XZ_MEMORY),
}


class _Member(NamedTuple):
    name: bytes
    offset: int
    size: int


class _Held:
    """An open file, closed when nothing reads from it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class _Part(io.RawIOBase):
    """Some bytes of a file; several may be read at once."""

    def __init__(self, held: _Held, member: _Member, told: str) -> None:
        self._held, self._at, self._end, self._told = held, member.offset, member.offset + member.size, told

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        wanted = min(len(buffer), self._end - self._at)
        data = os.pread(self._held.number, wanted, self._at) if wanted else b""
        if wanted and not data:
            raise DataError(f"{self._told} ends in the middle: it is truncated", "copy or download it again")
        self._at += len(data)
        buffer[: len(data)] = data
        return len(data)


def looks_like_tar(path: Path) -> bool:
    """Whether a file is a tar archive, packed or not, by its first bytes."""
    try:
        with open(path, "rb") as stream:
            start = next(_unpacked(stream, path), b"")[:_BLOCK]
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (OSError, EOFError, DataError, tarfile.HeaderError, zlib.error, lzma.LZMAError):
        return False
    return True


def tar_archive(path: Path, encoding: str | None) -> Archive:
    """The files inside a tar archive. ``encoding`` is that of names that are not UTF-8. Raises :class:`DataError`."""
    held = _plain_file(path)
    members = list(_members(held, path))
    names, found = decode_names([member.name for member in members], encoding, "latin-1")
    status = path.stat()
    stamp = stamp_of_file(status)
    entries = [_entry(path, held, member, name, stamp) for member, name in zip(members, names, strict=True)]
    return Archive(entries, None if found == "utf-8" else found)


def _plain_file(path: Path) -> _Held:
    """The archive itself, or what it unpacks to, in a temporary file without a name."""
    with open(path, "rb") as stream:
        head = stream.read(6)
        stream.seek(0)
        if not head.startswith((b"\x1f\x8b", *_PACKED)):
            return _Held(os.dup(stream.fileno()))
        with tempfile.TemporaryFile(dir=cache_dir("tables")) as plain:
            total, packed = 0, path.stat().st_size
            for piece in _unpacked(stream, path):
                total += len(piece)
                check_size(str(path), total, packed)
                plain.write(piece)
            plain.flush()
            return _Held(os.dup(plain.fileno()))


def _unpacked(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """The plain bytes of a file, piece by piece."""
    head = stream.read(6)
    stream.seek(0)
    make = next((make for mark, make in _PACKED.items() if head.startswith(mark)), None)
    try:
        if make is not None:
            yield from _decompressed(stream, make)
            return
        source: Any = gzip.GzipFile(fileobj=stream) if head.startswith(b"\x1f\x8b") else stream
        while piece := source.read(_PIECE_BYTES):
            yield piece
    except EOFError:
        raise DataError(f"{path} ends in the middle: it is truncated", "copy or download it again") from None
    except (zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DataError(f"{path} cannot be decompressed: {error}", "copy or download it again") from None


def _decompressed(stream: BinaryIO, make: Callable[[], Any]) -> Iterator[bytes]:
    """What the streams in a file unpack to; several may follow each other, and zeros the last. Raises EOFError at a cut."""
    decompressor, data = make(), b""
    while True:
        if decompressor.needs_input and not data and not (data := stream.read(_PIECE_BYTES)):
            raise EOFError
        if piece := decompressor.decompress(data, _PIECE_BYTES):
            yield piece
        data = b""
        if decompressor.eof:
            data = (decompressor.unused_data or stream.read(_PIECE_BYTES)).lstrip(b"\0")
            if not data:
                return
            decompressor = make()


def _members(held: _Held, path: Path) -> Iterator[_Member]:
    """The regular files, with the names and sizes that extended headers give them. Raises :class:`DataError`."""
    end, at, total, count = os.fstat(held.number).st_size, 0, 0, 0
    extended: dict[str, bytes] = {}
    common: dict[str, bytes] = {}
    while any(block := _block(held, at, path)):
        info = _header(block, path)
        at += _BLOCK
        if info.type in _EXTENDED:
            data = _header_data(held, at, info, path)
            into = common if info.type == tarfile.XGLTYPE else extended
            into |= _records(data, info.type)
            at += _padded(info.size)
            continue
        told = common | extended
        extended = {}
        if info.isdir():
            continue
        name = told.get("path") or info.name.encode("utf-8", "surrogateescape")
        _check_member(path, name, info, sparse=any(key.startswith("GNU.sparse") for key in told))
        size = _size(told.get("size"), info, path)
        count, total = count + 1, total + size
        if count > MAX_ENTRIES:
            raise DataError(f"{path} holds more than {MAX_ENTRIES} files", UNPACK)
        check_size(str(path), total, 2**62)
        if at + size > end:
            raise DataError(f"{path} ends in the middle: it is truncated", "copy or download it again")
        yield _Member(name, at, size)
        at += _padded(size)


def _block(held: _Held, at: int, path: Path) -> bytes:
    """The block of a header; zeros at the archive's end, which a cut-off archive lacks."""
    block = os.pread(held.number, _BLOCK, at)
    if not block:
        raise DataError(f"{path} ends in the middle: it is truncated", "copy or download it again")
    return block


def _header(block: bytes, path: Path) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DataError(f"{path} is not a whole tar archive: {error}", "copy or download it again") from None


def _size(given: bytes | None, info: tarfile.TarInfo, path: Path) -> int:
    size = int(given) if given and given.isdigit() and len(given) < 20 else info.size
    if size < 0:
        raise DataError(f"{path} is not a whole tar archive: a file of {size} bytes", "copy or download it again")
    return size


def _header_data(held: _Held, at: int, info: tarfile.TarInfo, path: Path) -> bytes:
    if not 0 <= info.size <= _MOST_HEADER_BYTES:
        raise DataError(f"{path} holds a header of {info.size:,} bytes", UNPACK)
    return os.pread(held.number, info.size, at)


def _records(data: bytes, kind: bytes) -> dict[str, bytes]:
    """What an extended header says: records ``LENGTH KEY=VALUE``, or GNU's long name alone."""
    if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
        return {"path": data.rstrip(b"\0")} if kind == tarfile.GNUTYPE_LONGNAME else {}
    found, at = {}, 0
    while at < len(data):
        length, space, _ = data[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or not int(length):
            break
        key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value
        at += int(length)
    return found


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _check_member(path: Path, name: bytes, info: tarfile.TarInfo, *, sparse: bool) -> None:
    told = f"{path} holds {name.decode('utf-8', 'replace')!r},"
    if info.issym() or info.islnk():
        raise DataError(f"{told} a link", UNPACK)
    if sparse or not info.isreg() or info.type == tarfile.GNUTYPE_SPARSE:
        raise DataError(f"{told} which is no plain file", UNPACK)
    if name_parts(name.decode("latin-1")) is None:
        raise DataError(f"{told} a name that leads out of the archive", UNPACK)


def _entry(path: Path, held: _Held, member: _Member, name: str, stamp: tuple[int, ...]) -> Entry:
    plain = "/".join(name_parts(name) or ())

    def opened() -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Part(held, member, f"{path}: {plain}"), 2**18))

    entry = Entry(plain, plain, member.size, opened, None, stamp)
    return gunzipped(entry) if plain.lower().endswith(".gz") else entry
