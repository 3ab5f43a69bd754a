"""A text to be written from a text: a translation, a summary, a reply; several right ones may be known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer, Trouble
from pretune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TargetText"]

_BINS = 20


@final
@dataclass(frozen=True, slots=True)
class TargetText(Answer):
    """A text in one or more right forms (references); the first is learned from, all are scored against."""

    values: tuple[str, ...]

    kind: ClassVar[str] = "target"
    words: ClassVar[tuple[str, str]] = ("target text", "target texts")
    lack: ClassVar[str] = "target text"
    conflict: ClassVar[tuple[str, str]] = ("different target texts", "the target text")
    short: ClassVar[bool] = False

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of strings."""
        import pyarrow as pa

        return pa.list_(pa.string())

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A text, or a list of texts; None where nothing is written. Raises :class:`DataError` for anything else."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return None
        cells = list(cell) if isinstance(cell, (list, tuple)) else [cell]
        if not all(isinstance(one, (str, int, float)) or one is None for one in cells):
            raise DataError(
                f"{where} has {str(cell)[:40]!r} where a text to be written is needed",
                "give a text or a list of texts, or name another column: --column target=NAME",
            )
        texts = tuple(str(one) for one in cells if one is not None and str(one).strip())
        return cls(texts) if texts else None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """A text (of a record), or a list of them (of a column)."""
        return cls((value,) if isinstance(value, str) else tuple(map(str, value)))

    def to_json(self) -> list[str]:
        """All of them."""
        return list(self.values)

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A string."""
        return {"type": "string"}

    def contents(self) -> tuple[str, ...]:
        """All of them: no translation of a test row stands in train."""
        return self.values

    def said(self) -> str:
        """The first, on one line."""
        return " ".join(self.values[0].split())

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """How many, how long (characters), how many are different, and rows with several."""
        import numpy as np

        listed = list(answers)
        known = [answer for answer in listed if answer is not None]
        if not known:
            return None
        lengths = np.array([len(answer.values[0]) for answer in known])
        several = sum(len(answer.values) > 1 for answer in known)
        different = len({answer.values for answer in known})
        counts, edges = np.histogram(lengths, bins=min(_BINS, max(1, len(np.unique(lengths)))))
        more = f", {several:,} rows with several" if several else ""
        said = (
            f"target texts of {lengths.min():,} to {lengths.max():,} characters, median {np.median(lengths):,.0f}; "
            f"{different:,} different{more}"
        )
        return {
            "rows": len(known), "missing": len(listed) - len(known), "different": different, "with_several": several,
            "characters": int(lengths.sum()), "median_characters": float(np.median(lengths)),
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
            "sentence": said, "tile": ["target texts", f"{different:,}"],
        }  # fmt: skip

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """All the same: nothing to learn."""
        if split == "train" and figures["different"] == 1 and figures["rows"] > 1:
            message = f"All {figures['rows']:,} target texts of train are the same: there is nothing to learn."
            yield Trouble("error", "one-target", message, figures["rows"], "name another column: --column target=NAME")
