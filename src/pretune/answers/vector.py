"""A text as a point: the numbers of its embedding."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer
from pretune.errors import DataError
from pretune.wording import counted, figure

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Vector"]

_SHOWN = 3


@final
@dataclass(frozen=True, slots=True)
class Vector(Answer):
    """Numbers of which only the direction matters."""

    values: tuple[float, ...]

    kind: ClassVar[str] = "vector"
    words: ClassVar[tuple[str, str]] = ("vector", "vectors")
    lack: ClassVar[str] = "vector"
    short: ClassVar[bool] = False

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of doubles."""
        import pyarrow as pa

        return pa.list_(pa.float64())

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A list of numbers, or one written as JSON. Raises :class:`DataError` for another cell, and for numbers that are not finite."""
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        try:
            found = json.loads(cell) if isinstance(cell, str) else list(cell)
            numbers = tuple(float(one) for one in found)
        except (TypeError, ValueError):
            numbers = (math.nan,)
        if not numbers or not all(map(math.isfinite, numbers)):
            raise DataError(
                f"{where} has {str(cell)[:40]!r} where a vector is needed", "write a list of numbers: [0.5, -1]"
            )
        return cls(numbers)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(tuple(map(float, value)))

    def to_json(self) -> list[float]:
        """The numbers."""
        return list(self.values)

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A list of numbers."""
        return {"type": "array", "items": {"type": "number"}}

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """Their cosine lies no more than the tolerance under 1; vectors of other lengths are never the same."""
        if not isinstance(other, Vector) or len(self.values) != len(other.values):
            return False
        lengths = math.hypot(*self.values) * math.hypot(*other.values)
        cosine = (
            sum(a * b for a, b in zip(self.values, other.values, strict=True)) / lengths
            if lengths
            else float(self.values == other.values)
        )
        return 1.0 - cosine <= max(tolerance, 1e-9)

    def said(self) -> str:
        """How many numbers, and the first."""
        first = ", ".join(figure(one) for one in self.values[:_SHOWN])
        return f"{counted(len(self.values), 'number')}: {first}{', ...' if len(self.values) > _SHOWN else ''}"
