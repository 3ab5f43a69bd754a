"""The masks of the rows of one table: each file read once and held against its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretune.data.formats.base import ABSENT, Chunk
from pretune.data.media.base import BrokenMedia, Find, Media
from pretune.data.media.rows import MediaReader

__all__ = ["MaskReader"]

_SAME_SHAPE = 0.01
"""Of the ratio of the sides: what scaling to whole pixels may change."""


class MaskReader:
    """Reads the masks that the cells of ``column`` name. A mask that cannot be used leaves its row without an answer, and is counted."""

    def __init__(self, column: str, find: Find | None, table: str) -> None:
        self.column = column
        self.reader = MediaReader("mask", find, table)
        self.scaled: list[str] = []

    def __call__(self, chunk: Chunk, pictures: Sequence[Media | None]) -> list[Any]:
        """The JSON value of each row's mask; None where it has none."""
        cells = chunk.column(self.column)
        asked = [
            place
            for place, (cell, picture) in enumerate(zip(cells, pictures, strict=True))
            if picture is not None and cell is not None and cell is not ABSENT and cell != ""
        ]
        found = self.reader([cells[place] for place in asked], [chunk.numbers[place] for place in asked])
        masks: list[Any] = [None] * len(cells)
        for place, mask in zip(asked, found, strict=True):
            picture = pictures[place]
            if mask is not None and picture is not None and self._fits(mask, picture):
                masks[place] = dict(mask.held)
        return masks

    def _fits(self, mask: Media, picture: Media) -> bool:
        """Is the mask of its picture's size, or a scaled one of its shape? Others are counted as lost."""
        if (mask.width, mask.height) == (picture.width, picture.height):
            return True
        wide, high = mask.width / picture.width, mask.height / picture.height
        if abs(wide - high) <= _SAME_SHAPE * max(wide, high):
            self.scaled.append(mask.name)
            return True
        why = f"{mask.width} x {mask.height} px, the picture {picture.width} x {picture.height}"
        self.reader.tally.read -= 1
        self.reader.tally.add(BrokenMedia("other_size", mask.name, why))
        return False
