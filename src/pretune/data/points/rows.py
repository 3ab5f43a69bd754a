"""The points of the rows of one table, held against their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pretune.answers.keypoints import Keypoints
from pretune.data.formats.base import ABSENT, Chunk
from pretune.data.media.base import Media
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["PointReader", "point_notes"]


class PointReader:
    """Reads the points of ``column``. A point outside its picture is not known; what that changes is counted in ``counts``."""

    def __init__(self, column: str, counts: Counter[str]) -> None:
        self.column, self.counts = column, counts
        self.num: int | None = None

    def __call__(self, chunk: Chunk, pictures: Sequence[Media | None], where: Callable[[Chunk, int], str]) -> list[Any]:
        """The JSON value of each row's points; None where none is known. Raises :class:`DataError` for rows of other numbers of points."""
        found: list[Any] = []
        for place, (cell, picture) in enumerate(zip(chunk.column(self.column), pictures, strict=True)):
            answer = None if cell is ABSENT else Keypoints.read(cell, f"{where(chunk, place)} (column {self.column})")
            if answer is None or picture is None:
                found.append(None)
                continue
            if self.num not in (None, len(answer.points)):
                raise DataError(
                    f"{where(chunk, place)} has {len(answer.points)} points, rows before it {self.num}",
                    "give every row all points, with visible 0 for those that are not known",
                )
            self.num = len(answer.points)
            inside = self._inside(answer, picture)
            self.counts["rows_without_known_points"] += not inside.known
            found.append(inside.to_json() if inside.known else None)
        return found

    def _inside(self, answer: Keypoints, picture: Media) -> Keypoints:
        kept = [
            (x, y, v) if v > 0 and 0 <= x <= picture.width and 0 <= y <= picture.height else (0.0, 0.0, 0.0)
            for x, y, v in answer.points
        ]
        made = Keypoints(tuple(kept))
        self.counts["points_outside_pictures"] += answer.known - made.known
        return made


def point_notes(counts: Counter[str]) -> list[str]:
    """Sentences on points that are not used."""
    outside, without = counts["points_outside_pictures"], counts["rows_without_known_points"]
    notes = (
        [
            f"{counted(outside, 'point')} {agree(outside, 'lie outside their pictures and are', 'lies outside its picture and is')} taken for not known."
        ]
        if outside
        else []
    )
    return notes + (
        [f"{counted(without, 'picture')} {agree(without, 'have', 'has')} no known point: unlabelled."]
        if without
        else []
    )
