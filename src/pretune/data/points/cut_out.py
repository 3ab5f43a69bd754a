"""Each pose of a picture as a picture of its own: its box with a margin, cut out."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from pretune.answers.boxes import Box, part_around
from pretune.data.archives.streams import Entry
from pretune.data.formats.marked.coco import is_number
from pretune.data.media.base import BrokenMedia, Find
from pretune.data.media.image import decode_image
from pretune.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CutOut", "Upright", "cut_out", "upright_from"]

Upright = Callable[[str], "Image"]
"""From the name of a file to its upright picture."""

_ANY_SIDE = 10**9


class CutOut(NamedTuple):
    """A pose: its name, the file that shows it, the part of that picture (left, top, right, bottom), and its points in pixels of the part."""

    name: str
    file: str
    part: tuple[int, int, int, int]
    points: list[float]

    def entry(self, upright: Upright) -> Entry:
        """The part as a file."""
        return Entry(self.name, f"{self.name}.png", 0, functools.partial(_opened, self, upright))


def cut_out(note: Mapping[str, Any], file: str, size: tuple[int, int] | None, where: str) -> CutOut:
    """The pose of an annotation of COCO's; its box is ``bbox``, or what its known points span. Raises :class:`DataError`."""
    if not all(map(is_number, note["keypoints"])):
        raise DataError(f"{where} has keypoints that are no numbers", "x, y and v of each are expected")
    points = [float(one) for one in note["keypoints"]]
    part = part_around(Box("", *_box(note, points, where)), size or (_ANY_SIDE, _ANY_SIDE))
    if part[2] <= part[0] or part[3] <= part[1]:
        raise DataError(f"{where} lies outside its picture", "mend its bbox: left, top, width and height in pixels")
    for start, offset in ((0, part[0]), (1, part[1])):
        points[start::3] = [
            one - offset if seen else 0.0 for one, seen in zip(points[start::3], points[2::3], strict=True)
        ]
    return CutOut(f"{file}#{note.get('id')}", file, part, points)


def _box(note: Mapping[str, Any], points: Sequence[float], where: str) -> tuple[float, float, float, float]:
    told = note.get("bbox")
    if isinstance(told, list) and len(told) == 4 and all(map(is_number, told)) and min(told[2:]) > 0:
        return told[0], told[1], told[0] + told[2], told[1] + told[3]
    known = [(x, y) for x, y, seen in zip(points[::3], points[1::3], points[2::3], strict=True) if seen]
    if not known:
        raise DataError(f"{where} has neither a bbox nor a known point", "mend or remove it")
    across, down = zip(*known, strict=True)
    return min(across), min(down), max(across), max(down)


def upright_from(find: Find) -> Upright:
    """Upright pictures by the names that ``find`` knows. The poses of a picture follow each other: the last one is kept."""

    @functools.lru_cache(maxsize=1)
    def upright(file: str) -> Image:
        with find(file).open() as stream:
            return decode_image({"bytes": stream.read(), "path": file})

    return upright


def _opened(one: CutOut, upright: Upright) -> BinaryIO:
    """The part as PNG. Raises :class:`pretune.data.media.base.BrokenMedia`."""
    held, whole = io.BytesIO(), upright(one.file)
    left, top, right, bottom = (*one.part[:2], min(one.part[2], whole.width), min(one.part[3], whole.height))
    if right <= left or bottom <= top:
        raise BrokenMedia("other_size", one.file, "a pose lies outside")
    whole.crop((left, top, right, bottom)).save(held, "PNG", compress_level=1)
    held.seek(0)
    return held
