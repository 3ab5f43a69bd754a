"""One class of a closed set, and any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer, NameList
from pretune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Label", "Labels"]


@final
@dataclass(frozen=True, slots=True)
class Label(Answer):
    """One class, by name. How people write classes is read by :mod:`pretune.data.rows`, which counts what it changes."""

    name: str

    kind: ClassVar[str] = "label"
    words: ClassVar[tuple[str, str]] = ("label", "labels")
    lack: ClassVar[str] = "label"
    conflict: ClassVar[tuple[str, str]] = ("more than one label", "one label")
    is_class: ClassVar[bool] = True
    closed: ClassVar[bool] = True

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A string."""
        import pyarrow as pa

        return pa.string()

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A word as it stands."""
        return None if cell in (None, "") else cls(str(cell))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(str(value))

    def to_json(self) -> str:
        """The name."""
        return self.name

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """One of the names."""
        return {"type": "string", **({"enum": list(names)} if names else {})}

    def names(self) -> tuple[str, ...]:
        """The one name."""
        return (self.name,)

    @classmethod
    def strata(cls, answers: Sequence[Any]) -> list[str]:
        """See :class:`Answer`."""
        return ["" if answer is None else answer.name for answer in answers]

    def said(self) -> str:
        """The name."""
        return self.name


@final
@dataclass(frozen=True, slots=True)
class Labels(NameList):
    """Any number of classes, by name; none is an answer too. The order says nothing."""

    kind: ClassVar[str] = "labels"
    words: ClassVar[tuple[str, str]] = ("set of labels", "sets of labels")
    lack: ClassVar[str] = "label"
    conflict: ClassVar[tuple[str, str]] = ("different labels", "the labels")
    is_class: ClassVar[bool] = True
    closed: ClassVar[bool] = True

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A list of words."""
        if cell is None:
            return None
        if not isinstance(cell, (list, tuple)):
            raise DataError(f"{where} has {str(cell)[:40]!r} where a list of labels is needed", "give a list of words")
        return cls(tuple(map(str, cell)))

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A list of the names."""
        return {"type": "array", "items": Label.schema(names)}

    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.values

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """The same set."""
        return isinstance(other, Labels) and set(self.values) == set(other.values)

    def combined(self) -> str:
        """The names in order, as one label."""
        return " + ".join(sorted(self.values)) or "(none)"

    def said(self) -> str:
        """The names with commas."""
        return ", ".join(self.values) or "(none)"
