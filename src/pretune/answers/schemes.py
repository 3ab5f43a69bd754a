"""How tags tell where an entity begins and ends: the schemes found by looking, read and turned into one another.

Spans are ``(start, end, type)`` in words, the end left out. Python alone: exports of taggers carry this file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "OUTSIDE",
    "Scheme",
    "Span",
    "entities_of",
    "faults_of",
    "fits",
    "scheme_of",
    "spans_of",
    "strict_spans_of",
    "to_iob2",
]

OUTSIDE = "O"
"""The tag of a word that belongs to nothing."""
Scheme: TypeAlias = Literal["IOB1", "IOB2", "BIOES", "plain"]
"""How tags tell where an entity begins. ``IOB1`` (Ramshaw & Marcus 1995): B- only where it follows one of its type at once. ``IOB2``: B- always.
``BIOES``: the last word has E-, a single one S-; also written BILOU and BMES. ``plain``: tags are no entities (parts of speech)."""


class Span(NamedTuple):
    """An entity: words ``start`` to ``end``, the end left out, and its type."""

    start: int
    end: int
    type: str


_TAG = re.compile(r"[BIESLUM](-.+)?", re.DOTALL)
_LETTERS = {"L": "E", "U": "S", "M": "I"}


def _parts(tag: str) -> tuple[str, str]:
    """The letter of B, I, E, S or O, and the type."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    letter, _, kind = tag.partition("-")
    return _LETTERS.get(letter, letter), kind


def fits(tag: str) -> bool:
    """Whether a tag is one of entities: ``O``, or a letter of a scheme and a type (or none)."""
    return tag == OUTSIDE or _TAG.fullmatch(tag) is not None


def spans_of(tags: Sequence[str], scheme: Scheme = "IOB2") -> list[Span]:
    """The entities of a row, read as conlleval does: what cannot begin an entity in its scheme begins one all the same.

    All schemes but ``plain`` are read alike, as no tag means another thing in another scheme. In ``plain`` words of one tag side by
    side are a span.
    """
    if scheme == "plain":
        tags = [tag if tag == OUTSIDE else f"I-{tag}" for tag in tags]
    spans, start, before, kind_before = [], 0, OUTSIDE, ""
    for at, tag in enumerate([*tags, OUTSIDE]):
        letter, kind = _parts(tag)
        new = letter in "BS" or before in "OES" or kind != kind_before
        if before != OUTSIDE and (new or letter == OUTSIDE):
            spans.append(Span(start, at, kind_before))
        if new:
            start = at
        before, kind_before = letter, kind
    return spans


def strict_spans_of(tags: Sequence[str]) -> list[Span]:
    """The entities of a row in IOB2 to the letter: one begins with B-, and I- tags of its type follow; I- without its B- is none."""
    spans, at = [], 0
    while at < len(tags):
        letter, kind = _parts(tags[at])
        start, at = at, at + 1
        if letter != "B":
            continue
        while at < len(tags) and _parts(tags[at]) == ("I", kind):
            at += 1
        spans.append(Span(start, at, kind))
    return spans


def to_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The same entities in IOB2; ``plain`` tags stay as they are."""
    if scheme == "plain":
        return list(tags)
    changed = [OUTSIDE] * len(tags)
    for start, end, kind in spans_of(tags, scheme):
        ending = f"-{kind}" if kind else ""
        changed[start:end] = [f"B{ending}", *[f"I{ending}"] * (end - start - 1)]
    return changed


def entities_of(
    tags: Sequence[str], places: Sequence[Sequence[int] | None], scheme: Scheme = "IOB2"
) -> list[dict[str, Any]]:
    """The entities by their characters, ``{"start", "end", "type"}``. ``places`` has the characters of each word, None where it has none."""
    found = []
    for start, end, kind in spans_of(tags, scheme):
        first, last = places[start], places[end - 1]
        if first is not None and last is not None:
            found.append({"start": first[0], "end": last[1], "type": kind})
    return found


def _bigrams(tags: Sequence[str]) -> Iterator[tuple[str, str, str, bool]]:
    """Each tag's letter and those before and after it, and whether it goes on with the type before."""
    parts = [_parts(tag) for tag in tags]
    for at, (letter, kind) in enumerate(parts):
        before, kind_before = parts[at - 1] if at else (OUTSIDE, "")
        after, kind_after = parts[at + 1] if at + 1 < len(parts) else (OUTSIDE, "")
        goes_on = before != OUTSIDE and kind == kind_before
        yield letter, before, after if kind_after == kind else OUTSIDE, goes_on


def faults_of(tags: Sequence[str], scheme: Scheme) -> int:
    """How many tags cannot stand where they do in this scheme."""
    if scheme == "plain":
        return 0
    if scheme == "IOB2":
        return sum((letter == "I" and not on) or letter in "ES" for letter, _, _, on in _bigrams(tags))
    if scheme == "IOB1":
        return sum((letter == "B" and not on) or letter in "ES" for letter, _, _, on in _bigrams(tags))
    return sum(
        (letter in "IE" and not (on and before in "BI")) or (letter in "BI" and after not in ("I", "E"))
        for letter, before, after, on in _bigrams(tags)
    )


def scheme_of(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme that rows of tags are written in, found by looking: of IOB1 and IOB2 the one that fewer tags break.

    Where both fit (no B- and no I- that would tell them apart) it is IOB2.
    """
    broken: Counter[str] = Counter()
    ends = False
    for tags in sequences:
        if not all(map(fits, tags)):
            return "plain"
        ends = ends or any(tag[:1] in "ESLUM" for tag in tags)
        broken.update({"IOB1": faults_of(tags, "IOB1"), "IOB2": faults_of(tags, "IOB2")})
    if ends:
        return "BIOES"
    return "IOB1" if broken["IOB1"] < broken["IOB2"] else "IOB2"
