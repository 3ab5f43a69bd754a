"""Where the named points of a picture lie: joints of a body, landmarks of a face.

Shapes: J points.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer, Trouble
from pretune.errors import DataError
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Keypoints"]

_RARE_SHARE = 0.1
_COCO_FLAGS = (0, 1, 2)


@final
@dataclass(frozen=True, slots=True)
class Keypoints(Answer):
    """``points[j]`` is x, y and v of point j, in pixels of the upright picture from its left and upper edge.

    Of a right answer v is 0 where the point is not known (nothing is learned from it and nothing is scored), else 1 or 2 as COCO
    writes it; of a model's answer it is the share of the heat map around the point, 0 to 1. What the points are called stands
    beside the model (``labels``).
    """

    kind: ClassVar[str] = "keypoints"
    words: ClassVar[tuple[str, str]] = ("pose", "poses")
    lack: ClassVar[str] = "keypoints"
    conflict: ClassVar[tuple[str, str]] = ("different keypoints", "the keypoints")
    short: ClassVar[bool] = False

    points: tuple[tuple[float, float, float], ...]

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of lists of three numbers."""
        import pyarrow as pa

        return pa.list_(pa.list_(pa.float64()))

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """``[[x, y], ...]``, ``[[x, y, v], ...]`` or the flat ``[x, y, v, x, ...]`` of COCO, as JSON or its text; a point of null or NaN is not known.

        Raises :class:`DataError` for anything else.
        """
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        try:
            value = json.loads(cell) if isinstance(cell, str) else cell
            points = tuple(_point(one) for one in _nested(list(value)))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{where} has {str(cell)[:40]!r} where keypoints are needed: {error}",
                "write [[x, y, visible], ...] in pixels of the picture, visible 0 for a point that is not known",
            ) from None
        return cls(points) if points else None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(tuple((float(x), float(y), float(v)) for x, y, v in value))

    def to_json(self) -> list[list[float]]:
        """``[[x, y, v], ...]``."""
        return [list(point) for point in self.points]

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """One triple a name, in their order."""
        point = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
        about = "x and y in pixels from the upper left, then how sure (0 to 1)"
        length = {"minItems": len(names), "maxItems": len(names)} if names else {}
        order = f", in the order {', '.join(names)}" if names else ""
        return {"type": "array", "items": point, **length, "description": f"{about}{order}"}

    @property
    def known(self) -> int:
        """How many points are known."""
        return sum(v > 0 for _, _, v in self.points)

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """As many points, each at most the tolerance (pixels) apart; how sure they are does not count."""
        return (
            isinstance(other, Keypoints)
            and len(self.points) == len(other.points)
            and all(
                math.hypot(a[0] - b[0], a[1] - b[1]) <= tolerance
                for a, b in zip(self.points, other.points, strict=True)
            )
        )

    def said(self) -> str:
        """The points, rounded to pixels."""
        return ", ".join(f"({x:.0f}, {y:.0f})" if v > 0 else "–" for x, y, v in self.points)

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """How many points a picture has, and how often each is known."""
        known: list[int] = []
        rows = missing = 0
        for answer in answers:
            if answer is None:
                missing += 1
                continue
            rows += 1
            known += [0] * (len(answer.points) - len(known))
            for place, (_, _, v) in enumerate(answer.points):
                known[place] += v > 0
        if not rows:
            return None
        share = 100 * sum(known) / max(1, rows * len(known))
        return {
            "rows": rows, "missing": missing, "known": known,
            "sentence": f"{counted(len(known), 'point')} a picture, {share:.0f} % of them known",
            "tile": ["points a picture", f"{len(known):,}"],
        }  # fmt: skip

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """Points that are known in few pictures."""
        rows = figures["rows"]
        rare = [place + 1 for place, count in enumerate(figures["known"]) if count < _RARE_SHARE * rows]
        if split == "train" and rare:
            message = f"{counted(len(rare), 'point')} ({agree(len(rare), 'numbers', 'number')} {', '.join(map(str, rare[:6]))}) of train {agree(len(rare), 'are', 'is')} known in fewer than a tenth of the pictures."
            yield Trouble("warning", "rare-point", message, len(rare), "mark more pictures that show them")


def _nested(value: list[Any]) -> list[Any]:
    """Points one by one, also of the flat form."""
    if not value or isinstance(value[0], (list, tuple)) or value[0] is None:
        return value
    if len(value) % 3 == 0 and all(one in _COCO_FLAGS for one in value[2::3]):
        return [value[at : at + 3] for at in range(0, len(value), 3)]
    if len(value) % 2:
        raise ValueError(f"{len(value)} numbers are neither pairs nor triples with a flag of 0, 1 or 2")
    return [value[at : at + 2] for at in range(0, len(value), 2)]


def _point(one: Any) -> tuple[float, float, float]:
    if one is None:
        return (0.0, 0.0, 0.0)
    if len(one) not in (2, 3):
        raise ValueError(f"a point has {len(one)} numbers")
    found = [math.nan if part is None or part == "" else float(part) for part in one]
    x, y, v = (*found, 1.0)[:3]
    known = math.isfinite(x) and math.isfinite(y) and v > 0
    return (x, y, v) if known else (0.0, 0.0, 0.0)
