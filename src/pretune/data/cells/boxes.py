"""Rows with boxes: from what files say of a picture's objects to boxes in pixels of the upright picture, each change counted.

Boxes that leave the picture are cut to it, those without area are left out. Where a file states a picture's size, it tells whether its
boxes are those of the picture as it is stored or as it is shown (a camera's EXIF turns it): they are turned with it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pretune.answers import Boxes
from pretune.answers.boxes import Box
from pretune.data.media.base import Media
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["BoxCell", "BoxReader", "BoxTally"]

_SHOWN = 5
_CHANGES = {
    "cut": "{n} {went} beyond the picture, and {were} cut to it{names}.",
    "outside": "{n} {lay} wholly outside of the picture, and {were} left out{names}.",
    "empty": "{n} {had} no area, and {were} left out{names}.",
    "twice": "{n} {stood} twice in the same picture, and {were} taken once{names}.",
    "turned": "{n} {were} drawn on the picture as it is stored, and {were} turned with it, as its EXIF says{names}.",
    "maybe_turned": "{n} {were} drawn on a picture that its EXIF turns, and no size tells which way it was seen; they are taken as of the upright one{names}.",
    "reversed": "{n} {had} left and right, or top and bottom, in the wrong order, and {were} put right{names}.",
}
_ROWS = {
    "other_size": "{n} {have} boxes drawn for another size of the picture, and count as without boxes{names}.",
    "broken": "{n} {have} a file of boxes that cannot be read, and count as without boxes{names}.",
}
_WORDS = {
    "went": ("went", "went"), "lay": ("lay", "lay"), "had": ("had", "had"), "stood": ("stood", "stood"), "were": ("were", "was"),
    "have": ("have", "has"),
}  # fmt: skip


@dataclass
class BoxTally:
    """How many boxes and pictures were changed or left out, by why, with the first names of each."""

    counts: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    read: int = 0

    def add(self, what: str, name: str) -> None:
        """Count one, of the row ``name``."""
        self.counts[what] += 1
        names = self.named.setdefault(what, [])
        if len(names) < _SHOWN and name[:200] not in names:
            names.append(name[:200])

    def update(self, other: BoxTally) -> None:
        """Count those of another table too."""
        self.counts.update(other.counts)
        self.read += other.read
        for what, names in other.named.items():
            self.named[what] = (self.named.get(what, []) + names)[:_SHOWN]

    def notes(self) -> list[str]:
        """A sentence for each why."""
        found = []
        for noun, plural, sentences in (("box", "boxes", _CHANGES), ("picture", "pictures", _ROWS)):
            for what, sentence in sentences.items():
                if num := self.counts[what]:
                    words = {word: agree(num, *forms) for word, forms in _WORDS.items()}
                    names = f" ({', '.join(self.named[what])}{' ...' if num > len(self.named[what]) else ''})"
                    found.append(sentence.format(n=counted(num, noun, plural), names=names, **words))
        return found

    def check(self, place: str) -> None:
        """Raise :class:`DataError` where more pictures lost their boxes to broken files, or to another size, than have them."""
        lost = self.counts["broken"] + self.counts["other_size"]
        if lost > self.read:
            raise DataError(
                f"{place}: the boxes of {lost} of {lost + self.read} pictures cannot be used. {' '.join(self.notes())}",
                "mend the files of boxes, or give the pictures that they were drawn on",
            )


@dataclass(frozen=True, slots=True)
class BoxCell:
    """What a file says of one picture. ``boxes`` in pixels from the upper left corner, or, where ``relative``, as shares of the sides;
    ``size`` is the picture's as the file states it, ``broken`` why the file could not be read.
    """

    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    relative: bool = False
    broken: str = ""


class BoxReader:
    """Makes the boxes of rows from the cells of a column; ``tally`` counts."""

    def __init__(self, column: str, names: Sequence[str] = ()) -> None:
        self.column, self.names, self.tally = column, names, BoxTally()

    def __call__(
        self, cells: Sequence[Any], media: Sequence[Media], rows: Sequence[str]
    ) -> list[list[dict[str, Any]] | None]:
        """The JSON value of each row's boxes, None where it has none. Raises :class:`DataError` for a cell that is no boxes."""
        return [self._row(*row) for row in zip(cells, media, rows, strict=True)]

    def _row(self, cell: Any, media: Media, row: str) -> list[dict[str, Any]] | None:
        told = self._told(cell, row)
        if told is None:
            return None
        if told.broken:
            self.tally.add("broken", f"{row}: {told.broken}")
            return None
        places = self._placed(told, media, row)
        if places is None:
            self.tally.add(
                "other_size",
                f"{row} of {media.width} x {media.height}, drawn for {told.size[0]} x {told.size[1]}"
                if told.size
                else row,
            )
            return None
        self.tally.read += 1
        kept: dict[Box, None] = {}
        for box in places:
            if (clean := self._clean(box, media, row)) is not None:
                if clean in kept:
                    self.tally.add("twice", row)
                kept[clean] = None
        return [box.to_json() for box in kept]

    def _told(self, cell: Any, row: str) -> BoxCell | None:
        if cell is None or isinstance(cell, BoxCell):
            return cell
        where = f"{row} (column {self.column})"
        if isinstance(cell, str):
            if not cell.strip():
                return None
            try:
                cell = json.loads(cell)
            except (ValueError, RecursionError):
                raise DataError(
                    f"{where} has {cell[:60]!r} where boxes are needed",
                    "write them as JSON, or name another column: --column boxes=NAME",
                ) from None
        if isinstance(cell, Mapping):
            cell = _listed(cell, self.names, where)
        found = Boxes.read(cell, where)
        return None if found is None else BoxCell(found.boxes)

    def _placed(self, told: BoxCell, media: Media, row: str) -> Sequence[Box] | None:
        """The boxes in pixels of the upright picture; None where they were drawn on a picture of another size."""
        width, height = media.width, media.height
        if told.relative:
            return [_scaled(box, width, height) for box in told.boxes]
        turned = media.orientation > 1
        if told.size is None or told.size == (width, height):
            if turned and told.boxes and (told.size is None or media.orientation < 5 or width == height):
                self.tally.counts["maybe_turned"] += len(told.boxes) - 1
                self.tally.add("maybe_turned", row)
            return told.boxes
        if turned and media.orientation >= 5 and told.size == (height, width):
            for _ in told.boxes:
                self.tally.add("turned", row)
            return [_turned(box, media.orientation, *told.size) for box in told.boxes]
        return None

    def _clean(self, box: Box, media: Media, row: str) -> Box | None:
        """The box inside of the picture; None where nothing is left of it."""
        x1, x2, y1, y2 = box.x1, box.x2, box.y1, box.y2
        if x1 > x2 or y1 > y2:
            self.tally.add("reversed", row)
            x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        if x1 >= x2 or y1 >= y2:
            self.tally.add("empty", row)
            return None
        if x1 >= media.width or y1 >= media.height or x2 <= 0 or y2 <= 0:
            self.tally.add("outside", row)
            return None
        inside = (max(0.0, x1), max(0.0, y1), min(float(media.width), x2), min(float(media.height), y2))
        if any(abs(a - b) > _ROUNDING_PX for a, b in zip(inside, (x1, y1, x2, y2), strict=True)):
            self.tally.add("cut", row)
        return Box(box.label, *inside, aside=box.aside)


