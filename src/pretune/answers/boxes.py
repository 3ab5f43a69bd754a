"""Boxes around objects of a picture, each with its class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer, Trouble
from pretune.errors import DataError
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

__all__ = ["ASIDE", "Box", "Boxes", "overlap", "part_around"]

ASIDE = ("crowd", "difficult")
"""Why a box is neither missed nor found: it is drawn around many objects (COCO's ``iscrowd``), or too hard to tell (VOC's ``difficult``)."""

SAME_OVERLAP, SURE = 0.99, 0.1
"""Boxes that cover each other so are the same; boxes of two answers that are scored lower are not asked for in the other."""

MARGIN, _LEAST_PX = 1.25, 8
"""Of a box what is cut out, and at least (boxes are extended before what they hold is read: Xiao et al. 2018, arXiv 1804.06208, section 3)."""

_FEW, _SHOWN, _BINS = 10, 6, 20
_FORMS = 'give a list such as [{"label": "cat", "box": [x1, y1, x2, y2]}] or [[x1, y1, x2, y2, "cat"]], in pixels from the upper left corner'


@dataclass(frozen=True, slots=True)
class Box:
    """One object: ``x1 < x2`` from the left and ``y1 < y2`` from the top edge, in pixels of the upright picture, edges not pixel numbers.

    ``score`` is a model's, None of a truth; ``aside`` one of :data:`ASIDE`, or "".
    """

    label: str
    x1: float
    y1: float
    x2: float
    y2: float
    score: float | None = None
    aside: str = ""

    @property
    def area(self) -> float:
        """Square pixels."""
        return max(0.0, self.x2 - self.x1) * max(0.0, self.y2 - self.y1)

    def to_json(self) -> dict[str, Any]:
        """``label``, ``box``, and ``score`` or ``aside`` where it has one."""
        found: dict[str, Any] = {"label": self.label, "box": [self.x1, self.y1, self.x2, self.y2]}
        if self.score is not None:
            found["score"] = self.score
        return {**found, "aside": self.aside} if self.aside else found


def part_around(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What is cut out of a picture of that ``size`` (width, height) to show what a box holds: left, top, right and bottom, whole pixels with a
    margin. Of a box outside the picture nothing, whose right is not right of its left.
    """
    across, down = (max(_LEAST_PX, MARGIN * side) / 2 for side in (box.x2 - box.x1, box.y2 - box.y1))
    x, y = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    return (
        max(0, round(x - across)), max(0, round(y - down)), min(size[0], round(x + across)), min(size[1], round(y + down))
    )  # fmt: skip


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    shared = max(0.0, width) * max(0.0, height)
    return shared / max(one.area + other.area - shared, 1e-12)


