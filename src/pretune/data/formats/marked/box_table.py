"""Boxes in a table: one box a row, with the picture's name, the class, and four columns of edges in pixels."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from pretune.answers.boxes import Box
from pretune.data.archives.streams import Entry
from pretune.data.cells.boxes import BoxCell
from pretune.data.columns.names import plain_name
from pretune.data.formats.base import Table
from pretune.data.formats.marked.boxed import Boxed, Pictures, box_table, head_of, whole_text
from pretune.data.places.place import LeftOut, Source, split_of_path, split_of_word
from pretune.errors import DataError

__all__ = ["table_boxes"]

_MOST_BYTES = 2**28
_FILES = ("filename", "file_name", "image", "image_path", "path", "image_id", "img", "file", "image_name", "imageid")
_CLASSES = ("class", "label", "class_name", "category", "name", "labelname", "target")
_EDGES = (
    ("xmin", "x_min", "x1", "left"),
    ("ymin", "y_min", "y1", "top"),
    ("xmax", "x_max", "x2", "right"),
    ("ymax", "y_max", "y2", "bottom"),
)
_SIZES = (("width", "image_width", "img_width"), ("height", "image_height", "img_height"))
_SPLITS = ("split", "set", "usage", "subset")


def table_boxes(told: Pictures) -> Boxed | None:
    """The pictures that tables of boxes name; None where no table is one of boxes. Raises :class:`DataError`."""
    tables = {
        entry: roles for entry in told.entries if entry.suffix in (".csv", ".tsv") and (roles := _roles(head_of(entry)))
    }
    if not tables:
        return None
    sources: list[Source] = []
    listed: set[str] = set()
    for entry, roles in tables.items():
        for split, cells in _rows(entry, roles).items():
            own = split or (None if told.options.splits == "none" else split_of_path(entry.name))
            names = list(cells)
            listed |= {name.replace("\\", "/").rpartition("/")[2] for name in names}
            sources.append(
                Source(
                    f"{entry.name} ({split})" if split else entry.name,
                    (entry,),
                    own,
                    find=told.find_from(entry),
                    table=lambda names=names, cells=cells: _table(names, cells),
                )
            )
    strays = [
        e.name
        for e in told.pictures
        if e.name.rpartition("/")[2] not in listed and e.name.rpartition("/")[2].rpartition(".")[0] not in listed
    ]
    left_out = (
        [
            LeftOut(
                "named in no table of boxes: not labelled, and not read",
                strays,
                "no-split",
                "name them with empty cells for pictures without objects",
            )
        ]
        if strays
        else []
    )
    return Boxed(sources, {entry.name for entry in (*tables, *told.pictures)}, left_out)


def _table(names: Sequence[str], cells: Mapping[str, BoxCell]) -> Table:
    return box_table("in a table, one box a row", list(names), list(names), lambda number: cells[names[number]])


def _roles(head: bytes) -> dict[str, str] | None:
    """The columns of a table of boxes by what they hold; None for another table."""
    first = head.decode("utf-8-sig", "replace").splitlines()[:1]
    if not first:
        return None
    columns = next(csv.reader(first, delimiter=_mark(first[0])), [])
    by_plain = {plain_name(column).replace(" ", "_"): column for column in columns}
    wanted = {"file": _FILES, "class": _CLASSES, **{f"edge{n}": words for n, words in enumerate(_EDGES)}}
    found = {role: next((by_plain[word] for word in words if word in by_plain), None) for role, words in wanted.items()}
    if None in found.values():
        return None
    sizes = {
        f"size{n}": next((by_plain[word] for word in words if word in by_plain), None) for n, words in enumerate(_SIZES)
    }
    split = next((by_plain[word] for word in _SPLITS if word in by_plain), None)
    return {role: column for role, column in {**found, **sizes, "split": split}.items() if column is not None}


def _mark(line: str) -> str:
    return max((",", "\t", ";"), key=line.count)


def _rows(entry: Entry, roles: Mapping[str, str]) -> dict[str | None, dict[str, BoxCell]]:
    """Of each split that the rows name the boxes by picture, in order of first appearance. A row with empty edges is a picture without objects."""
    text = whole_text(entry, _MOST_BYTES)
    found: dict[str | None, dict[str, tuple[list[Box], tuple[int, int] | None]]] = {}
    for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter=_mark(text.splitlines()[0])), 2):
        where = f"{entry.name}:{number}"
        name = (row.get(roles["file"]) or "").strip()
        if not name:
            raise DataError(f"{where} names no picture", f"fill in the column {roles['file']}")
        word = (row.get(roles["split"]) or "").strip() if "split" in roles else ""
        split = split_of_word(word) if word else None
        if word and split is None:
            raise DataError(f"{where} has the split {word!r}", "write train, validation or test there")
        boxes, _ = found.setdefault(split, {}).setdefault(name, ([], _size(row, roles)))
        edges = [(row.get(roles[f"edge{place}"]) or "").strip() for place in range(4)]
        if any(edges):
            boxes.append(_box(row, roles, edges, where))
    return {
        split: {name: BoxCell(tuple(boxes), size) for name, (boxes, size) in own.items()}
        for split, own in found.items()
    }


def _box(row: Mapping[str, str], roles: Mapping[str, str], edges: Sequence[str], where: str) -> Box:
    label = (row.get(roles["class"]) or "").strip()
    if not label:
        raise DataError(f"{where} has a box without a class", f"fill in the column {roles['class']}")
    try:
        places = [float(edge) for edge in edges]
    except ValueError:
        places = [math.nan]
    if not all(map(math.isfinite, places)):
        raise DataError(
            f"{where} has the edges {', '.join(edges)[:60]!r}",
            "four numbers are expected: left, top, right, bottom, in pixels",
        )
    left, top, right, bottom = places
    return Box(label, left, top, right, bottom)


def _size(row: Mapping[str, str], roles: Mapping[str, str]) -> tuple[int, int] | None:
    if not {"size0", "size1"} <= roles.keys():
        return None
    try:
        width, height = (int(float(row.get(roles[f"size{place}"]) or 0)) for place in range(2))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
