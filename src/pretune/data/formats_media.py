"""Places of pictures or clips: class folders, flat folders, archives of them, and LJSpeech's list of transcripts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pretune.data.archive import Entry
from pretune.data.encodings import open_text, read_lines
from pretune.data.formats import Chunk, Table
from pretune.data.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, kind_of_name
from pretune.errors import DataError

__all__ = [
    "MediaGroup",
    "media_groups",
    "media_kind",
    "media_table",
    "speech_list_table",
    "speech_list_width",
    "stems_of",
]

_STRAY_SHARE = 0.05
_CHUNK_ROWS = 2_000


def media_kind(entries: Sequence[Entry], place: str) -> str | None:
    """``image`` or ``audio``: what nearly all media files of a place are; None when there are none.

    Raises :class:`DataError` when there are many of both.
    """
    kinds = Counter(kind_of_name(entry.name) for entry in entries)
    kinds.pop(None, None)
    if not kinds:
        return None
    (kind, count), *rest = kinds.most_common()
    if rest and rest[0][1] > max(3, _STRAY_SHARE * count):
        raise DataError(
            f"{place} holds {kinds['image']} pictures and {kinds['audio']} clips",
            "give a folder with one kind, or a table that names the files of one kind",
        )
    return kind


@dataclass(frozen=True)
class MediaGroup:
    """The files of one split (None where folders name none), and the class (None for none) of each."""

    split: str | None
    entries: tuple[Entry, ...]
    classes: tuple[str | None, ...]


def media_groups(entries: Sequence[Entry], split_of_word: Mapping[str, str]) -> list[MediaGroup]:
    """The files of a folder or archive by split, with the classes that the names of folders give them."""
    splits, places = zip(*(_split_of(entry.name, split_of_word) for entry in entries), strict=True)
    classes = _classes([entry.name for entry in entries], places)
    found: dict[str | None, list[int]] = {}
    for number, split in enumerate(splits):
        found.setdefault(split, []).append(number)
    return [
        MediaGroup(split, tuple(entries[i] for i in rows), tuple(classes[i] for i in rows))
        for split, rows in found.items()
    ]


def _split_of(name: str, split_of_word: Mapping[str, str]) -> tuple[str | None, int]:
    """The split of the first folder named after one and its place in the path; an archive's own name serves last (-1)."""
    parts = PurePosixPath(name).parts[:-1]
    for place, part in enumerate(parts):
        if split := split_of_word.get(part.casefold()):
            return split, place
    for part in parts:
        if part.lower().endswith(".zip"):
            words = {split_of_word[w] for w in re.split(r"[\W\d_]+", part[:-4].casefold()) if w in split_of_word}
            if len(words) == 1:
                return words.pop(), -1
    return None, -1


def _classes(names: Sequence[str], places: Sequence[int]) -> list[str | None]:
    """The class that folders give to each file, None for all where folders give none.

    It is the first folder below the split's (``places`` holds where that stands in each path, -1 for none), or, where
    nothing stands below it, above it. Folders that all files share say nothing, but one class below a split is a class.
    """
    below: list[list[str]] = []
    above: list[list[str]] = []
    for name, place in zip(names, places, strict=True):
        parts = [part for part in PurePosixPath(name).parts[:-1] if not part.lower().endswith(".zip")]
        shift = len(PurePosixPath(name).parts) - 1 - len(parts)
        below.append(parts[place + 1 - shift :] if place >= 0 else [])
        above.append(parts[: place - shift] if place >= 0 else parts)
    _strip_common(below, least=2)
    _strip_common(above, least=1)
    if len({path[0] for path in above if path}) < 2:
        above = [[] for _ in above]
    return [low[0] if low else high[0] if high else None for low, high in zip(below, above, strict=True)]


def _strip_common(paths: list[list[str]], least: int) -> None:
    """Cut the folders that all paths begin with, while ``least`` folders stand in each."""
    while paths and all(len(path) >= least for path in paths) and len({path[0] for path in paths}) == 1:
        for path in paths:
            del path[0]


def media_table(entries: Sequence[Entry], kind: str, classes: Sequence[str | None]) -> Table:
    """One row a file: columns "file", "name" and, where there are classes, "folder"."""
    facts: dict[str, object] = {
        "format": "pictures, one row a file" if kind == "image" else "clips, one row a file",
        "files": len(entries),
    }
    labelled = any(name is not None for name in classes)
    columns = ("file", "name", "folder") if labelled else ("file", "name")

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(entries), _CHUNK_ROWS):
            some = entries[start : start + _CHUNK_ROWS]
            names = [entry.name for entry in some]
            values = {"file": some, "name": names, "folder": classes[start : start + _CHUNK_ROWS]}
            yield Chunk(range(start + 1, start + 1 + len(some)), lambda name, values=values: values[name])

    roles = {kind: "file", "id": "name"} | ({"label": "folder"} if labelled else {})
    return Table(columns, False, chunks(), facts, roles=roles)


def speech_list_width(entry: Entry, sample: Sequence[str], stems: frozenset[str]) -> int:
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
    return plain.stem if plain.suffix.lower() in (*AUDIO_SUFFIXES, *IMAGE_SUFFIXES) else plain.name


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


def stems_of(entries: Sequence[Entry]) -> set[str]:
    """Names of the media files of a place, without folders and suffixes."""
    return {PurePosixPath(entry.name).stem for entry in entries if kind_of_name(entry.name)}
