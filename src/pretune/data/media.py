"""Pictures and clips as files of rows: what can be wrong with one, where it may lie, and what is known after one look.

A file is named by a manifest, found in a folder or archive, or held as bytes in a table. Only files inside the data folder
are opened, wherever a name or a link may point.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from pretune.data.archive import Entry
from pretune.errors import DataError

__all__ = [
    "AUDIO_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MAX_FILE_BYTES",
    "REASONS",
    "BrokenMedia",
    "Find",
    "Media",
    "disk_finder",
    "free_finder",
    "kind_of_bytes",
    "kind_of_name",
    "media_entry",
    "reason_words",
    "whole_file",
    "zip_finder",
]

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".png",
    ".gif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".jp2",
    ".avif",
)
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
MAX_FILE_BYTES = 2**30
"""Largest picture, or clip inside an archive or table: such bytes are held in memory."""

REASONS = {
    "missing": "are not there",
    "outside": "lead out of the data folder (a path or a link), and were not opened",
    "unreadable": "cannot be opened",
    "empty": "are empty",
    "foreign": "are of no kind that can be read",
    "broken": "are damaged or cut off",
    "too_large": "are larger than the limit",
    "too_long": "are longer than the limit",
    "not_finite": "hold samples that are not numbers (NaN or infinite)",
}
"""Why a file was left out, to be said after the number of files."""

_PIECE_BYTES = 2**18
_NEARBY = ("", "wavs", "clips", "audio", "images")
_IMAGE_MARKS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_AUDIO_MARKS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"FORM", b".snd", b"RF64")


class BrokenMedia(DataError):
    """One file that cannot be used; ``reason`` is a key of ``REASONS``."""

    def __init__(self, reason: str, name: str, problem: str = "") -> None:
        self.reason, self.name = reason, name
        super().__init__(
            f"{name} {reason_words(reason, 1)}{f': {problem}' if problem else ''}", "mend or remove the file"
        )


def reason_words(reason: str, count: int) -> str:
    """Why ``count`` files were left out, to be said after their number or name."""
    said = REASONS[reason]
    if count != 1:
        return said
    for plural, singular in (("are ", "is "), ("lead ", "leads "), ("hold ", "holds "), ("were ", "was ")):
        said = said.replace(plural, singular, 1)
    return said.replace("holds samples that is", "holds samples that are")


@dataclass(frozen=True, slots=True)
class Media:
    """One file after one look. ``held`` has its ``bytes`` (None for a file on disk) and ``path``; ``content`` is the hash of
    its bytes. Pictures have ``look`` (perceptual hash), ``width`` and ``height`` (px, upright); clips ``seconds`` and ``rate``
    (Hz). ``format`` and ``mode`` are words for people, ``changes`` what reading will do to it, to be counted.
    """

    held: Mapping[str, Any]
    content: int
    format: str
    mode: str
    look: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    rate: int = 0
    changes: tuple[str, ...] = field(default=())


Find = Callable[[str], Entry]
"""From a name in a manifest to the file; raises :class:`BrokenMedia`."""


def kind_of_name(name: str) -> str | None:
    """``image``, ``audio`` or None by the name's suffix."""
    suffix = PurePosixPath(name).suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "audio" if suffix in AUDIO_SUFFIXES else None


def kind_of_bytes(head: bytes) -> str | None:
    """``image``, ``audio`` or None by the first bytes of a file (12 are enough)."""
    if head[:4] == b"RIFF":
        return "audio" if head[8:12] == b"WAVE" else "image" if head[8:12] == b"WEBP" else None
    if head.startswith(_AUDIO_MARKS):
        return "audio"
    return "image" if head.startswith(_IMAGE_MARKS) or head[4:12] == b"ftypavif" else None


def whole_file(stream: BinaryIO, name: str) -> bytes:
    """All bytes, piece by piece, as a buffered stream sets aside what it is asked for. Raises :class:`BrokenMedia`."""
    parts, size = [], 0
    while part := stream.read(_PIECE_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_FILE_BYTES:
            raise BrokenMedia("too_large", name, f"more than {MAX_FILE_BYTES // 2**20} MiB")
    if not size:
        raise BrokenMedia("empty", name)
    return b"".join(parts)


def media_entry(path: Path, name: str, root: Path) -> Entry:
    """A picture or clip on disk; whatever is wrong with it is told when it is opened, by :class:`BrokenMedia`.

    ``root`` is the real path of the data folder, which the file must not lie outside of.
    """
    name = name.encode("utf-8", "replace").decode()
    try:
        info = path.stat()
        size, stamp, regular = info.st_size, (info.st_size, info.st_mtime_ns), stat.S_ISREG(info.st_mode)
    except (OSError, ValueError):
        size, stamp, regular = 0, (0, 0), False

    def opened() -> BinaryIO:
        if path.is_symlink() and not _inside(path, root):
            raise BrokenMedia("outside", name)
        if not regular:
            raise BrokenMedia("unreadable" if os.path.lexists(path) else "missing", name)
        try:
            return open(path, "rb")
        except OSError as error:
            raise BrokenMedia("unreadable", name, error.strerror or "") from None

    return Entry(name, name, size, opened, path, stamp)


def _inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _candidates(reference: str) -> Iterator[str]:
    """Where a named file may lie: as named, then in the usual folders, then with a suffix that the name lacks."""
    plain = reference.strip().replace("\\", "/")
    for folder in _NEARBY:
        yield f"{folder}/{plain}" if folder else plain
    if kind_of_name(plain) is None:
        for folder in _NEARBY:
            for suffix in (".wav", ".flac", ".mp3", ".ogg", ".jpg", ".jpeg", ".png"):
                yield f"{folder}/{plain}{suffix}" if folder else f"{plain}{suffix}"


def disk_finder(folder: Path, root: Path) -> Find:
    """Finds files named relative to ``folder`` (or by a whole path), all inside ``root``."""
    real_root = Path(os.path.realpath(root))

    def find(reference: str) -> Entry:
        if not reference.strip() or "\0" in reference:
            raise BrokenMedia("missing", reference or "(no name)")
        if not _inside(folder / reference.strip().replace("\\", "/"), real_root):
            raise BrokenMedia("outside", reference)
        for candidate in _candidates(reference):
            path = folder / candidate
            if os.path.lexists(path):
                if not _inside(path, real_root):
                    raise BrokenMedia("outside", reference)
                return media_entry(Path(os.path.realpath(path)), reference, real_root)
        raise BrokenMedia("missing", reference)

    return find


def free_finder(reference: str) -> Entry:
    """A file that a person names by hand, wherever it lies."""
    path = Path(reference.strip()).expanduser()
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise BrokenMedia("missing", reference) from None
    return media_entry(real, reference, real.parent)


def zip_finder(members: Mapping[str, Entry], folder: str) -> Find:
    """Finds members of an archive, named relative to ``folder`` inside it."""

    def find(reference: str) -> Entry:
        for candidate in _candidates(reference):
            name = os.path.normpath(f"{folder}/{candidate}" if folder else candidate).replace("\\", "/")
            if name.startswith(("/", "..")):
                raise BrokenMedia("outside", reference)
            if name in members:
                return members[name]
        raise BrokenMedia("missing", reference)

    return find
