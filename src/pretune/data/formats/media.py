"""Places of pictures or clips: class folders, flat folders, archives of them, and LJSpeech's list of transcripts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Chunk, Table
from pretune.data.media.base import kind_of_entry
from pretune.data.media.kinds import is_film, kind_of_name
from pretune.data.places.folder_names import in_folders
from pretune.data.text.encodings import open_text, read_lines
from pretune.errors import DataError
from pretune.modalities import FILES, Modality

__all__ = [
    "media_kind",
    "media_table",
    "speech_list_table",
    "speech_list_width",
    "stems_of",
]

_STRAY_SHARE = 0.05
_CHUNK_ROWS = 2_000


def media_kind(entries: Sequence[Entry], place: str) -> Modality | None:
    """What nearly all media files of a place are; None when there are none. Films do not count beside
    pictures: cameras put them there.

    Raises :class:`DataError` when there are many of both.
    """
    kinds = Counter(kind_of_entry(entry) for entry in entries)
    kinds.pop(None, None)
    if kinds[Modality.IMAGE]:
        kinds[Modality.AUDIO] -= sum(is_film(entry.name) for entry in entries)
    kinds = +kinds
    if not kinds:
        return None
    (kind, count), *rest = kinds.most_common()
    if rest and rest[0][1] > max(3, _STRAY_SHARE * count):
        raise DataError(
            f"{place} holds " + " and ".join(f"{kinds[one]} {one.many}" for one in FILES),
            "give a folder with one kind, or a table that names the files of one kind",
        )
    return kind


def media_table(
    entries: Sequence[Entry], kind: Modality, classes: Sequence[str | None], masks: Sequence[Entry | None] = ()
) -> Table:
    """One row a file: columns "file", "name", where there are classes "folder", where there are masks "mask", and each folder of its
    path by ``folder:N``."""
    facts: dict[str, object] = {
        "format": f"{kind.many}, one row a file",
        "files": len(entries),
    }
    labelled = any(name is not None for name in classes)
    columns = ("file", "name", *(("folder",) if labelled else ()), *(("mask",) if masks else ()))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(entries), _CHUNK_ROWS):
            some = entries[start : start + _CHUNK_ROWS]
            names = [entry.name for entry in some]
            values = {"file": some, "name": names, "folder": classes[start : start + _CHUNK_ROWS]}
            values |= {"mask": masks[start : start + _CHUNK_ROWS]} if masks else {}
            yield Chunk(range(start + 1, start + 1 + len(some)), in_folders(names, values))

    roles = (
        {kind: "file", "id": "name"} | ({"label": "folder"} if labelled else {}) | ({"mask": "mask"} if masks else {})
    )
    return Table(columns, False, chunks(), facts, roles=roles, in_folders=True)


def speech_list_width(entry: Entry, sample: Sequence[str], stems: Container[str]) -> int:
    """Columns of LJSpeech's ``id|transcript|normalised transcript``, 0 when the lines are nothing like it.

    ``stems`` are the names of the clips of the place, without suffix: more than half of the ids must be among them.
    """
    lines = [line.rstrip("\r\n").split("|") for line in sample[:200] if line.strip()]
    if not lines or entry.suffix not in (".csv", ".txt") or not stems:
        return 0
    widths = {len(line) for line in lines}
    named = sum(_stem(line[0]) in stems for line in lines)
    return widths.pop() if len(widths) == 1 and widths <= {2, 3} and 2 * named > len(lines) else 0


def _stem(name: str) -> str:
    plain = PurePosixPath(name.strip().replace("\\", "/"))
    return plain.stem if kind_of_name(plain.name) else plain.name


def speech_list_table(entry: Entry, encoding: str, width: int) -> Table:
    """LJSpeech's list: the clip's name and the last column, which is the normalised transcript where there is one."""
    facts: dict[str, object] = {"format": "speech list (clip|transcript|normalised)", "header": False}
    columns = tuple(map(str, range(width)))
    roles = {"audio": "0", "text": columns[-1]}
    return Table(columns, False, _speech_chunks(entry, encoding, width, facts), facts, roles=roles, by_line=True)


def _speech_chunks(entry: Entry, encoding: str, width: int, facts: dict[str, object]) -> Iterator[Chunk]:
    rows: list[list[str]] = []
    numbers: list[int] = []
    empty = 0
    with open_text(entry.open(), encoding) as text:
        for number, line in enumerate(read_lines(text, entry.name), 1):
            cells = line.rstrip("\r\n").split("|")
            if not line.strip():
                empty += 1
                continue
            if len(cells) != width:
                raise DataError(
                    f"{entry.name}:{number} has {len(cells)} columns where the first line has {width} (cut at '|')",
                    "mend the line",
                )
            if width == 3 and not cells[2].strip():
                cells[2] = cells[1]
            rows.append(cells)
            numbers.append(number)
            if len(rows) == _CHUNK_ROWS:
                yield _chunk(numbers, rows)
                rows, numbers = [], []
    if rows:
        yield _chunk(numbers, rows)
    facts["blank_lines"] = empty


def _chunk(numbers: list[int], rows: list[list[str]]) -> Chunk:
    return Chunk(numbers, lambda name: [row[int(name)] for row in rows])


def stems_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Names of the media files of a place, without folders and suffixes, and the kind of each."""
    kinds = {PurePosixPath(entry.name).stem: kind_of_entry(entry) for entry in entries}
    return {unicodedata.normalize("NFC", stem): kind for stem, kind in kinds.items() if kind}
