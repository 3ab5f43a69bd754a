"""Boxes as Pascal VOC writes them: an XML file a picture, and lists of the pictures of each split under ``ImageSets``.

Everingham et al. 2010 (IJCV 88:303), development kit of 2012, section 7. Tags are read by name, in any order; what is not there is not
assumed. Pixels are counted from 1 where the files do so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree

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
from pretune.data.places.place import LeftOut
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["voc_boxes", "voc_cell"]

_LISTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "trainval": "train",
}
_MOST_LOOKED = 50
_MOST_MEASURED = 5_000
_LEAST = re.compile(rb"<[xy]min>\s*(-?[0-9.]+)")
_NO_ENTITIES = re.compile(r"<!(DOCTYPE|ENTITY)", re.I)


def voc_boxes(told: Pictures) -> Boxed | None:
    """The pictures of a place with their XML files; None where there are none such. Raises :class:`DataError`."""
    xml = [entry for entry in told.entries if entry.suffix == ".xml"]
    heads = [head_of(entry) for entry in xml[:_MOST_LOOKED]]
    looks = sum(b"<annotation" in head for head in heads)
    if not xml or 2 * looks < len(heads) or not any(b"<object" in head for head in heads):
        return None
    file_of = pairs_of(told.pictures, xml)
    if not file_of:
        raise DataError(
            f"{told.place} holds boxes as Pascal VOC writes them, such as {xml[0].name}, and no picture has the name of one",
            "put the pictures beside them (JPEGImages/1.jpg for Annotations/1.xml)",
        )
    if few_beside_classes(told, len(file_of)):
        return None
    from_one = _counts_from_one([entry for entry in xml if entry in file_of.values()])
    none = BoxCell() if told.options.unlabelled_is == "empty" else None

    def table(pictures: Sequence[Entry]) -> Table:
        files = [file_of.get(entry.name) for entry in pictures]
        return box_table(
            "as Pascal VOC writes them", pictures, [entry.name for entry in pictures],
            lambda number: none if files[number] is None else voc_cell(files[number], from_one=from_one),  # type: ignore[arg-type]
        )  # fmt: skip

    split_of, lists, left_out, notes = _lists(told)
    if from_one:
        notes.append("Boxes count pixels from 1, as Pascal VOC does: 1 was taken from their left and top edges.")
    sources = sources_by_split(told, split_of, table)
    alone = [entry.name for entry in xml if entry not in file_of.values()]
    left_out += (
        [LeftOut("boxes of pictures that are not there", alone, "boxes-without-picture", "add the pictures")]
        if alone
        else []
    )
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
    used = {entry.name for entry in (*xml, *lists, *told.pictures)}
    return Boxed(sources, used, left_out, notes)


def _counts_from_one(xml: Sequence[Entry]) -> bool:
    """Whether the least left or top edge is 1, and none is 0."""
    least = math.inf
    for entry in xml[:_MOST_MEASURED]:
        least = min(
            [
                least,
                *(
                    float(found)
                    for found in _LEAST.findall(head_of(entry))
                    if found.count(b".") < 2 and found.strip(b"-.")
                ),
            ]
        )
        if least < 1:
            return False
    return least == 1


def voc_cell(entry: Entry, *, from_one: bool) -> BoxCell:
    """The boxes of one file."""
    try:
        text = whole_text(entry)
        if _NO_ENTITIES.search(text):
            raise ValueError("it declares entities, which are not read")
        root = ElementTree.fromstring(text.encode())
        boxes = tuple(_object(one, from_one=from_one) for one in root.findall("object"))
    except (ElementTree.ParseError, ValueError, DataError, OSError) as error:
        return BoxCell(broken=getattr(error, "problem", None) or str(error))
    return BoxCell(boxes, _size(root))


def _object(one: ElementTree.Element, *, from_one: bool) -> Box:
    label, box = (one.findtext("name") or "").strip(), one.find("bndbox")
    if not label:
        raise ValueError("an object has no name")
    if box is None:
        raise ValueError(f"the object {label} has no bndbox")
    places = []
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        said = box.findtext(tag)
        try:
            place = float(said or "")
        except ValueError:
            place = math.nan
        if not math.isfinite(place):
            raise ValueError(f"{tag} of the object {label} is {said!r}, which is no number")
        places.append(place - 1 if from_one and tag in ("xmin", "ymin") else place)
    hard = (one.findtext("difficult") or "0").strip() in ("1", "true", "True")
    return Box(label, *places, aside="difficult" if hard else "")


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height that the file states; None where it states none, or 0 as some tools do."""
    try:
        width, height = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _lists(told: Pictures) -> tuple[dict[str, str | None] | None, list[Entry], list[LeftOut], list[str]]:
    """The split of each picture by the lists of ``ImageSets`` (None where there are none), the lists, and what they say of pictures that
    are not there, or that are in no list, or in several.
    """
    lists = [
        entry for entry in told.entries if entry.suffix == ".txt" and "ImageSets" in PurePosixPath(entry.name).parts
    ]
    kinds = {entry: _LISTS.get(PurePosixPath(entry.inner).stem.casefold()) for entry in lists}
    main = [entry for entry in lists if PurePosixPath(entry.name).parent.name == "Main"]
    whole = [entry for entry in (main or lists) if kinds[entry]]
    if any(PurePosixPath(entry.inner).stem == "train" for entry in whole):
        whole = [entry for entry in whole if PurePosixPath(entry.inner).stem != "trainval"]
    if not whole or told.options.splits == "none":
        return None, lists, [], []
    by_stem: dict[str, list[str]] = {}
    for picture in told.pictures:
        by_stem.setdefault(PurePosixPath(picture.name).stem, []).append(picture.name)
    splits: dict[str, set[str]] = {}
    absent: list[str] = []
    for entry in whole:
        for line in whole_text(entry).splitlines():
            if not (words := line.split()):
                continue
            stem = (
                PurePosixPath(words[0]).stem
                if words[0].lower().endswith((".jpg", ".jpeg", ".png"))
                else PurePosixPath(words[0]).name
            )
            for name in by_stem.get(stem, ()):
                splits.setdefault(name, set()).add(kinds[entry] or "")
            absent += [] if stem in by_stem else [stem]
    order = ("test", "validation", "train")
    chosen: dict[str, str | None] = {
        name: next(split for split in order if split in some) for name, some in splits.items()
    }
    several = sorted(name for name, some in splits.items() if len(some) > 1)
    unlisted = [picture.name for picture in told.pictures if picture.name not in chosen]
    left_out, notes = [], []
    if unlisted:
        left_out.append(
            LeftOut("in no list of ImageSets", unlisted, "no-split", "--splits none reads all pictures and splits anew")
        )
    if absent:
        left_out.append(
            LeftOut(
                "listed in ImageSets, and no picture of the name is there",
                absent,
                "boxes-without-picture",
                "add the pictures",
            )
        )
    if several:
        notes.append(
            f"{counted(len(several), 'picture')} {agree(len(several), 'stand', 'stands')} in the lists of several splits, such as {several[0]}: taken for the test or validation one."
        )
    return chosen, lists, left_out, notes
