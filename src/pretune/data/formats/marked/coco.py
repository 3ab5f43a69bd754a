"""Boxes as COCO writes them: one JSON file a split with the pictures, their boxes and the classes (Lin et al. 2014, arXiv 1405.0312).

Classes are joined by name: their ids have gaps and begin anywhere. A picture that is listed and has no box is a picture without objects.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pretune.answers.boxes import Box
from pretune.data.archives.streams import Entry
from pretune.data.cells.boxes import BoxCell
from pretune.data.formats.base import Table
from pretune.data.formats.marked.boxed import Boxed, Pictures, box_table, head_of
from pretune.data.places.place import LeftOut, Source, split_of_path
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["coco_boxes", "coco_cells", "coco_json", "coco_key", "coco_pictures", "is_coco", "is_number"]

_MOST_BYTES = 2**30
_KEYS = (b'"annotations"', b'"categories"', b'"licenses"', b'"info"')
_FIX = "see cocodataset.org, data format: images, annotations with image_id, category_id and bbox [left, top, width, height], categories"


def coco_boxes(told: Pictures) -> Boxed | None:
    """The pictures that the JSON files of a place list; None where there is no such file. Raises :class:`DataError`."""
    files = [entry for entry in told.entries if entry.suffix == ".json" and is_coco(head_of(entry))]
    read = {entry: whole for entry in files if _has_boxes(whole := coco_json(entry))}
    if not read:
        return None
    chosen = _one_a_split(list(read), told)
    notes: list[str] = []
    sources = []
    for entry in chosen:
        names, cells, own = coco_cells(read[entry], entry.name)
        notes += own
        split = None if told.options.splits == "none" else split_of_path(entry.name)
        sources.append(
            Source(
                entry.name,
                (entry,),
                split,
                find=told.find_from(entry),
                table=lambda names=names, cells=cells: _table(names, cells),
            )
        )
    others = [entry.name for entry in files if entry not in chosen]
    left_out = (
        [LeftOut("captions, outlines or a second file of the same pictures, as COCO writes them", others)]
        if others
        else []
    )
    used = {entry.name for entry in (*files, *told.pictures)}
    listed = {PurePosixPath(name).name for entry in chosen for name in coco_names(read[entry])}
    if strays := [entry.name for entry in told.pictures if PurePosixPath(entry.name).name not in listed]:
        left_out.append(
            LeftOut(
                "listed in no file of boxes",
                strays,
                "no-split",
                "list them under images",
            )
        )
    return Boxed(sources, used, left_out, notes)


def _table(names: Sequence[str], cells: Sequence[BoxCell]) -> Table:
    return box_table("as COCO writes them", list(names), list(names), lambda number: cells[number])


def is_coco(head: bytes) -> bool:
    """Whether a file that begins so may be one of COCO."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and (
        b'"images"' in head or any(word in head for word in _KEYS[:2])
    )


def coco_json(entry: Entry) -> Any:
    """The whole of a file. Raises :class:`DataError` for one that is too large, or no JSON."""
    if entry.size > _MOST_BYTES:
        raise DataError(
            f"{entry.name} has {entry.size} bytes",
            f"at most {_MOST_BYTES // 2**20} MiB of JSON are read: give a part of it",
        )
    with entry.open() as stream:
        data = stream.read()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{entry.name} is not valid JSON: {error}", "it may be cut off: copy it again") from None


def _has_boxes(whole: Any) -> bool:
    """Whether it has the lists of COCO's boxes; captions have no classes, and outlines may have no boxes."""
    if not isinstance(whole, dict) or not all(isinstance(whole.get(key), list) for key in ("images", "annotations")):
        return False
    some = [one for one in whole["annotations"][:50] if isinstance(one, dict)]
    return not some or any("bbox" in one or "category_id" in one for one in some)


def _one_a_split(files: Sequence[Entry], told: Pictures) -> list[Entry]:
    """Of several files for one split (``instances_``, ``person_keypoints_``) the one of instances; files that name no split are all read."""
    by_split: dict[str | None, list[Entry]] = {}
    for entry in files:
        by_split.setdefault(split_of_path(entry.name), []).append(entry)
    found = []
    for split, some in by_split.items():
        instances = [entry for entry in some if "instances" in PurePosixPath(entry.name).name]
        if len(some) > 1 and split is not None and len(instances) != 1:
            raise DataError(
                f"{told.place} holds several files of boxes for {split}: {', '.join(entry.name for entry in some[:4])}",
                "leave one of them in the folder, or give its folder alone",
            )
        found += instances if len(some) > 1 and split is not None else some
    return found


def coco_names(whole: Mapping[str, Any]) -> list[str]:
    """The names of the pictures that are listed."""
    return [str(one.get("file_name")) for one in whole["images"] if isinstance(one, dict)]