@final
@dataclass(frozen=True, slots=True)
class Boxes(Answer):
    """Any number of boxes; none is an answer too. The order says nothing."""

    boxes: tuple[Box, ...]

    kind: ClassVar[str] = "boxes"
    words: ClassVar[tuple[str, str]] = ("list of boxes", "lists of boxes")
    short: ClassVar[bool] = False
    lack: ClassVar[str] = "boxes"
    conflict: ClassVar[tuple[str, str]] = ("different boxes", "the boxes")
    suffix: ClassVar[str] = ".png"

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of label, four numbers, and why a box is set aside."""
        import pyarrow as pa

        return pa.list_(
            pa.struct([("label", pa.string()), ("box", pa.list_(pa.float64())), ("aside", pa.string())])  # pyright: ignore[reportArgumentType]
        )

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A list of mappings or of lists. Raises :class:`DataError` for another thing, or numbers that are none."""
        if cell is None or cell == "":
            return None
        if not isinstance(cell, (list, tuple)):
            raise DataError(f"{where} has {str(cell)[:60]!r} where boxes are needed", _FORMS)
        return cls(tuple(_box(one, where) for one in cell))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(
            tuple(
                Box(str(one["label"]), *map(float, one["box"]), score=one.get("score"), aside=one.get("aside") or "")
                for one in value
            )
        )

    def to_json(self) -> list[dict[str, Any]]:
        """A mapping a box."""
        return [box.to_json() for box in self.boxes]

    def as_files(self, names: Sequence[str], picture: Callable[[], Image]) -> list[bytes]:
        """What each box holds, cut out of the picture."""
        import io

        if not self.boxes:
            return []
        whole, found = picture(), []
        for box in self.boxes:
            left, top, right, bottom = part_around(box, whole.size)
            if left < right and top < bottom:
                held = io.BytesIO()
                whole.crop((left, top, right, bottom)).save(held, "PNG")
                found.append(held.getvalue())
        return found

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A list of mappings."""
        number = {"type": "number"}
        fields = {
            "label": {"type": "string", **({"enum": list(names)} if names else {})},
            "box": {
                "type": "array", "items": number, "minItems": 4, "maxItems": 4,
                "description": "left, top, right and bottom edge in pixels of the upright picture",
            },
            "score": {"type": "number", "minimum": 0, "maximum": 1},
        }  # fmt: skip
        return {"type": "array", "items": {"type": "object", "required": ["label", "box"], "properties": fields}}

    def names(self) -> tuple[str, ...]:
        """The classes, each once."""
        return tuple(dict.fromkeys(box.label for box in self.boxes))

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """Has each box that one of both is sure of its partner in the other: of its class, at its place, with its score up to the tolerance?"""
        if not isinstance(other, Boxes):
            return False
        least = SURE + tolerance
        return all(
            any(
                theirs.label == own.label
                and overlap(own, theirs) >= SAME_OVERLAP
                and abs((own.score or 0.0) - (theirs.score or 0.0)) <= tolerance
                for theirs in side.boxes
            )
            for mine, side in ((self, other), (other, self))
            for own in mine.boxes
            if own.score is None or own.score >= least
        )

    def said(self) -> str:
        """How many of each class."""
        counts = Counter(box.label for box in self.boxes)
        return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "no boxes"

    def combined(self) -> str:
        """All boxes, in order."""
        return repr(sorted((box.label, box.x1, box.y1, box.x2, box.y2, box.aside) for box in self.boxes))

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """Boxes of each class, pictures without any, and how large boxes are."""
        import numpy as np

        counts: Counter[str] = Counter()
        aside: Counter[str] = Counter()
        rows = bare = missing = 0
        areas = []
        for answer in answers:
            if answer is None:
                missing += 1
                continue
            rows += 1
            bare += not answer.boxes
            counts.update(box.label for box in answer.boxes)
            aside.update(box.aside for box in answer.boxes if box.aside)
            areas += [box.area for box in answer.boxes]
        if not rows:
            return None
        sides = np.sqrt(np.array(areas)) if areas else np.zeros(0)
        low, middle, high = np.quantile(sides, [0.05, 0.5, 0.95]).tolist() if len(sides) else (0.0, 0.0, 0.0)
        bins, edges = np.histogram(np.log2(np.maximum(sides, 1.0)), bins=_BINS) if len(sides) else ([], [])
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(_SHOWN))
        more = ", ..." if len(counts) > _SHOWN else ""
        per_row = counts.total() / rows
        said = (
            f"{counted(counts.total(), 'box', 'boxes')} of {counted(len(counts), 'class', 'classes')}{': ' if shown else ''}{shown}{more}; "
            f"{per_row:.1f} a picture, {counted(bare, 'picture')} without any; sides of {low:.0f} to {high:.0f} px (90 % of them), median {middle:.0f}"
        )
        return {
            "rows": rows, "missing": missing, "without_any": bare, "boxes": counts.total(), "aside": dict(aside),
            "counts": dict(counts.most_common()), "side_px": {"low": low, "median": middle, "high": high},
            "bars": {"title": "Boxes of each class", "counts": dict(counts.most_common())},
            "histogram": {
                "edges": [float(2**edge) for edge in edges], "counts": [int(one) for one in bins], "title": "Sides of boxes", "x_title": "root of a box's area, px",
            },
            "sentence": said, "tile": ["boxes", f"{counts.total():,}"],
        }  # fmt: skip

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """No box to learn from, classes with few or with none, boxes that count for nothing."""
        own = figures["counts"]
        if split == "train":
            if not own:
                message = "No picture of train has a box: there is nothing to learn."
                yield Trouble("error", "no-box", message, figures["rows"], "give pictures with boxes")
            rare = {name: count for name, count in own.items() if count < _FEW}
            if rare:
                message = f"{counted(len(rare), 'class', 'classes')} of train {agree(len(rare), 'have', 'has')} fewer than {_FEW} boxes: {_listed(rare)}."
                yield Trouble(
                    "warning", "rare-box", message, len(rare), "draw more of these, or merge them with others"
                )
        elif train is not None and split in ("validation", "test"):
            unknown = {name: count for name, count in own.items() if name not in train["counts"]}
            if unknown:
                message = f"{split} has boxes of {counted(len(unknown), 'class', 'classes')} that train has none of: {_listed(unknown)}. None of them can be found."
                yield Trouble(
                    "warning",
                    "unknown-box-class",
                    message,
                    len(unknown),
                    "is it another spelling? Mend it, or split anew",
                )
            absent = {name: count for name, count in train["counts"].items() if name not in own}
            if absent:
                message = f"{split} has no box of {counted(len(absent), 'class', 'classes')} of train: {', '.join(list(absent)[:_SHOWN])}{', ...' if len(absent) > _SHOWN else ''}."
                yield Trouble("note", "absent-box-class", message, len(absent), "its scores say nothing of these")
        for why, num in figures["aside"].items():
            message = f"{counted(num, 'box', 'boxes')} of {split} {agree(num, 'are', 'is')} marked {why}: not learned from, and neither missed nor found."
            yield Trouble("note", f"{why}-boxes", message, num, "")


def _listed(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"“{name}” ({count})" for name, count in list(counts.items())[:_SHOWN])
    return shown + (", ..." if len(counts) > _SHOWN else "")


def _box(one: Any, where: str) -> Box:
    """One box as people write it. Raises :class:`DataError`."""
    score, aside = None, ""
    label: Any
    places: Any
    if isinstance(one, Mapping):
        label, places = one.get("label", one.get("class")), one.get("box", one.get("bbox"))
        score, aside = one.get("score"), str(one.get("aside") or "")
        if isinstance(places, Mapping):
            places = [places.get(key) for key in ("xmin", "ymin", "xmax", "ymax")]
    elif isinstance(one, (list, tuple)) and len(one) in (5, 6):
        places, label = one[:4], one[4]
        score = one[5] if len(one) == 6 else None
    else:
        raise DataError(f"{where} has {str(one)[:60]!r} where a box is needed", _FORMS)
    if not isinstance(label, (str, int)) or isinstance(label, bool) or not str(label).strip():
        raise DataError(f"{where} has a box without a class: {str(one)[:80]}", _FORMS)
    numbers: list[Any] = [*places] if isinstance(places, (list, tuple)) else []
    if len(numbers) != 4 or not all(_is_number(number) for number in numbers):
        raise DataError(f"{where} has a box that is not four numbers: {str(one)[:80]}", _FORMS)
    if aside and aside not in ASIDE:
        raise DataError(f"{where} has a box set aside as {aside!r}", f"allowed: {', '.join(ASIDE)}")
    return Box(str(label).strip(), *map(float, numbers), score=score if _is_number(score) else None, aside=aside)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
