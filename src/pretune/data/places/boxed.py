"""The place of pictures with boxes, in whichever format they are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Options
from pretune.data.formats.marked.box_table import table_boxes
from pretune.data.formats.marked.boxed import Pictures
from pretune.data.formats.marked.coco import coco_boxes
from pretune.data.formats.marked.voc import voc_boxes
from pretune.data.formats.marked.yolo import yolo_boxes
from pretune.data.media.base import Find, pictures_in
from pretune.data.places.place import LeftOut, Place, stamp_of

__all__ = ["boxed_place"]

_READERS = (voc_boxes, coco_boxes, yolo_boxes, table_boxes)


def boxed_place(
    entries: Sequence[Entry], place: str, find_from: Callable[[Entry], Find], options: Options
) -> Place | None:
    """The place whose pictures have boxes; None where none is found. Raises :class:`pretune.errors.DataError`."""
    pictures = pictures_in(entries)
    if not pictures:
        return None
    told = Pictures(place, entries, pictures, find_from, options)
    found = next((boxed for reader in _READERS if (boxed := reader(told)) is not None), None)
    if found is None or not found.sources:
        return None
    rest = [entry.name for entry in entries if entry.name not in found.used]
    left_out = [*found.left_out, *([LeftOut("beside pictures with boxes", rest)] if rest else [])]
    return Place(found.sources, [stamp_of(entry) for entry in entries], [], found.notes, left_out)
