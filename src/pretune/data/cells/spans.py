"""Answers found in their passages: at the character that was told, or, where it does not stand there, near it.

Offsets in bytes or in UTF-16 units (as programs in C, Go or JavaScript count) are turned into characters; an answer that stands
elsewhere is moved to the nearest place; one that stands nowhere stays without a place. Each change is counted.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pretune.answers import AnswerSpan
from pretune.answers.span import NOWHERE, Reference
from pretune.wording import agree, counted

__all__ = ["SpanReader", "groups_of_passages", "span_notes"]

_MOST_SCANNED = 1000


class SpanReader:
    """Reads the answers of rows and finds them in their passages; ``counts`` takes what was found elsewhere, and what nowhere."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    def __call__(self, cell: Any, passage: str, where: str) -> list[dict[str, Any]] | None:
        """The answers of a row as JSON values, None where the cell is missing. Raises :class:`~pretune.errors.DataError`."""
        answer = AnswerSpan.read(cell, where)
        if answer is None:
            return None
        if not answer.references:
            self.counts["questions_without_answer"] += 1
            return []
        placed = dict.fromkeys(self._placed(_sound(one), passage) for one in answer.references)
        lost = sum(one.start == NOWHERE for one in placed)
        self.counts["answers_not_found"] += lost
        self.counts["questions_not_found"] += lost == len(placed)
        return AnswerSpan(tuple(placed)).to_json()

    def _placed(self, told: Reference, passage: str) -> Reference:
        text = told.text.strip()
        start = told.start if told.start == NOWHERE else told.start + len(told.text) - len(told.text.lstrip())
        if start != NOWHERE and passage.startswith(text, start):
            return Reference(text, start)
        if start != NOWHERE and (place := _in_units(passage, text, told, "utf-8")) is not None:
            self.counts["answers_placed_in_bytes"] += 1
            return Reference(text, place)
        if start != NOWHERE and (place := _in_units(passage, text, told, "utf-16-le")) is not None:
            self.counts["answers_placed_in_utf16"] += 1
            return Reference(text, place)
        found = _occurrences(text, passage)
        if not found:
            return Reference(text, NOWHERE)
        if start == NOWHERE:
            self.counts["answers_searched"] += 1
            self.counts["answers_in_several_places"] += len(found) > 1
            first, end = found[0]
        else:
            self.counts["answers_moved"] += 1
            first, end = min(found, key=lambda span: abs(span[0] - start))
        return Reference(passage[first:end], first)


def _sound(one: Reference) -> Reference:
    return Reference(one.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), one.start)


def _in_units(passage: str, text: str, told: Reference, encoding: str) -> int | None:
    """The character at which the answer begins, where its start counts bytes of UTF-8 or units of UTF-16."""
    size = 2 if encoding.startswith("utf-16") else 1
    whole, begin = passage.encode(encoding), told.start * size
    if not whole.startswith(told.text.encode(encoding), begin):
        return None
    return len(whole[:begin].decode(encoding, "ignore")) + len(told.text) - len(told.text.lstrip())


def _occurrences(text: str, passage: str) -> list[tuple[int, int]]:
    """Where the text stands, in characters: to the letter, else with other blanks or in other case."""
    words = text.split()
    for pattern, flags in ((re.escape(text), 0), (r"\s+".join(map(re.escape, words)), re.IGNORECASE)):
        found = [
            match.span() for match, _ in zip(re.finditer(pattern, passage, flags), range(_MOST_SCANNED), strict=False)
        ]
        if found:
            return found
    return []


def groups_of_passages(passages: Sequence[str], groups: Sequence[str | None] | None) -> list[str | None]:
    """The group of each row, and for rows without one its passage: no passage may stand on two sides of a split."""
    told = [None] * len(passages) if groups is None else groups
    return [
        f"passage {hashlib.blake2b(passage.encode(), digest_size=8).hexdigest()}" if group is None else group
        for passage, group in zip(passages, told, strict=True)
    ]


_SAID = {
    "answers_placed_in_bytes": ("answer", "{n} {was} placed in bytes of UTF-8, and now by {its} characters."),
    "answers_placed_in_utf16": ("answer", "{n} {was} placed in units of UTF-16 (as JavaScript counts), and now by {its} characters."),
    "answers_moved": ("answer", "{n} {does} not stand at the character that the data tells, and {was} found elsewhere in the passage, as near as there is."),
    "answers_searched": ("answer", "{n} {comes} without a place, and {was} searched in the passage."),
    "answers_in_several_places": ("answer", "{n} of these {stands} in several places; the first was taken."),
    "answers_not_found": ("answer", "{n} {does} not stand in {its} passage."),
    "questions_without_answer": ("question", "{n} {has} no answer in {its} passage, as the data says."),
    "empty_passages": ("question", "{n} {has} an empty passage: nothing can be answered there."),
}  # fmt: skip


def span_notes(counts: Mapping[str, int]) -> list[str]:
    """Sentences on what was found elsewhere than told, and what nowhere."""
    notes = []
    for name, (noun, said) in _SAID.items():
        if count := counts.get(name, 0):
            words = {
                "was": agree(count, "were", "was"), "its": agree(count, "their", "its"), "does": agree(count, "do", "does"),
                "has": agree(count, "have", "has"), "comes": agree(count, "come", "comes"), "stands": agree(count, "stand", "stands"),
            }  # fmt: skip
            notes.append(said.format(n=counted(count, noun), **words))
    return notes