def coco_cells(whole: Mapping[str, Any], name: str) -> tuple[list[str], list[BoxCell], list[str]]:
    """Names of the pictures, what is said of each, and sentences. Raises :class:`DataError` for what the format does not allow."""
    classes = _classes(whole, name)
    places = coco_pictures(whole, name)
    boxes: list[list[Box]] = [[] for _ in places]
    strays: list[Any] = []
    for number, one in enumerate(whole["annotations"]):
        if not isinstance(one, dict):
            raise DataError(f"{name}: annotation {number} is no object: {str(one)[:60]}", _FIX)
        said = f"annotation {one.get('id', number)}"
        place = places.get(coco_key(one.get("image_id")))
        if place is None:
            strays.append(one.get("image_id"))
            continue
        label = classes.get(coco_key(one.get("category_id")))
        if label is None:
            raise DataError(
                f"{name}: {said} is of category {one.get('category_id')!r}, which the file does not name",
                f"add it to categories; there are {', '.join(list(classes.values())[:10])}",
            )
        boxes[place[0]].append(_box(one, label, f"{name}: {said}"))
    notes = []
    if strays:
        notes.append(
            f"{name}: {counted(len(strays), 'box', 'boxes')} {agree(len(strays), 'are', 'is')} of pictures that the file does not list (image_id {strays[0]!r}), and left out."
        )
    empty = sum(not own for own in boxes)
    if empty:
        notes.append(
            f"{name}: {counted(empty, 'picture')} {agree(empty, 'have', 'has')} no box: read as pictures without objects."
        )
    absent = sorted(set(classes.values()) - {box.label for own in boxes for box in own})
    if absent:
        notes.append(
            f"{name}: {counted(len(absent), 'class', 'classes')} of the file {agree(len(absent), 'have', 'has')} no box: {', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}."
        )
    every = list(places.values())
    cells = [BoxCell(tuple(own), size) for own, (_, _, size) in zip(boxes, every, strict=True)]
    return [file for _, file, _ in every], cells, notes


def coco_key(value: Any) -> Any:
    """Ids as they are compared: 7 and 7.0 and "7" are one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _classes(whole: Mapping[str, Any], name: str) -> dict[Any, str]:
    told = whole.get("categories")
    if not isinstance(told, list) or not told:
        raise DataError(f"{name} has no categories", _FIX)
    found: dict[Any, str] = {}
    for one in told:
        key, label = (
            (coco_key(one.get("id")), str(one.get("name") or "").strip()) if isinstance(one, dict) else (None, "")
        )
        if key is None or not label:
            raise DataError(f"{name} has a category without id or name: {str(one)[:60]}", _FIX)
        if found.get(key, label) != label:
            raise DataError(
                f"{name} gives the category id {key} to {found[key]} and to {label}",
                "give each category an id of its own",
            )
        found[key] = label
    return found


def coco_pictures(whole: Mapping[str, Any], name: str) -> dict[Any, tuple[int, str, tuple[int, int] | None]]:
    """Number, file and stated size of each picture by its id."""
    found: dict[Any, tuple[int, str, tuple[int, int] | None]] = {}
    for one in whole["images"]:
        key = coco_key(one.get("id")) if isinstance(one, dict) else None
        file = one.get("file_name") if isinstance(one, dict) else None
        if key is None or not isinstance(file, str) or not file.strip():
            raise DataError(f"{name} lists a picture without id or file_name: {str(one)[:80]}", _FIX)
        if key in found:
            raise DataError(
                f"{name} gives the id {key} to two pictures, {found[key][1]} and {file}",
                "give each picture an id of its own",
            )
        found[key] = (len(found), file, _size(one))
    twice = [file for file, count in Counter(place[1] for place in found.values()).items() if count > 1]
    if twice:
        raise DataError(f"{name} lists {twice[0]} twice, under two ids", "list each picture once")
    return found


def _size(one: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = one.get("width"), one.get("height")
    if isinstance(width, (int, float)) and isinstance(height, (int, float)) and width > 0 and height > 0:
        return int(width), int(height)
    return None


def _box(one: Mapping[str, Any], label: str, where: str) -> Box:
    places = one.get("bbox")
    if not isinstance(places, list) or len(places) != 4 or not all(is_number(place) for place in places):
        raise DataError(
            f"{where} has the bbox {str(places)[:60]}",
            "four numbers are expected: left, top, width and height in pixels",
        )
    left, top, width, height = map(float, places)
    if width < 0 or height < 0:
        raise DataError(
            f"{where} has the bbox {places}: its width or height is below 0",
            "bbox is [left, top, width, height], not two corners",
        )
    return Box(label, left, top, left + width, top + height, aside="crowd" if one.get("iscrowd") else "")


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
