"""Places of pictures with boxes: which format they are in (Pascal VOC, COCO, YOLO, a table of boxes), and the table of each split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pretune.data.archives.streams import Entry
from pretune.data.cells.boxes import BoxCell
from pretune.data.formats.base import Chunk, Options, Table
from pretune.data.media.base import Find
from pretune.data.places.folder_names import folder_groups, folders_of, in_folders
from pretune.data.places.place import LeftOut, Source
from pretune.errors import DataError

__all__ = [
    "Boxed",
    "Pictures",
    "box_table",
    "few_beside_classes",
    "head_of",
    "pairs_of",
    "sources_by_split",
    "whole_text",
]

_CHUNK_ROWS = 256
_HEAD_BYTES = 2**16
MOST_FILE_BYTES = 2**24
"""Of the boxes of one picture."""


@dataclass
class Boxed:
    """The sources of pictures with boxes, the names of all files that they are made of, what gives no rows, and sentences."""

    sources: list[Source]
    used: set[str]
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pictures:
    """What a reader of boxes is given: the files of a place, the pictures among them, what finds a picture that a file names."""

    place: str
    entries: Sequence[Entry]
    pictures: Sequence[Entry]
    find_from: Callable[[Entry], Find]
    options: Options


def head_of(entry: Entry) -> bytes:
    """The first 64 KiB of a file, none where it cannot be read."""
    try:
        with entry.open() as stream:
            return stream.read(_HEAD_BYTES)
    except (DataError, OSError):
        return b""


def whole_text(entry: Entry, most: int = MOST_FILE_BYTES) -> str:
    """A small file as text: UTF-8, else latin-1. Raises :class:`DataError` for one that is too large."""
    with entry.open() as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise DataError(f"{entry.name} has more than {most // 2**20} MiB", "boxes of one picture are a short file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def box_table(
    form: str,
    pictures: Sequence[Entry | str],
    names: Sequence[str],
    cell_of: Callable[[int], BoxCell | None],
    facts: Mapping[str, Any] | None = None,
) -> Table:
    """One row a picture: its file (or the name that is looked for), its name, and its boxes, read when its turn comes."""

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(pictures), _CHUNK_ROWS):
            stop = min(len(pictures), start + _CHUNK_ROWS)
            cells = [cell_of(number) for number in range(start, stop)]
            values = {"file": pictures[start:stop], "name": names[start:stop], "boxes": cells}
            yield Chunk(range(start + 1, stop + 1), in_folders(names[start:stop], values))

    roles = {"image": "file", "id": "name", "boxes": "boxes"}
    told = {"format": f"pictures with boxes, {form}", "files": len(pictures), **(facts or {})}
    return Table(("file", "name", "boxes"), False, chunks(), told, roles=roles, in_folders=True)


def sources_by_split(
    told: Pictures, split_of: Mapping[str, str | None] | None, table_of: Callable[[Sequence[Entry]], Table]
) -> list[Source]:
    """A source a split: ``split_of`` gives that of a picture's name; None: what the names of folders say."""
    names = [entry.name for entry in told.pictures]
    groups: dict[str | None, list[Entry]] = {}
    if split_of is None:
        for group in folder_groups(names, use_splits=told.options.splits != "none"):
            groups.setdefault(group.split, []).extend(told.pictures[place] for place in group.places)
    else:
        for entry in told.pictures:
            if entry.name in split_of:
                groups.setdefault(split_of[entry.name], []).append(entry)
    name = PurePosixPath(told.place).name or "files"
    return [
        Source(split or name, tuple(some), split, table=lambda some=tuple(some): table_of(some))
        for split, some in groups.items()
    ]


def pairs_of(pictures: Sequence[Entry], files: Sequence[Entry]) -> dict[str, Entry]:
    """The file of boxes of each picture, by the picture's name: the one of its stem, of several the one whose folders differ least."""
    by_stem: dict[str, list[Entry]] = {}
    for file in files:
        by_stem.setdefault(PurePosixPath(file.inner).stem, []).append(file)
    places = {str(PurePosixPath(picture.name).with_suffix("")) for picture in pictures}
    found = {}
    for picture in pictures:
        place = str(PurePosixPath(picture.name).with_suffix(""))
        beside = by_stem.get(PurePosixPath(picture.name).stem, [])
        own = [str(PurePosixPath(file.inner).with_suffix("")) for file in beside]
        # A file that lies beside a picture of its name is of that one alone.
        beside = [file for file, where in zip(beside, own, strict=True) if where == place or where not in places]
        if beside:
            own = folders_of(picture.name)
            found[picture.name] = max(beside, key=lambda file: (_alike(own, folders_of(file.name)), file.name))
    return found


def few_beside_classes(told: Pictures, num_paired: int) -> bool:
    """Whether the folders of the pictures are classes, and less than half of the pictures have a file of boxes."""
    groups = folder_groups([entry.name for entry in told.pictures], use_splits=told.options.splits != "none")
    return any(depth for group in groups for depth in group.depths) and 2 * num_paired < len(told.pictures)


def _alike(one: Sequence[str], other: Sequence[str]) -> float:
    """How much two paths have in common: folders from the front and from the back, more of them against fewer."""
    front = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    back = next(
        (n for n, (a, b) in enumerate(zip(reversed(one), reversed(other), strict=False)) if a != b),
        min(len(one), len(other)),
    )
    return front + back - 0.1 * abs(len(one) - len(other))
