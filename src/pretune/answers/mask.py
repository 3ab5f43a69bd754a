"""The class of every pixel of a picture: semantic segmentation.

Shapes: H and W the sides of the picture in pixels, C the classes by which pixels are numbered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer, Trouble
from pretune.answers.rle import area_of_rle, decode_rle, encode_rle
from pretune.errors import DataError
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image

__all__ = ["NONE", "PALETTE", "Mask"]

NONE = 255
"""The number of a pixel without a class."""
PALETTE = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (240, 228, 66), (86, 180, 233), (148, 103, 189), (127, 127, 127), (140, 86, 75),
    (188, 189, 34), (23, 190, 207), (255, 152, 150), (44, 60, 120), (174, 199, 120), (90, 20, 60),
)  # fmt: skip
"""Okabe and Ito's colours, which people with any colour vision tell apart, and more where there are more classes; then they come again."""
_FEW, _SHOWN = 5, 6
_MOSTLY_NONE = 0.5


@final
@dataclass(frozen=True, slots=True)
class Mask(Answer):
    """The regions of the classes that a picture shows, ``classes[i]`` at ``counts[i]`` (COCO's run lengths, :mod:`pretune.answers.rle`).

    Pixels that are in no region have no right answer (void): nothing is learned from them and nothing is scored there.
    """

    kind: ClassVar[str] = "mask"
    words: ClassVar[tuple[str, str]] = ("mask", "masks")
    lack: ClassVar[str] = "mask"
    conflict: ClassVar[tuple[str, str]] = ("different masks", "the mask")
    short: ClassVar[bool] = False
    is_class: ClassVar[bool] = True
    suffix: ClassVar[str] = ".png"

    height: int
    width: int
    classes: tuple[str, ...]
    counts: tuple[str, ...]

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A struct of the fields of :meth:`to_json`."""
        import pyarrow as pa

        names = pa.list_(pa.string())
        return pa.struct([("size", pa.list_(pa.int32())), ("classes", names), ("counts", names)])

    @classmethod
    def of(cls, pixels_HW: np.ndarray, names: Sequence[str]) -> Self:
        """The mask of pixels that are numbers of ``names``, and :data:`NONE` or any other number where there is no class."""
        import numpy as np

        present = [int(number) for number in np.unique(pixels_HW) if number < len(names)]
        counts = tuple(encode_rle(pixels_HW == number) for number in present)
        height, width = pixels_HW.shape
        return cls(height, width, tuple(names[number] for number in present), counts)

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A value as :meth:`to_json` writes it. Raises :class:`DataError` for anything else."""
        if cell is None or cell == "":
            return None
        try:
            found = cls.from_json(cell)
            found.pixels(found.classes)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"{where} has {str(cell)[:40]!r} where a mask is needed: {error}",
                'name the file of the mask, or give {"size": [height, width], "classes": [...], "counts": [run lengths as COCO writes them]}',
            ) from None
        return found

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        height, width = value["size"]
        return cls(int(height), int(width), tuple(map(str, value["classes"])), tuple(map(str, value["counts"])))

    def to_json(self) -> dict[str, Any]:
        """``size`` (height, width), the ``classes`` that occur and the ``counts`` of each: with ``size``, COCO's form of a region."""
        return {"size": [self.height, self.width], "classes": list(self.classes), "counts": list(self.counts)}

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """The regions of classes."""
        name: dict[str, Any] = {"type": "string", **({"enum": list(names)} if names else {})}
        counts = {"type": "string", "description": "run lengths of the region as COCO writes them, down the columns"}
        size = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2}
        return {
            "type": "object",
            "required": ["size", "classes", "counts"],
            "properties": {
                "size": {**size, "description": "height and width of the picture in pixels"},
                "classes": {"type": "array", "items": name},
                "counts": {"type": "array", "items": counts},
            },
        }

    def pixels(self, names: Sequence[str]) -> np.ndarray:
        """Numbers of ``names``, uint8 (H, W); :data:`NONE` where there is no class, or one that is not among them.

        Raises ValueError where run lengths are of another picture.
        """
        import numpy as np

        number_of = {name: number for number, name in enumerate(names)}
        found_HW = np.full((self.height, self.width), NONE, dtype=np.uint8)
        for name, counts in zip(self.classes, self.counts, strict=True):
            if name in number_of:
                found_HW[decode_rle(counts, self.height, self.width)] = number_of[name]
        return found_HW

    def areas(self) -> dict[str, int]:
        """Pixels of each class that occurs."""
        return {name: area_of_rle(counts) for name, counts in zip(self.classes, self.counts, strict=True)}

    def renamed(self, names: Mapping[str, str | None]) -> Self:
        """The same with other names of classes; those that become one are one region, those of None are of no class."""
        new = [names.get(name, name) for name in self.classes]
        kept = [place for place, name in enumerate(new) if name is not None]
        if len({new[place] for place in kept}) == len(kept):
            classes = tuple(str(new[place]) for place in kept)
            return type(self)(self.height, self.width, classes, tuple(self.counts[place] for place in kept))
        order = list(dict.fromkeys(str(new[place]) for place in kept))
        numbers = [NONE if name is None else order.index(name) for name in new] + [NONE] * (256 - len(new))
        import numpy as np

        return type(self).of(np.array(numbers, dtype=np.uint8)[self.pixels(self.classes)], order)

    def names(self) -> tuple[str, ...]:
        """The classes that occur."""
        return self.classes

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """Equal pixels; a share of ``tolerance`` may differ."""
        if not isinstance(other, Mask) or (self.height, self.width) != (other.height, other.width):
            return False
        every = tuple(dict.fromkeys((*self.classes, *other.classes)))
        return float((self.pixels(every) != other.pixels(every)).mean()) <= tolerance

    def as_files(self, names: Sequence[str], picture: Callable[[], Image]) -> list[bytes]:
        """A PNG with a palette, whose values are numbers of ``names`` and 255 where there is no class."""
        import io

        from PIL import Image

        drawn = Image.fromarray(self.pixels(names)).convert("P")
        colours = [PALETTE[number % len(PALETTE)] for number in range(NONE)]
        drawn.putpalette([value for colour in (*colours, (0, 0, 0)) for value in colour])
        held = io.BytesIO()
        drawn.save(held, "PNG")
        return [held.getvalue()]

    def said(self) -> str:
        """The classes, the largest first, with their shares of the picture."""
        whole = max(1, self.height * self.width)
        areas = sorted(self.areas().items(), key=lambda one: -one[1])
        return ", ".join(f"{name} {100 * area / whole:.0f} %" for name, area in areas) or "no class"

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """The share of pixels of each class, the pictures that have it, and pixels without a class."""
        pixels: Counter[str] = Counter()
        pictures: Counter[str] = Counter()
        rows = missing = whole = 0
        for answer in answers:
            if answer is None:
                missing += 1
                continue
            rows += 1
            whole += answer.height * answer.width
            pixels.update(answer.areas())
            pictures.update(answer.classes)
        if not rows:
            return None
        none = whole - pixels.total()
        shown = ", ".join(f"{name} {_percent(count, whole)}" for name, count in pixels.most_common(_SHOWN))
        more = ", ..." if len(pixels) > _SHOWN else ""
        void = f"; {_percent(none, whole)} of the pixels have no class" if none else ""
        return {
            "rows": rows, "missing": missing, "pixels": whole, "none": none,
            "counts": dict(pixels.most_common()), "pictures": dict(pictures.most_common()),
            "bars": {"title": "Pixels of each class", "counts": dict(pixels.most_common())},
            "sentence": f"{counted(len(pixels), 'class', 'classes')} of pixels: {shown}{more}{void}",
            "tile": ["classes of pixels", f"{len(pixels):,}"],
        }  # fmt: skip

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """One class alone, classes in few pictures, pixels mostly without a class."""
        if split == "train" and len(figures["counts"]) < 2:
            message = "The masks of train show one class alone: there is nothing to tell apart."
            yield Trouble("error", "one-class", message, figures["rows"], "are these the masks that were meant?")
        if figures["none"] > _MOSTLY_NONE * figures["pixels"]:
            message = f"{_percent(figures['none'], figures['pixels'])} of the pixels of {split} have no class: they are neither learned from nor scored."
            fix = "see which values were taken for none (the notes), and name others with --ignore-class"
            yield Trouble("warning", "mostly-void", message, figures["rows"], fix)
        rare = {name: count for name, count in figures["pictures"].items() if count < _FEW}
        if split == "train" and rare and figures["rows"] >= _FEW:
            shown = ", ".join(f"“{name}” ({counted(count, 'picture')})" for name, count in list(rare.items())[:_SHOWN])
            more = ", ..." if len(rare) > _SHOWN else ""
            message = f"{counted(len(rare), 'class', 'classes')} of train {agree(len(rare), 'stand', 'stands')} in fewer than {_FEW} pictures: {shown}{more}."
            yield Trouble(
                "warning", "rare-class", message, len(rare), "mask more pictures that show them, or merge classes"
            )


def _percent(part: int, whole: int) -> str:
    share = 100 * part / max(1, whole)
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %" if share >= 0.1 or not part else "under 0.1 %"
