"""A number: a grade, a price, a relatedness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer
from pretune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Value"]

_STRATA, _BINS = 10, 20


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
        """Apart by the tolerance at most."""
        return isinstance(other, Value) and abs(self.number - other.number) <= tolerance

    def said(self) -> str:
        """As many digits as are worth reading."""
        return f"{self.number:.6g}"

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
        return {
            "rows": len(numbers), "missing": len(listed) - len(numbers), "different": len(np.unique(numbers)),
            "min": float(numbers.min()), "median": float(np.median(numbers)), "max": float(numbers.max()),
            "mean": float(numbers.mean()), "sd": float(numbers.std()),
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        }  # fmt: skip
