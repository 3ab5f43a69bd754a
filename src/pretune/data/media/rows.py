"""From the cells of a media column to what is known of each file: every file read once, on several threads, losses counted."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import ABSENT, Chunk
from pretune.data.masks.probe import probe_mask
from pretune.data.media.audio import MAX_SECONDS, probe_audio
from pretune.data.media.base import BrokenMedia, Find, Media, mend_of, reason_words
from pretune.data.media.image import MAX_PIXELS, probe_image
from pretune.errors import DataError
from pretune.modalities import FILES, Modality

__all__ = ["MediaReader", "MediaTally", "small_chunks"]

_CHUNK_ROWS, _FIRST_ROWS = 128, 8
_CHUNK_BYTES = 2**25
_SHOWN = 5
_NOUNS = {**{kind: (kind.one, kind.many) for kind in FILES}, "mask": ("mask", "masks")}
_PROBES: Mapping[str, Callable[[BinaryIO, str, Path | None], Media]] = {
    Modality.IMAGE: probe_image, Modality.AUDIO: probe_audio, "mask": probe_mask,
}  # fmt: skip
_CHANGES = {
    "16_bit": "{n} {of} 16-bit grey; the values are divided by 257.",
    "float": "{n} {of} made of numbers with a point; they are scaled by 1 or by their maximum.",
    "alpha_on_white": "{n} {have} transparent parts; these are shown on white.",
    "first_frame_of_several": "{n} {have} several frames; the first is used.",
    "turned_upright": "{n} {of} turned upright, as their EXIF says.",
    "wrong_extension": "{n} {have} a name that says another format; they were read by what they hold.",
    "mixed_to_mono": "{n} {have} several channels; their mean is used.",
    "silent": "{n} {of} silent (never over -60 dB of full scale).",
    "clipped": "{n} {of} clipped (peaks cut off at full scale).",
}


@dataclass
class MediaTally:
    """What was found in the files of a place: how many, of which formats, what is odd about them (``signs``), what was left
    out and why.
    """

    kind: str
    read: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    signs: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, media: Media | BrokenMedia) -> None:
        """Count one file."""
        if isinstance(media, BrokenMedia):
            self.lost[media.reason] += 1
            self._name(media.reason, media.name)
            return
        for sign in media.signs:
            self.signs[sign] += 1
            self._name(sign, media.name)
        self.read += 1
        self.formats[media.format] += 1
        self.modes[media.mode] += 1
        self.changes.update(media.changes)
        self.seconds += media.seconds

    def _name(self, what: str, name: str) -> None:
        names = self.named.setdefault(what, [])
        if len(names) < _SHOWN:
            names.append(name[:200])

    def update(self, other: MediaTally) -> None:
        """Count the files of another table too."""
        self.read += other.read
        self.seconds += other.seconds
        for name in ("formats", "modes", "changes", "signs", "lost"):
            getattr(self, name).update(getattr(other, name))
        for what, names in other.named.items():
            self.named[what] = (self.named.get(what, []) + names)[:_SHOWN]

    def check(self, place: str) -> None:
        """Raise :class:`DataError` when all files were lost, or more than half; or one is to be fetched from the web."""
        lost, noun = self.lost.total(), _NOUNS[self.kind][1]
        told = f"{place}: {lost} of {lost + self.read} {noun} cannot be used: {' '.join(self._losses())}"
        if lost > self.read:
            mends = list(dict.fromkeys(mend_of(reason) for reason, _ in self.lost.most_common()))
            fix = f"{'; '.join(mends)}. Rows whose {noun[:-1]} cannot be used are left out while they are few"
            if self.lost["missing"]:
                fix += ". Names are relative to the file that holds them; --files FOLDER says where the files lie"
            raise DataError(told, fix)
        if self.lost["web"]:
            raise DataError(told, mend_of("web"))

    def _losses(self) -> Iterator[str]:
        limits = {"too_large": f"{MAX_PIXELS // 10**6} Mpx", "too_long": f"{MAX_SECONDS / 3600:g} hour"}
        for reason, count in sorted(self.lost.items()):
            names = self.named.get(reason, [])
            shown = ", ".join(names) + (" ..." if count > len(names) else "")
            said = reason_words(reason, count) + (f" of {limits[reason]}" if reason in limits else "")
            yield f"{count} {said}: {shown}."

    def notes(self) -> list[str]:
        """Sentences on what was left out and what is changed when the files are decoded."""
        noun = _NOUNS[self.kind]
        found = [f"Left out: {_NOUNS[self.kind][1]}, {loss}" for loss in self._losses()]
        for change, sentence in _CHANGES.items():
            if count := self.changes[change] or self.signs[change]:
                said = {"of": "is", "have": "has"} if count == 1 else {"of": "are", "have": "have"}
                found.append(sentence.format(n=f"{count} {noun[count != 1]}", **said))
        return found

    def facts(self) -> dict[str, Any]:
        """JSON form."""
        found: dict[str, Any] = {
            "kind": self.kind,
            "read": self.read,
            "left_out": {
                reason: {"count": count, "files": self.named.get(reason, [])}
                for reason, count in sorted(self.lost.items())
            },
            "formats": dict(self.formats.most_common()),
            "modes": dict(self.modes.most_common()),
            "changes": dict(self.changes.most_common()),
            "signs": {
                sign: {"count": count, "files": self.named.get(sign, [])} for sign, count in sorted(self.signs.items())
            },
        }
        return found | ({"hours": round(self.seconds / 3600, 4)} if self.kind == Modality.AUDIO else {})


class MediaReader:
    """Looks at the files that the cells of a column name or hold.

    ``tally`` counts them; ``on_lost`` is told of each that cannot be used, and may raise it. ``next_rows`` is how many
    rows should be given next, so that about 32 MiB of files are held in memory.
    """

    def __init__(self, kind: str, find: Find | None, table: str) -> None:
        self.kind, self.table, self.tally = kind, table, MediaTally(kind)
        self.on_lost: Callable[[BrokenMedia], None] | None = None
        self.next_rows = _FIRST_ROWS
        self._find = find
        self._probe = _PROBES[kind]
        self._threads = min(8, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, cells: Sequence[Any], numbers: Sequence[int]) -> list[Media | None]:
        """What is known of each file, in order; None for one that cannot be used."""
        if self._threads == 1:
            found = list(map(self._look, cells, numbers))
        else:
            self._pool = self._pool or ThreadPoolExecutor(self._threads, thread_name_prefix="pretune-media")
            found = list(self._pool.map(self._look, cells, numbers))
        for media in found:
            self.tally.add(media)
            if isinstance(media, BrokenMedia) and self.on_lost is not None:
                self.on_lost(media)
        held_bytes = sum(len(media.held.get("bytes") or b"") for media in found if isinstance(media, Media))
        self.next_rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES * len(found) // max(1, held_bytes)))
        return [media if isinstance(media, Media) else None for media in found]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _look(self, cell: Any, number: int) -> Media | BrokenMedia:
        row = f"{self.table}:{number}"
        try:
            stream, name, path = self._open(cell, row)
            with stream:
                return self._probe(stream, name, path)
        except BrokenMedia as error:
            return error
        except DataError as error:  # an archive's member that cannot be unpacked
            return BrokenMedia("broken", row if not isinstance(cell, Entry) else cell.name, error.problem)
        except (OSError, EOFError) as error:
            return BrokenMedia("unreadable", row, str(error)[:120])

    def _open(self, cell: Any, row: str) -> tuple[BinaryIO, str, Path | None]:
        if isinstance(cell, Mapping):
            if cell.get("bytes") is not None:
                return cast(BinaryIO, io.BytesIO(cell["bytes"])), str(cell.get("path") or row), None
            cell = cell.get("path")
        if isinstance(cell, bytes):
            return cast(BinaryIO, io.BytesIO(cell)), row, None
        if cell is None or cell is ABSENT or cell == "":
            raise BrokenMedia("missing", f"{row} (no file is named)")
        if not isinstance(cell, Entry):
            if self._find is None:
                raise BrokenMedia("missing", str(cell))
            cell = self._find(str(cell))
        return cell.open(), cell.name, cell.path


def small_chunks(chunks: Iterator[Chunk], reader: MediaReader) -> Iterator[Chunk]:
    """The same rows, as many at a time as ``reader`` wants next, so that few files are held in memory."""
    for chunk in chunks:
        columns: dict[str, Sequence[Any]] = {}

        def column(name: str, chunk: Chunk = chunk, columns: dict[str, Sequence[Any]] = columns) -> Sequence[Any]:
            if name not in columns:
                columns[name] = chunk.column(name)
            return columns[name]

        start = 0
        while start < len(chunk.numbers):
            cut = slice(start, start + reader.next_rows)
            start += reader.next_rows
            yield Chunk(chunk.numbers[cut], lambda name, cut=cut, column=column: column(name)[cut])
