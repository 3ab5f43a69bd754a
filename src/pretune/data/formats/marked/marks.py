"""Files that say where in pictures objects stand and that no reader of boxes took (outlines of LabelMe, captions, files of boxes beside class
folders): said to be what they are, they are neither rows nor classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.media.base import pictures_in
from pretune.data.places.place import LeftOut
from pretune.errors import DataError

__all__ = ["marks_in"]

_FIX = "no task learns these yet; for labels of whole pictures put them into class folders, or write a table of files and labels"
_HEAD_BYTES, _MOST_READ = 2**16, 50
_NAME = re.compile(rb"<name>\s*([^<]{1,60}?)\s*</name>")
_YOLO_LINE = re.compile(r"\d+(\s+[-+]?\d*\.?\d+(e-?\d+)?){4,}")
_LOOKED_AT = 3


def marks_in(entries: Sequence[Entry]) -> list[LeftOut]:
    """The files of boxes and masks among those of a place, by kind; none where there are no pictures."""
    pictures = pictures_in(entries)
    if not pictures:
        return []
    names = {entry.name for entry in pictures}
    single = [e.name for e in entries if e.suffix and e.name not in names and e.name.removesuffix(e.suffix) in names]
    found = [*_boxes(entries, pictures), LeftOut("notes on single pictures, one file each", single)]
    return [one for one in found if one.names]


def _boxes(entries: Sequence[Entry], pictures: Sequence[Entry]) -> Iterator[LeftOut]:
    xml = [entry for entry in entries if entry.suffix == ".xml"]
    if _all_look(xml, lambda head: b"<annotation" in head and b"<object" in head):
        lists = [entry.name for entry in entries if "ImageSets" in PurePosixPath(entry.name).parts]
        names = sorted(
            {name.decode("utf-8", "replace") for entry in xml[:_MOST_READ] for name in _NAME.findall(_head(entry))}
        )
        of = f" of {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else ""
        yield LeftOut(
            f"boxes{of} around objects, as Pascal VOC writes them", [e.name for e in xml] + lists, "boxes", _FIX
        )
    json = [entry for entry in entries if entry.suffix == ".json"]
    coco = [entry.name for entry in json[: 10 * _MOST_READ] if _is_coco(_head(entry))]
    yield LeftOut("boxes, outlines or captions of objects, as COCO writes them", coco, "boxes", _FIX)
    drawn = _all_look(json, lambda head: b'"shapes"' in head and b'"imagePath"' in head)
    yield LeftOut("outlines of objects, as LabelMe writes them", [e.name for e in json] if drawn else [], "boxes", _FIX)
    stems = {PurePosixPath(entry.name).stem for entry in pictures}
    twins = [e for e in entries if e.suffix == ".txt" and PurePosixPath(e.inner).stem in stems]
    if _all_look(twins, _is_yolo):
        yield LeftOut("boxes around objects, as YOLO writes them", [entry.name for entry in twins], "boxes", _FIX)


def _head(entry: Entry) -> bytes:
    try:
        with entry.open() as stream:
            return stream.read(_HEAD_BYTES)
    except (DataError, OSError):
        return b""


def _all_look(entries: Sequence[Entry], looks: Callable[[bytes], bool]) -> bool:
    """Whether the first few files look so, all of them."""
    return bool(entries) and all(looks(_head(entry)) for entry in entries[:_LOOKED_AT])


def _is_coco(head: bytes) -> bool:
    return (
        head.lstrip()[:1] == b"{"
        and b'"images"' in head
        and any(word in head for word in (b'"annotations"', b'"categories"', b'"licenses"', b'"info"'))
    )


def _is_yolo(head: bytes) -> bool:
    """Lines of a class and four numbers or more; a picture without objects has an empty file."""
    lines = [line.strip() for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    return all(_YOLO_LINE.fullmatch(line) for line in lines[:20])
