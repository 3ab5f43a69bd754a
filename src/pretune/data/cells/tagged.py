"""Rows with words and their tags: from the cells of a table to the text, the words' places in it, and one tag a word in IOB2.

Words are strings (``["EU", "rejects"]``, or one string with blanks), or ``[start, end]`` places in a text. Tags are names, one a
word, numbers of classes that the file names, or spans of the text: ``[start, end, type]`` or ``{"start", "end", "label"}``.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from pretune.answers import Tags
from pretune.answers.schemes import OUTSIDE, Scheme, Span, faults_of, fits, scheme_of, to_iob2
from pretune.data.columns.roles import Roles
from pretune.data.formats.base import Chunk
from pretune.data.labels.lists import is_missing
from pretune.data.text.words import cut_at, words_of
from pretune.errors import DataError

__all__ = ["TagReader", "TaggedRows", "are_places", "items_of", "named_tags", "spans_in"]

_AGREE = 0.95
"""The share of rows that say how tags are written; a tag of the others that is none of these is a mistake to be named."""
_WRITTEN = re.compile(r"\[.*\]", re.DOTALL)
_TOKEN = re.compile(r"\S+")
_STARTS, _ENDS = ("start", "start_offset", "begin", "from"), ("end", "end_offset", "stop", "to")
_TYPES = ("label", "type", "entity", "tag", "entity_type", "entity_group", "class", "category")


def items_of(cell: Any) -> list[Any] | None:
    """The items of a cell: of a list, of a list written out, or the words between blanks; None where it is missing."""
    if is_missing(cell):
        return None
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if not isinstance(cell, str):
        return [cell]
    if _WRITTEN.fullmatch(cell.strip()):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                return list(read(cell.strip()))
    return cell.split()


def are_places(items: Sequence[Any]) -> bool:
    """Whether items are ``[start, end]`` pairs (and there are any)."""
    return bool(items) and all(
        isinstance(item, (list, tuple)) and len(item) == 2 and all(type(place) is int for place in item)
        for item in items
    )


def spans_in(cell: Any) -> list[Span] | None:
    """The spans of characters that a cell lists, None where it is no list of spans. An empty list is one of none."""
    if not isinstance(cell, (list, tuple)):
        return None
    found = [_span(item) for item in cell]
    return None if None in found else [span for span in found if span is not None]


def _span(item: Any) -> Span | None:
    if isinstance(item, Mapping):
        parts = [next((item[key] for key in keys if key in item), None) for keys in (_STARTS, _ENDS, _TYPES)]
        parts[2] = parts[2][0] if isinstance(parts[2], list) and len(parts[2]) == 1 else parts[2]
    else:
        parts = list(item) if isinstance(item, (list, tuple)) else []
    if len(parts) != 3:
        return None
    start, end, kind = parts
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(kind, str):
        return None
    return Span(start, end, kind) if kind.strip() and bool not in (type(start), type(end)) else None


def named_tags(cell: Any, names: Sequence[str]) -> list[Any] | None:
    """The tags of a cell as words; numbers of classes by ``names``, where those are told. None where the cell is missing."""
    items = items_of(cell)
    if items is None or not names:
        return items
    return [names[item] if type(item) is int and 0 <= item < len(names) else item for item in items]


class TaggedRows(NamedTuple):
    """Of each row the text, the ``[start, end]`` of its words in it, and its tags (None where it has none)."""

    texts: list[str]
    words: list[list[list[int]]]
    tags: list[list[str] | None]


class TagReader:
    """Reads the words and tags of one table. ``names`` are those the file gives to numbers of classes; ``counts`` takes what was mended.

    ``scheme`` is how the tags of the ``sample`` are written; they are given in IOB2. Raises :class:`DataError` naming the row for words
    and tags of different number, a tag of no scheme, a span outside of its text.
    """

    def __init__(
        self,
        roles: Roles,
        names: Sequence[str],
        sample: Iterable[Chunk],
        counts: Counter[str],
        row_name: Callable[[int], str],
    ) -> None:
        self.roles, self.names, self.counts, self.row_name = roles, names, counts, row_name
        self.scheme: Scheme | None = self._scheme(sample)

    def _scheme(self, sample: Iterable[Chunk]) -> Scheme | None:
        if self.roles.tags is None:
            return None
        cells = [cell for chunk in sample for cell in chunk.column(self.roles.tags) if not is_missing(cell)]
        if self.roles.words is None and any(cell and spans_in(cell) is not None for cell in cells):
            return None
        rows = [[str(tag) for tag in named_tags(cell, self.names) or ()] for cell in cells]
        of_entities = [tags for tags in rows if all(map(fits, tags))]
        return scheme_of(of_entities if len(of_entities) >= _AGREE * len(rows) else rows)

    def __call__(self, chunk: Chunk, texts: Sequence[str] | None) -> TaggedRows:
        """The rows of a chunk; ``texts`` where they stand beside."""
        roles, nothing = self.roles, [None] * len(chunk.numbers)
        words = nothing if roles.words is None else chunk.column(roles.words)
        tags = nothing if roles.tags is None else chunk.column(roles.tags)
        rows = [
            self._row(cell, tag_cell, text, number)
            for cell, tag_cell, text, number in zip(words, tags, texts or nothing, chunk.numbers, strict=True)
        ]
        return TaggedRows(*map(list, zip(*rows, strict=True))) if rows else TaggedRows([], [], [])

    def _row(
        self, words_cell: Any, tags_cell: Any, text: str | None, number: int
    ) -> tuple[str, list[list[int]], list[str] | None]:
        if self.roles.words is None and self.scheme is None:
            return self._of_spans(tags_cell, text or "", number)
        if self.roles.words is None:
            words = [[*match.span()] for match in _TOKEN.finditer(text or "")]
            tags = self._tags(tags_cell, number)
        else:
            items, tags = items_of(words_cell) or [], self._tags(tags_cell, number)
            if text is not None:
                words = self._places(items, text, number)
            else:
                self._check_number(items, tags, number)
                items, tags = self._filled(items, tags, number)
                text, words = _joined(items)
        self._check_number(words, tags, number)
        return text or "", words, None if tags is None else self._in_iob2(tags, number)

    def _check_number(self, words: Sequence[Any], tags: Sequence[str] | None, number: int) -> None:
        if tags is not None and len(words) != len(tags):
            raise DataError(
                f"{self.row_name(number)} has {len(words)} words and {len(tags)} tags",
                "each word needs one tag: mend the row, or leave it out of the file",
            )

    def _filled(self, items: list[Any], tags: list[str] | None, number: int) -> tuple[list[str], list[str] | None]:
        """The words that are not blank, with their tags."""
        if not all(isinstance(item, (str, int, float)) for item in items):
            raise DataError(
                f"{self.row_name(number)} has {str(items)[:60]} in the column {self.roles.words!r} where words are needed",
                'give a list of words, such as ["EU", "rejects"], or [start, end] places beside --column text=NAME',
            )
        words = [str(item).strip() for item in items]
        if "" not in words:
            return words, tags
        self.counts["blank_words"] += words.count("")
        kept = [place for place, word in enumerate(words) if word]
        return [words[place] for place in kept], None if tags is None else [tags[place] for place in kept]

    def _places(self, items: Sequence[Any], text: str, number: int) -> list[list[int]]:
        ends = [0, *(item[1] for item in items)] if are_places(items) else []
        fits_text = all(before <= start < end <= len(text) for before, (start, end) in zip(ends, items, strict=False))
        if items and not (ends and fits_text):
            raise DataError(
                f"{self.row_name(number)} has words that are no places in its text, in order: {str(list(items))[:60]}",
                "give [start, end] of each word in characters; of words as strings the text is made: leave --column text out",
            )
        return [list(item) for item in items]

    def _tags(self, cell: Any, number: int) -> list[str] | None:
        tags = named_tags(cell, self.names)
        if tags and all(type(tag) is int for tag in tags):
            raise DataError(
                f"{self.row_name(number)} has numbers as tags ({str(tags)[:40]}), and the file does not name them",
                "write the tags as words (B-PER, O), or give Parquet as the datasets library saves it, which names its classes",
            )
        answer = None if tags is None else Tags.read(tags, self.row_name(number))
        return None if answer is None else answer.to_json()

    def _in_iob2(self, tags: list[str], number: int) -> list[str]:
        assert self.scheme is not None, "spans have no scheme"
        if self.scheme != "plain" and not all(map(fits, tags)):
            odd = next(tag for tag in tags if not fits(tag))
            raise DataError(
                f"{self.row_name(number)} has the tag {odd!r}, and others are written in {self.scheme}: O, B-TYPE, I-TYPE",
                "mend the tag, or name another column: --column tags=NAME",
            )
        faults = faults_of(tags, self.scheme)
        self.counts["tags_out_of_place"] += faults
        return to_iob2(tags, self.scheme) if faults or self.scheme != "IOB2" else tags

    def _of_spans(self, cell: Any, text: str, number: int) -> tuple[str, list[list[int]], list[str] | None]:
        spans = None if is_missing(cell) else spans_in(cell)
        if spans is None and not is_missing(cell):
            raise DataError(
                f"{self.row_name(number)} has {str(cell)[:60]} in the column {self.roles.tags!r} where spans are needed",
                'give a list of [start, end, type], or of {"start": 0, "end": 5, "label": "PER"}, in characters of the text',
            )
        kept = self._apart([self._trimmed(span, text, number) for span in spans or ()])
        words = cut_at(words_of(text), (place for span in kept for place in span[:2]))
        if spans is None:
            return text, words, None
        tags = [OUTSIDE] * len(words)
        for start, end, kind in kept:
            inside = [place for place, word in enumerate(words) if start <= word[0] and word[1] <= end]
            for place in inside:
                tags[place] = f"{'B' if place == inside[0] else 'I'}-{kind}"
        return text, words, tags

    def _trimmed(self, span: Span, text: str, number: int) -> Span:
        """The span without blanks at its ends."""
        start, end, kind = span
        inner = text[start:end] if 0 <= start < end <= len(text) else ""
        if not inner.strip():
            raise DataError(
                f"{self.row_name(number)} has the span [{start}, {end}, {kind!r}], which holds nothing of its text of {len(text)} characters",
                "count in characters from 0, the end left out; mend the span or leave it out",
            )
        trimmed = Span(start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip()), kind.strip())
        self.counts["spans_with_blanks"] += trimmed[:2] != span[:2]
        return trimmed

    def _apart(self, spans: Sequence[Span]) -> list[Span]:
        """The spans of which none lies over another: the longer of two stays."""
        kept: list[Span] = []
        for span in sorted(set(spans), key=lambda span: (span.start - span.end, span.start, span.type)):
            if all(span.end <= other.start or other.end <= span.start for other in kept):
                kept.append(span)
        self.counts["spans_over_others"] += len(spans) - len(kept)
        return sorted(kept)


def _joined(words: Sequence[str]) -> tuple[str, list[list[int]]]:
    """The words with one blank between, and where each begins and ends."""
    ends = list(accumulate(len(word) + 1 for word in words))
    return " ".join(words), [[end - 1 - len(word), end - 1] for word, end in zip(words, ends, strict=True)]
