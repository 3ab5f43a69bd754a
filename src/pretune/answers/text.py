"""A text to be written: a transcript, a translation, a summary, a reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer
from pretune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Text"]


@final
@dataclass(frozen=True, slots=True)
class Text(Answer):
    """A text, letter by letter."""

    value: str

    kind: ClassVar[str] = "text"
    words: ClassVar[tuple[str, str]] = ("text", "texts")
    short: ClassVar[bool] = False
    lack: ClassVar[str] = "text"

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A string."""
        import pyarrow as pa

        return pa.string()

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A text as it stands; an empty one is one."""
        if cell is None:
            return None
        if not isinstance(cell, (str, int, float)):
            raise DataError(f"{where} has a {type(cell).__name__} where a text is needed", "mend the row")
        return cls(str(cell))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(str(value))

    def to_json(self) -> str:
        """The text."""
        return self.value

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A string."""
        return {"type": "string"}

    def said(self) -> str:
        """The text on one line."""
        return " ".join(self.value.split())
