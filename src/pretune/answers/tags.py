"""A tag for each word of a row: entities, slots, parts of speech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from pretune.answers.base import NameList, Trouble
from pretune.answers.schemes import OUTSIDE, scheme_of, strict_spans_of
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["Tags"]

_FEW, _SHOWN = 5, 6


@final
@dataclass(frozen=True, slots=True)
class Tags(NameList):
    """One tag a word, in the words' order; entities in the IOB2 form (Ramshaw & Marcus 1995, as CoNLL-2002 writes it)."""

    kind: ClassVar[str] = "tags"
    words: ClassVar[tuple[str, str]] = ("row of tags", "rows of tags")
    short: ClassVar[bool] = False
    lack: ClassVar[str] = "tags"
    conflict: ClassVar[tuple[str, str]] = ("different tags", "the tags")
    is_class: ClassVar[bool] = True
    placed: ClassVar[str] = "the tags of these rows belong to words at their places in the text"

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
        """Words of each tag and entities of each type, the commonest first, and rows without any but ``O``."""
        counts: Counter[str] = Counter()
        types: Counter[str] = Counter()
        rows = bare = missing = 0
        for answer in answers:
            if answer is None:
                missing += 1
                continue
            rows += 1
            counts.update(answer.values)
            types.update(span.type for span in strict_spans_of(answer.values))
            bare += not answer.names()
        if not rows:
            return None
        plain = scheme_of([tuple(counts)]) == "plain"
        drawn = counts if plain else types
        shown = ", ".join(f"{name or 'entity'} {count:,}" for name, count in drawn.most_common(_SHOWN))
        more = ", ..." if len(drawn) > _SHOWN else ""
        what = f"words with {counted(len(drawn), 'tag')}" if plain else f"entities of {counted(len(drawn), 'type')}"
        without = f"; {counted(bare)} without any" if bare else ""
        said = f"{drawn.total():,} {what}{': ' if shown else ''}{shown}{more}{without}"
        return {
            "rows": rows, "missing": missing, "without_any": bare, "words": counts.total(), "plain": plain,
            "counts": dict(counts.most_common()), "entities": {} if plain else dict(types.most_common()),
            "bars": {"title": "Words of each tag" if plain else "Entities of each type", "counts": dict(drawn.most_common())},
            "sentence": said, "tile": ["tags" if plain else "types of entity", f"{len(drawn):,}"],
        }  # fmt: skip

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """No entity to learn from, and types with few."""
        if split != "train":
            return
        if set(figures["counts"]) <= {OUTSIDE}:
            message = "No word of train has a tag but O: there is nothing to learn."
            yield Trouble("error", "no-entity", message, figures["rows"], "name another column: --column tags=NAME")
        rare = {name: count for name, count in figures["bars"]["counts"].items() if count < _FEW}
        if rare:
            shown = ", ".join(f"“{name}” ({count})" for name, count in list(rare.items())[:_SHOWN])
            what = "tag" if figures["plain"] else "type"
            message = (
                f"{counted(len(rare), what)} of train {agree(len(rare), 'have', 'has')} fewer than {_FEW} "
                f"{'words' if figures['plain'] else 'entities'}: {shown}{', ...' if len(rare) > _SHOWN else ''}."
            )
            yield Trouble(
                "warning", "rare-tag", message, len(rare), f"tag more of these {what}s, or merge them with others"
            )
