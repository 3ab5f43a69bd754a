"""Each pose of a picture as a picture of its own: its box with a margin, cut out."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from pretune.answers.boxes import Box, part_around
from pretune.data.archives.streams import Entry
from pretune.data.media.base import BrokenMedia, Find
from pretune.data.media.image import decode_image
from pretune.errors import DataError

__all__ = ["CutOut", "cut_out", "cut_picture"]

_ANY_SIDE = 10**9


class CutOut(NamedTuple):
    """A pose: its name, the file that shows it, the part of that picture (left, top, right, bottom), and its points in pixels of the part."""

    name: str
    file: str
    part: tuple[int, int, int, int]
    points: list[float]

    def entry(self, find: Find) -> Entry:
        """The part as a file."""
        return Entry(self.name, f"{self.name}.png", 0, functools.partial(_opened, self, find))


def cut_out(note: Mapping[str, Any], file: str, size: tuple[int, int] | None, where: str) -> CutOut:
    """The pose of an annotation of COCO's; its box is ``bbox``, or what its known points span. Raises :class:`DataError`."""
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
    if (
        isinstance(told, list)
        and len(told) == 4
        and all(isinstance(one, (int, float)) for one in told)
        and min(told[2:]) > 0
    ):
        return told[0], told[1], told[0] + told[2], told[1] + told[3]
    known = [(x, y) for x, y, seen in zip(points[::3], points[1::3], points[2::3], strict=True) if seen]
    if not known:
        raise DataError(f"{where} has neither a bbox nor a known point", "mend or remove it")
    across, down = zip(*known, strict=True)
    return min(across), min(down), max(across), max(down)


def _opened(one: CutOut, find: Find) -> BinaryIO:
    return io.BytesIO(cut_picture(find(one.file), one.part))


def cut_picture(entry: Entry, part: tuple[int, int, int, int]) -> bytes:
    """A part of a picture as PNG: its pixels are those of the upright picture. Raises
    :class:`pretune.data.media.base.BrokenMedia`.
    """
    held, whole = io.BytesIO(), _upright(entry.open, entry.name, entry.stamp)
    inside = (*part[:2], min(part[2], whole.width), min(part[3], whole.height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise BrokenMedia("other_size", entry.name, "a pose lies outside")
    whole.crop(inside).save(held, "PNG", compress_level=1)
    return held.getvalue()


@functools.lru_cache(maxsize=1)  # the poses of a picture follow each other
def _upright(opened: Callable[[], BinaryIO], name: str, stamp: tuple[int, ...]) -> Any:
    with opened() as stream:
        return decode_image({"bytes": stream.read(), "path": name})