_ROUNDING_PX = 1e-3
"""Shares with six digits miss the edge by less."""
_NEAR_PX = 0.01


def _scaled(box: Box, width: int, height: int) -> Box:
    """A box of shares in pixels. Shares are written with few digits: what lies within them of a whole pixel is that pixel."""
    places = [
        share * side
        for share, side in zip((box.x1, box.y1, box.x2, box.y2), (width, height, width, height), strict=True)
    ]
    near = [float(round(place)) if abs(place - round(place)) < _NEAR_PX else place for place in places]
    return Box(box.label, *near, aside=box.aside)


def _turned(box: Box, orientation: int, width: int, height: int) -> Box:
    """A box of the picture as it is stored (``width`` x ``height``) on the one that EXIF's orientation shows (CIPA DC-008, section 4.6.4)."""
    moves = {
        2: lambda x, y: (width - x, y),
        3: lambda x, y: (width - x, height - y),
        4: lambda x, y: (x, height - y),
        5: lambda x, y: (y, x),
        6: lambda x, y: (height - y, x),
        7: lambda x, y: (height - y, width - x),
        8: lambda x, y: (y, width - x),
    }
    ends = [moves[orientation](x, y) for x, y in ((box.x1, box.y1), (box.x2, box.y2))]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*ends, strict=True))
    return Box(box.label, left, top, right, bottom, aside=box.aside)


def _listed(cell: Mapping[str, Any], names: Sequence[str], where: str) -> list[Any]:
    """Columns of lists, as the hub's data sets hold objects (``bbox`` as left, top, width, height, and ``category`` or ``categories``), as a list of boxes."""
    places = cell.get("bbox", cell.get("boxes"))
    classes = next(
        (cell[key] for key in ("category", "categories", "label", "labels", "category_id") if key in cell), None
    )
    if not isinstance(places, (list, tuple)) or not isinstance(classes, (list, tuple)) or len(places) != len(classes):
        raise DataError(
            f"{where} has {str(dict(cell))[:80]} where boxes are needed",
            'give lists of one length: {"bbox": [[left, top, width, height], ...], "categories": [...]}',
        )
    found = []
    for place, kind in zip(places, classes, strict=True):
        if (
            not isinstance(place, (list, tuple))
            or len(place) != 4
            or not all(isinstance(one, (int, float)) and math.isfinite(one) for one in place)
        ):
            raise DataError(
                f"{where} has a box that is not four numbers: {str(place)[:60]}",
                "give left, top, width and height in pixels",
            )
        left, top, width, height = place
        named = names[kind] if isinstance(kind, int) and 0 <= kind < len(names) else kind
        found.append({"label": named, "box": [left, top, left + width, top + height]})
    return found
