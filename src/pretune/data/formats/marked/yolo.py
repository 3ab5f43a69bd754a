"""Boxes as YOLO writes them: a text file a picture, each line a class and the middle, width and height in shares of the picture's sides.

Classes are numbers, named by ``data.yaml`` (``names``), or by the lines of ``classes.txt`` or ``obj.names``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pretune.answers.boxes import Box
from pretune.data.archives.streams import Entry
from pretune.data.cells.boxes import BoxCell
from pretune.data.formats.base import Table
from pretune.data.formats.marked.boxed import (
    Boxed,
    Pictures,
    box_table,
    few_beside_classes,
    head_of,
    pairs_of,
    sources_by_split,
    whole_text,
)
from pretune.data.places.folder_names import folder_groups
from pretune.data.places.place import LeftOut, split_of_word
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["yolo_boxes", "yolo_cell"]

_LINE = re.compile(r"\d+(\s+[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?){4,}", re.I)
_LOOKED_AT, _LEAST_SHARE, _USUAL_SHARE = 50, 0.8, 0.5
_NAME_FILES = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")
_BEYOND = 1.5
"""Shares beyond this are no shares: pixels, most likely."""
_ROUNDING = 1e-6


def yolo_boxes(told: Pictures) -> Boxed | None:
    """The pictures of a place with their text files; None where there are none such. Raises :class:`DataError`."""
    texts = [
        entry for entry in told.entries if entry.suffix == ".txt" and PurePosixPath(entry.name).name not in _NAME_FILES
    ]
    file_of = pairs_of(told.pictures, texts)
    yaml = [entry for entry in told.entries if entry.suffix in (".yaml", ".yml") and b"names" in head_of(entry)]
    heads = [head_of(entry) for entry in list(file_of.values())[:_LOOKED_AT]]
    filled = [head for head in heads if head.strip()]
    looks = sum(map(_is_yolo, filled))
    is_usual = yaml or any("labels" in PurePosixPath(entry.name).parts for entry in file_of.values())
    if (
        not file_of
        or not filled
        or looks < (_USUAL_SHARE if is_usual else _LEAST_SHARE) * len(filled)
        or few_beside_classes(told, len(file_of))
    ):
        return None
    settings = _settings(yaml)
    names, named_by = _names(told, settings)
    none = BoxCell() if told.options.unlabelled_is == "empty" else None

    def table(pictures: Sequence[Entry]) -> Table:
        files = [file_of.get(entry.name) for entry in pictures]
        return box_table(
            "as YOLO writes them", pictures, [entry.name for entry in pictures],
            lambda number: none if (file := files[number]) is None else yolo_cell(file, names),
        )  # fmt: skip

    notes = [named_by]
    bare = [entry.name for entry in told.pictures if entry.name not in file_of]
    if bare:
        how = (
            "taken as pictures without objects"
            if none
            else "taken as unlabelled (--unlabelled-is empty: as pictures without objects)"
        )
        notes.append(
            f"{counted(len(bare), 'picture')} {agree(len(bare), 'have', 'has')} no file of boxes, such as {bare[0]}: {how}."
        )
    sources = sources_by_split(told, _splits(told, settings), table)
    alone = [
        entry.name
        for entry in texts
        if entry not in file_of.values() and _is_yolo(head_of(entry)) and head_of(entry).strip()
    ]
    left_out = (
        [LeftOut("boxes of pictures that are not there", alone, "boxes-without-picture", "add the pictures")]
        if alone
        else []
    )
    used = {entry.name for entry in (*file_of.values(), *yaml, *told.pictures)} | set(alone)
    used |= {entry.name for entry in told.entries if PurePosixPath(entry.name).name in _NAME_FILES}
    return Boxed(sources, used, left_out, notes)


def _is_yolo(head: bytes) -> bool:
    """Lines of a class and four numbers or more; a picture without objects has an empty file."""
    lines = [line.strip() for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    return all(_LINE.fullmatch(line) for line in lines[:20])


def yolo_cell(entry: Entry, names: Sequence[str] | None) -> BoxCell:
    """The boxes of one file; of an outline (more than four numbers) the box around it. ``names`` None: classes are called by their numbers."""
    try:
        lines = [line.split() for line in whole_text(entry).splitlines() if line.strip()]
        return BoxCell(tuple(_box(words, names, number) for number, words in enumerate(lines, 1)), relative=True)
    except (ValueError, DataError, OSError) as error:
        return BoxCell(broken=getattr(error, "problem", None) or str(error))


def _box(words: Sequence[str], names: Sequence[str] | None, line: int) -> Box:
    if not words[0].isdigit():
        raise ValueError(f"line {line} begins with {words[0][:20]!r}, not with the number of a class")
    label = int(words[0])
    if names is not None and label >= len(names):
        raise ValueError(f"line {line} is of class {label}, and {len(names)} are named")
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        raise ValueError(f"line {line} holds what is no number: {' '.join(words)[:60]!r}") from None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"line {line} holds a number that is not finite")
    if any(abs(number) > _BEYOND for number in numbers):
        raise ValueError(
            f"line {line} holds {max(numbers, key=abs):g}, and places are shares of the picture's sides, from 0 to 1"
        )
    if len(numbers) == 4:
        x, y, width, height = numbers
        if width < 0 or height < 0:
            raise ValueError(f"line {line} has a width or height below 0")
        edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        edges = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    else:
        raise ValueError(
            f"line {line} has {len(numbers)} numbers behind its class; a box has 4, an outline 6 or more, in pairs"
        )
    left, top, right, bottom = (
        0.0 if abs(edge) < _ROUNDING else 1.0 if abs(edge - 1) < _ROUNDING else edge for edge in edges
    )
    return Box(names[label] if names is not None else str(label), left, top, right, bottom)


def _settings(yaml: Sequence[Entry]) -> Mapping[str, Any]:
    """What data.yaml says. Raises :class:`DataError` for one that is no YAML."""
    import yaml as library

    if not yaml:
        return {}
    try:
        told = library.safe_load(whole_text(yaml[0], 2**20))
    except (library.YAMLError, RecursionError) as error:
        raise DataError(
            f"{yaml[0].name} is no YAML: {str(error).splitlines()[0]}", "mend the file, or take it out of the folder"
        ) from None
    return told if isinstance(told, dict) else {}


def _names(told: Pictures, settings: Mapping[str, Any]) -> tuple[list[str] | None, str]:
    """The names of the classes and where they are from. Raises :class:`DataError` for names that are none."""
    listed = settings.get("names")
    if isinstance(listed, dict):
        numbers = {int(key): value for key, value in listed.items() if str(key).isdigit()}
        if sorted(numbers) != list(range(len(listed))):
            raise DataError(
                f"data.yaml names the classes {sorted(numbers)[:5]} ...", "number them from 0, none left out"
            )
        listed = [numbers[number] for number in range(len(numbers))]
    if isinstance(listed, list):
        names = [str(name).strip() for name in listed]
        count = settings.get("nc")
        if isinstance(count, int) and count != len(names):
            raise DataError(f"data.yaml says nc: {count} and names {len(names)} classes", "mend one of the two")
        found_by = "data.yaml"
    else:
        file = next(
            (
                entry
                for entry in told.entries
                if PurePosixPath(entry.name).name in _NAME_FILES or entry.suffix == ".names"
            ),
            None,
        )
        if file is None:
            return (
                None,
                "The classes of the boxes have no names here (no data.yaml, no classes.txt): they are called by their numbers.",
            )
        names, found_by = [line.strip() for line in whole_text(file).splitlines() if line.strip()], file.name
    if not names or not all(names) or len(set(names)) < len(names):
        raise DataError(f"{found_by} names no classes, or one of them twice", "give each class a name of its own")
    return (
        names,
        f"The classes of the boxes were named by {found_by}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}.",
    )


def _splits(told: Pictures, settings: Mapping[str, Any]) -> dict[str, str | None] | None:
    """The split of each picture where folders say none and data.yaml does: by folders, or by text files with a path a line."""
    names = [entry.name for entry in told.pictures]
    if told.options.splits == "none" or any(group.split for group in folder_groups(names)):
        return None
    by_name = {entry.name: entry for entry in told.entries}
    found: dict[str, str | None] = {}
    for word, places in settings.items():
        split = split_of_word(str(word)) if isinstance(places, (str, list)) and word != "names" else None
        for place in (places if isinstance(places, list) else [places]) if split else ():
            ends = _plain(str(place))
            listed = next(
                (entry for name, entry in by_name.items() if name.endswith(ends) and entry.suffix == ".txt"), None
            )
            if listed is not None:
                stems = {_plain(line.strip()) for line in whole_text(listed).splitlines() if line.strip()}
                found |= {
                    name: split for name in names if any(name == stem or name.endswith(f"/{stem}") for stem in stems)
                }
            elif ends:
                found |= {
                    name: split for name in names if f"/{name}".startswith(f"/{ends}/") or f"/{ends}/" in f"/{name}"
                }
    return found or None


def _plain(path: str) -> str:
    """A path without the steps upwards that data.yaml begins with."""
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", ".", ".."))
