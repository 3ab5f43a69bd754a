"""Pictures and clips as files of rows: what can be wrong with one, where it may lie, and what is known after one look.

A file is named by a manifest, found in a folder or archive, or held as bytes in a table. Only files inside the data folder
are opened, wherever a name or a link may point.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pretune.data.archives.streams import Entry, stamp_of_file
from pretune.data.media.kinds import HEAD_BYTES, kind_of_bytes, kind_of_name
from pretune.errors import DataError
from pretune.modalities import Modality

__all__ = [
    "MAX_FILE_BYTES",
    "REASONS",
    "BrokenMedia",
    "Find",
    "Media",
    "Reason",
    "inside",
    "kind_of_entry",
    "looked_into",
    "media_entry",
    "mend_of",
    "pictures_in",
    "reason_words",
    "whole_file",
]

MAX_FILE_BYTES = 2**30
"""Largest picture, or clip inside an archive or table: such bytes are held in memory."""

_MEND = "mend or remove {these}"


class Reason(NamedTuple):
    """Why files cannot be used, to be said after their number, or after the name of one; and what to do about it."""

    many: str
    one: str
    mend: str = _MEND


REASONS = {
    "missing": Reason("are not there", "is not there"),
    "outside": Reason(
        "lead out of the data folder (a path or a link), and were not opened",
        "leads out of the data folder (a path or a link), and was not opened",
        "put {these} into the folder; or, for data that you trust, --trust-paths opens what lies elsewhere",
    ),
    "ambiguous": Reason(
        "are the names of several files", "is the name of several files", "--files FOLDER says in which folder to look"
    ),
    "web": Reason(
        "are web addresses, which are not fetched",
        "is a web address, which is not fetched",
        "download {these} and name the files, or take the rows out",
    ),
    "unreadable": Reason("cannot be opened", "cannot be opened"),
    "empty": Reason("are empty", "is empty"),
    "foreign": Reason("are of no kind that can be read", "is of no kind that can be read"),
    "heif": Reason(
        "are HEIC pictures, which are read where pillow-heif is installed",
        "is a HEIC picture, which is read where pillow-heif is installed",
        "pip install pillow-heif, or save {these} as JPEG",
    ),
    "raw": Reason(
        "are raw files of cameras, which are not read",
        "is a raw file of a camera, which is not read",
        "save {these} as JPEG or TIFF",
    ),
    "drawn": Reason("are drawings, which are not read", "is a drawing, which is not read", "save {these} as PNG"),
    "coded": Reason(
        "are of kinds of sound (m4a, mp4, wma, ...) that are read where av is installed",
        "is of a kind of sound (m4a, mp4, wma, ...) that is read where av is installed",
        "pip install av, or save {these} as WAV or FLAC",
    ),
    "no_sound": Reason("hold no sound", "holds no sound"),
    "broken": Reason("are damaged or cut off", "is damaged or cut off"),
    "too_large": Reason("are larger than the limit", "is larger than the limit"),
    "too_long": Reason("are longer than the limit", "is longer than the limit"),
    "lossy": Reason(
        "are masks saved as JPEG, which changes their values",
        "is a mask saved as JPEG, which changes its values",
        "export {these} again as PNG",
    ),
    "many_values": Reason(
        "have more values than a mask has classes (blurred colours, or no masks at all)",
        "has more values than a mask has classes (blurred colours, or no mask at all)",
        "export {these} without smoothing, as whole numbers or exact colours",
    ),
    "other_size": Reason(
        "are masks of another shape than their pictures",
        "is a mask of another shape than its picture",
        "export {these} at the size of the pictures (turned as these are)",
    ),
    "not_finite": Reason(
        "hold samples that are not numbers (NaN or infinite)", "holds samples that are not numbers (NaN or infinite)"
    ),
}
"""Every reason why a file is left out."""

_PIECE_BYTES = 2**18


class BrokenMedia(DataError):
    """One file that cannot be used; ``reason`` is a key of ``REASONS``."""

    def __init__(self, reason: str, name: str, problem: str = "") -> None:
        self.reason, self.name = reason, name
        super().__init__(f"{name} {reason_words(reason, 1)}{f': {problem}' if problem else ''}", mend_of(reason, 1))


def mend_of(reason: str, count: int = 2) -> str:
    """What to do about ``count`` files that were left out."""
    return REASONS[reason].mend.format(these="the file" if count == 1 else "these files")


def reason_words(reason: str, count: int) -> str:
    """Why ``count`` files were left out, to be said after their number or name."""
    return REASONS[reason].one if count == 1 else REASONS[reason].many


@dataclass(frozen=True, slots=True)
class Media:
    """One file after one look. ``held`` has its ``bytes`` (None for a file on disk) and ``path``, ``name`` is what the data
    calls it, ``content`` the hash of its bytes. Pictures have ``look`` (perceptual hash), ``width`` and ``height`` (px, upright); clips ``seconds`` and ``rate``
    (Hz). ``sketch`` is what copies are found by (``media_look``, ``media_sound``). ``format`` and ``mode`` are words for people, ``changes`` what
    reading will do to it (``orientation`` is what EXIF says of how a picture is to be turned, 1: not at all), ``signs`` what is odd about it though it can be used (``silent``, ``clipped``); both are counted.
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
    changes: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    name: str = ""
    sketch: bytes = b""
    orientation: int = 1


Find = Callable[[str], Entry]
"""From a name in a manifest to the file; raises :class:`BrokenMedia`."""


def pictures_in(entries: Iterable[Entry]) -> list[Entry]:
    """Those that are pictures."""
    return [entry for entry in entries if kind_of_entry(entry) is Modality.IMAGE]


def kind_of_entry(entry: Entry) -> Modality | None:
    """``image``, ``audio`` or None, by the file's name, else by its first bytes where these were looked at."""
    return kind_of_name(entry.name) or entry.kind


def looked_into(entry: Entry) -> Entry:
    """The entry with the kind that its first bytes say."""
    try:
        with entry.open() as stream:
            return replace(entry, kind=kind_of_bytes(stream.read(HEAD_BYTES)))
    except DataError:
        return entry


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


def media_entry(path: Path, name: str, root: Path, *, trust: bool = False) -> Entry:
    """A picture or clip on disk; whatever is wrong with it is told when it is opened, by :class:`BrokenMedia`.

    ``root`` is the real path of the data folder, which the file must not lie outside of, unless ``trust``.
    """
    name = name.encode("utf-8", "replace").decode()
    try:
        info = path.stat()
        size, stamp, regular = info.st_size, stamp_of_file(info), stat.S_ISREG(info.st_mode)
    except (OSError, ValueError):
        size, stamp, regular = 0, (), False

    def opened() -> BinaryIO:
        if not trust and path.is_symlink() and not inside(path, root):
            raise BrokenMedia("outside", name)
        if not regular:
            raise BrokenMedia("unreadable" if os.path.lexists(path) else "missing", name)
        try:
            return open(path, "rb")
        except OSError as error:
            raise BrokenMedia("unreadable", name, error.strerror or "") from None

    return Entry(name, name, size, opened, path, stamp)


def inside(path: Path, root: Path) -> bool:
    """Whether a path leads, through all links, into the folder ``root`` (a real path)."""
    return Path(os.path.realpath(path)).is_relative_to(root)
