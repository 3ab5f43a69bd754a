"""A stretch of a passage that answers a question, or none where the passage holds no answer."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, final

from pretune.answers.base import Answer, Trouble
from pretune.errors import DataError
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NOWHERE", "AnswerSpan", "Reference"]

NOWHERE = -1
"""The start of an answer that was not found in its passage, or of which no place was told."""
_BINS = 20
_TEXTS, _STARTS = (
    ("text", "texts", "answer", "answer_text"),
    ("answer_start", "start", "starts", "answer_starts", "offset"),
)
_ARRAY = re.compile(r"array\((\[[^\]]*\])(?:,\s*dtype=\w+)?\)")


class Reference(NamedTuple):
    """One answer: its words, and the character of the passage at which they begin (:data:`NOWHERE` where they are not found)."""

    text: str
    start: int


@final
@dataclass(frozen=True, slots=True)
class AnswerSpan(Answer):
    """The right answers of a question, any of which will do, or what a model answers; empty: the passage holds none."""

    references: tuple[Reference, ...]

    kind: ClassVar[str] = "span"
    words: ClassVar[tuple[str, str]] = ("answer in the passage", "answers in the passage")
    lack: ClassVar[str] = "answer"
    shares_text: ClassVar[bool] = True
    placed: ClassVar[str] = "the answers of these rows stand at their places in the passage"

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of texts with their starts."""
        import pyarrow as pa

        return pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """Answers as SQuAD (Rajpurkar et al. 2016) writes them: ``[{"text", "answer_start"}, ...]``, as the hub does:
        ``{"text": [...], "answer_start": [...]}``, or a text alone. Empty lists say that the passage holds no answer.

        Raises :class:`DataError` for anything else.
        """
        cell = _written_out(cell)
        if cell is None or cell == "":
            return None
        if isinstance(cell, str):
            return cls((Reference(cell, NOWHERE),))
        if isinstance(cell, Mapping):
            found = _of_mapping(cell)
        elif isinstance(cell, (list, tuple)):
            found = [_of_item(item) for item in cell]
        else:
            found = [None]
        if found is None or None in found:
            raise DataError(
                f"{where} has {str(cell)[:60]!r} where answers in the passage are needed",
                'give {"text": ["an answer"], "answer_start": [17]}, or empty lists where the passage holds none',
            )
        return cls(tuple(dict.fromkeys(one for one in found if one is not None and one.text.strip())))

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`; the answer of a record is one object, with an empty text for none."""
        listed = [value] if isinstance(value, Mapping) else value
        return cls(tuple(Reference(one["text"], one["start"]) for one in listed if one["text"]))

    def to_json(self) -> list[dict[str, Any]]:
        """``[{"text", "start"}, ...]``."""
        return [one._asdict() for one in self.references]

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """One stretch of the passage."""
        place = {"type": "integer", "minimum": NOWHERE}
        return {
            "type": "object",
            "required": ["text", "start", "end"],
            "properties": {
                "text": {"type": "string", "description": "empty where the passage holds no answer"},
                "start": {**place, "description": "first character in the passage, in code points; -1 for no answer"},
                "end": {**place, "description": "the one behind the last"},
            },
        }

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """The same words at the same place, where both tell one; of several answers any will do."""
        if not isinstance(other, AnswerSpan):
            return False
        if not self.references or not other.references:
            return self.references == other.references
        return any(
            a.text == b.text and (a.start == b.start or NOWHERE in (a.start, b.start))
            for a in self.references
            for b in other.references
        )

    def said(self) -> str:
        """The different answers in one line."""
        return " / ".join(dict.fromkeys(" ".join(one.text.split()) for one in self.references)) or "(no answer)"

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """Questions with and without an answer, answers of one question, those that were not found, and how long they are."""
        import numpy as np

        lengths: list[int] = []
        rows = missing = impossible = lost = several = 0
        for answer in answers:
            if answer is None:
                missing += 1
                continue
            rows += 1
            impossible += not answer.references
            several += len({one.text for one in answer.references}) > 1
            lost += bool(answer.references) and all(one.start == NOWHERE for one in answer.references)
            lengths += [len(one.text) for one in answer.references[:1]]
        if not rows:
            return None
        said = f"{counted(rows - impossible, 'question')} with an answer"
        said += f", {impossible:,} without" if impossible else ""
        found: dict[str, Any] = {
            "rows": rows, "missing": missing, "impossible": impossible, "several": several, "not_found": lost,
        }  # fmt: skip
        if lengths:
            counts, edges = np.histogram(lengths, bins=min(_BINS, len(set(lengths))))
            found["histogram"] = {"edges": edges.tolist(), "counts": counts.tolist()}
            said += f"; answers of {min(lengths):,} to {max(lengths):,} characters, median {np.median(lengths):g}"
        said += f"; {several:,} with several right answers" if several else ""
        return {**found, "sentence": said, "tile": ["without an answer", f"{impossible / rows:.0%}"]}

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """Answers that are not in their passages; nothing to learn from; questions without an answer on one side only."""
        rows, impossible = figures["rows"], figures["impossible"]
        if split == "train" and rows == impossible:
            message = "No question of train has an answer in its passage: there is nothing to learn."
            yield Trouble("error", "no-answer", message, rows, "name another column: --column span=NAME")
        if lost := figures["not_found"]:
            message = (
                f"The answers to {counted(lost, 'question')} of {split} do not stand in their passages: nothing is learned from "
                f"{agree(lost, 'them', 'it')}, and no place answers {agree(lost, 'them', 'it')} right."
            )
            fix = "mend them, or give passages as they were when the answers were marked"
            yield Trouble("warning", "answer-not-found", message, lost, fix)
        if split in ("validation", "test") and train is not None and impossible and not train["impossible"]:
            message = (
                f"{counted(impossible, 'question')} of {split} {agree(impossible, 'have', 'has')} no answer, and train has none "
                "of that kind: a model that learned from it answers every question."
            )
            yield Trouble(
                "warning", "unlearned-no-answer", message, impossible, "put questions without an answer in train"
            )


def _written_out(cell: Any) -> Any:
    """The value of a cell that is JSON or a Python literal (as tables of pandas hold, arrays in them too)."""
    if not isinstance(cell, str) or not cell.strip().startswith(("{", "[")):
        return cell.strip() if isinstance(cell, str) else cell
    text = _ARRAY.sub(r"\1", cell.strip())
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            value = read(text)
            if isinstance(value, (dict, list)) and (isinstance(value, dict) or all(isinstance(i, dict) for i in value)):
                return value
    return cell.strip()


def _value(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if name in item), None)


def _of_item(item: Any) -> Reference | None:
    if isinstance(item, str):
        return Reference(item, NOWHERE)
    if not isinstance(item, Mapping):
        return None
    return _reference(_value(item, _TEXTS), _value(item, _STARTS))


def _of_mapping(cell: Mapping[str, Any]) -> list[Reference | None] | None:
    texts, starts = _value(cell, _TEXTS), _value(cell, _STARTS)
    if isinstance(texts, str):
        return [_reference(texts, starts)]
    if not isinstance(texts, (list, tuple)) or not isinstance(starts, (list, tuple, type(None))):
        return None
    starts = [None] * len(texts) if starts is None else starts
    return [_reference(*both) for both in zip(texts, starts, strict=True)] if len(starts) == len(texts) else None


def _reference(text: Any, start: Any) -> Reference | None:
    if isinstance(start, str) and start.strip().isdigit():
        start = int(start)
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    is_place = start is None or (isinstance(start, int) and not isinstance(start, bool))
    if not isinstance(text, str) or not is_place:
        return None
    return Reference(text, NOWHERE if start is None else max(int(start), NOWHERE))
