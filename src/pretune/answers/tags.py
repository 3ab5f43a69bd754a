"""A tag for each word of a row: entities, slots, parts of speech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer
from pretune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OUTSIDE", "Tags"]

OUTSIDE = "O"
"""The tag of a word that belongs to nothing."""


@final
@dataclass(frozen=True, slots=True)
class Tags(Answer):
    """One tag a word, in the words' order; entities in the IOB2 form (Ramshaw & Marcus 1995, as CoNLL-2002 writes it)."""

    values: tuple[str, ...]

    kind: ClassVar[str] = "tags"
    words: ClassVar[tuple[str, str]] = ("row of tags", "rows of tags")
    lack: ClassVar[str] = "tags"
    is_class: ClassVar[bool] = True

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of strings."""
        import pyarrow as pa

        return pa.list_(pa.string())

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A list of tags, or tags with blanks between them. Raises :class:`DataError` for anything else."""
        if cell is None or cell == "":
            return None
        tags = cell.split() if isinstance(cell, str) else cell
        if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) and tag for tag in tags):
            raise DataError(
                f"{where} has {str(cell)[:40]!r} where tags are needed",
                'give a list of words such as ["O", "B-PER"], one for each token',
            )
        return cls(tuple(tags))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(tuple(map(str, value)))

    def to_json(self) -> list[str]:
        """The tags."""
        return list(self.values)

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A list of tags."""
        return {"type": "array", "items": {"type": "string", **({"enum": list(names)} if names else {})}}

    def names(self) -> tuple[str, ...]:
        """The tags that are not ``O``, each once: a row of a hundred words is no more a row of persons than one of ten."""
        return tuple(dict.fromkeys(tag for tag in self.values if tag != OUTSIDE))

    def said(self) -> str:
        """The tags with blanks between them."""
        return " ".join(self.values)

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """Words of each tag, the commonest first, and rows without any but ``O``."""
        counts: Counter[str] = Counter()
        rows = bare = missing = 0
        for answer in answers:
            if answer is None:
                missing += 1
                continue
            rows += 1
            counts.update(answer.values)
            bare += not answer.names()
        return {"rows": rows, "missing": missing, "bare": bare, "counts": dict(counts.most_common())} if rows else None
