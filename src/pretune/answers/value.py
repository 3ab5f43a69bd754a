"""A number: a grade, a price, a relatedness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer, Trouble
from pretune.errors import DataError
from pretune.wording import agree, counted, figure

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Value"]

_STRATA, _BINS, _SHOWN = 10, 20, 5
_FAR = 10
"""Widths of the middle half of the numbers; a bell curve goes no farther than four in a million million rows."""
_BEYOND = 0.05


@final
@dataclass(frozen=True, slots=True)
class Value(Answer):
    """A finite number, in the unit of the data."""

    number: float

    kind: ClassVar[str] = "value"
    words: ClassVar[tuple[str, str]] = ("number", "numbers")
    lack: ClassVar[str] = "number"

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A double."""
        import pyarrow as pa

        return pa.float64()

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A number, or a text that is one. Raises :class:`DataError` for another text, and for one that is not finite."""
        if (
            cell is None
            or (isinstance(cell, str) and not cell.strip())
            or (isinstance(cell, float) and math.isnan(cell))
        ):
            return None
        try:
            number = float(cell) if not isinstance(cell, bool) else math.nan
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(
                f"{where} has {str(cell)[:40]!r} where a number is needed",
                "write numbers with a point (3.5), leave the cell empty where there is none, or name another column: --column value=NAME",
            )
        return cls(number)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(float(value))

    def to_json(self) -> float:
        """The number."""
        return self.number

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A number."""
        return {"type": "number"}

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """At most the tolerance apart."""
        return isinstance(other, Value) and abs(self.number - other.number) <= tolerance

    def said(self) -> str:
        """As many digits as are worth reading."""
        return figure(self.number)

    @classmethod
    def strata(cls, answers: Sequence[Any]) -> list[str]:
        """Tenths of the rows by their numbers, so that every split spans them."""
        import numpy as np

        numbers = np.array([math.nan if answer is None else answer.number for answer in answers], dtype=np.float64)
        known = np.isfinite(numbers)
        if not known.any():
            return [""] * len(answers)
        edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _STRATA + 1)[1:-1]))
        tenth = np.searchsorted(edges, numbers, side="right")
        return [str(place) if is_known else "" for place, is_known in zip(tenth.tolist(), known.tolist(), strict=True)]

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """Least, middle and largest number, mean, spread, and a histogram."""
        import numpy as np

        listed = list(answers)
        numbers = np.array([answer.number for answer in listed if answer is not None], dtype=np.float64)
        if not len(numbers):
            return None
        counts, edges = np.histogram(numbers, bins=min(_BINS, max(1, len(np.unique(numbers)))))
        low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75]).tolist()
        far_N = np.abs(numbers - middle) > _FAR * (high - low) if high > low else np.zeros(len(numbers), dtype=bool)
        least, most, mean, sd = numbers.min(), numbers.max(), numbers.mean(), numbers.std()
        different = len(np.unique(numbers))
        said = f"numbers from {figure(least)} to {figure(most)}, {different:,} different; median {figure(middle, 4)}, mean {figure(mean, 4)}, spread {figure(sd, 3)}"
        return {
            "rows": len(numbers), "missing": len(listed) - len(numbers), "different": different,
            "min": float(least), "median": middle, "max": float(most), "mean": float(mean), "sd": float(sd),
            "far_off": int(far_N.sum()), "farthest": [float(number) for number in np.unique(numbers[far_N])[-_SHOWN:]],
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
            "sentence": said, "tile": ["numbers", f"{figure(least, 4)} to {figure(most, 4)}"],
        }  # fmt: skip

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """All the same; a few far from all others; others than those learned from."""
        if split == "train" and figures["different"] == 1:
            message = f"All numbers of train are {figure(figures['min'])}: there is nothing to learn."
            yield Trouble("error", "one-number", message, figures["rows"], "name another column: --column value=NAME")
        if far := figures["far_off"]:
            shown = ", ".join(map(figure, figures["farthest"]))
            message = (
                f"{counted(far, 'number')} of {split} {agree(far, 'lie', 'lies')} far from all others, more than {_FAR} times the width of the "
                f"middle half: {shown}{' ...' if far > _SHOWN else ''}."
            )
            fix = "are they in another unit, or a mark for none (-999)? Mend the cells, or leave them empty"
            yield Trouble("warning", "far-numbers", message, far, fix)
        if split in ("validation", "test") and train is not None:
            beyond = max(train["min"] - figures["min"], figures["max"] - train["max"])
            if beyond > _BEYOND * (train["max"] - train["min"]):
                message = (
                    f"Numbers of {split} go from {figure(figures['min'])} to {figure(figures['max'])}, "
                    f"those of train from {figure(train['min'])} to {figure(train['max'])}."
                )
                yield Trouble(
                    "note", "beyond-numbers", message, 1, "what lies outside of the training rows is estimated badly"
                )
