"""Scores of rows with a tag a word: entities found whole, in the strict reading of IOB2 and in the lenient one of conlleval.

Spans are ``(start, end, type)`` in words, the end left out. Shapes: N rows, T types of entity, K = 3T + 3 + 4 columns of
statistics: right, predicted and true entities of each type (strict); the same of all types (lenient); right words, words, row
wholly right, 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, final

import numpy as np

from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of
from pretune.metrics.classification import ratio

__all__ = [
    "Scheme",
    "Span",
    "TaggingMetric",
    "by_type",
    "faults_of",
    "scheme_of",
    "spans_of",
    "strict_spans_of",
    "to_iob2",
]

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
_OUTSIDE = "O"


def _parts(tag: str) -> tuple[str, str]:
    """The letter of B, I, E, S or O, and the type."""
    if tag == _OUTSIDE:
        return _OUTSIDE, ""
    letter, _, kind = tag.partition("-")
    return _LETTERS.get(letter, letter), kind


def spans_of(tags: Sequence[str], scheme: Scheme = "IOB2") -> list[Span]:
    """The entities of a row, read as conlleval does: what cannot begin an entity in its scheme begins one all the same.

    All schemes but ``plain`` are read alike, as no tag means another thing in another scheme. In ``plain`` words of one tag side by
    side are a span.
    """
    if scheme == "plain":
        tags = [tag if tag == _OUTSIDE else f"I-{tag}" for tag in tags]
    spans, start, before, kind_before = [], 0, _OUTSIDE, ""
    for at, tag in enumerate([*tags, _OUTSIDE]):
        letter, kind = _parts(tag)
        new = letter in "BS" or before in "OES" or kind != kind_before
        if before != _OUTSIDE and (new or letter == _OUTSIDE):
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
    changed = [_OUTSIDE] * len(tags)
    for start, end, kind in spans_of(tags, scheme):
        ending = f"-{kind}" if kind else ""
        changed[start:end] = [f"B{ending}", *[f"I{ending}"] * (end - start - 1)]
    return changed


def _bigrams(tags: Sequence[str]) -> Iterator[tuple[str, str, str, bool]]:
    """Each tag's letter and those before and after it, and whether it goes on with the type before."""
    parts = [_parts(tag) for tag in tags]
    for at, (letter, kind) in enumerate(parts):
        before, kind_before = parts[at - 1] if at else (_OUTSIDE, "")
        after, kind_after = parts[at + 1] if at + 1 < len(parts) else (_OUTSIDE, "")
        goes_on = before != _OUTSIDE and kind == kind_before
        yield letter, before, after if kind_after == kind else _OUTSIDE, goes_on


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
        if not all(tag == _OUTSIDE or _TAG.fullmatch(tag) for tag in tags):
            return "plain"
        ends = ends or any(tag[:1] in "ESLUM" for tag in tags)
        broken.update({"IOB1": faults_of(tags, "IOB1"), "IOB2": faults_of(tags, "IOB2")})
    if ends:
        return "BIOES"
    return "IOB1" if broken["IOB1"] < broken["IOB2"] else "IOB2"


class _Row(NamedTuple):
    truth: Sequence[str]
    said: Sequence[str]

    def counts(self, read: Any) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Right, predicted and true entities by type."""
        truth, said = set(read(self.truth)), set(read(self.said))
        right, predicted, true = (Counter(span.type for span in spans) for spans in (truth & said, said, truth))
        return right, predicted, true


def _row_of(record: Record) -> _Row:
    said = record["tags"]
    truth = truth_of(record, lambda tags: isinstance(tags, list | tuple), "a list of tags")
    if len(truth) != len(said):
        raise DataError(
            f"row {record['id']} has {len(truth)} tags and is answered by {len(said)}", "one tag a word is expected"
        )
    return _Row(truth, said)


def _strict_counts(rows: Sequence[_Row]) -> tuple[tuple[str, ...], np.ndarray]:
    """The types that occur, and right, predicted and true entities of each (N, T, 3)."""
    counts = [row.counts(strict_spans_of) for row in rows]
    types = tuple(sorted({kind for each in counts for one in each for kind in one}))
    table = [[[one[kind] for one in each] for kind in types] for each in counts]
    return types, np.array(table, dtype=np.float64).reshape(len(rows), len(types), 3)


def _precision_recall_f1(counts_3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of right, predicted and true ones (..., 3): 0 where one of the last two is missing, not defined where both are."""
    right, predicted, true = np.moveaxis(counts_3, -1, 0)
    none = predicted + true <= 0
    precision, recall = (np.where(none, np.nan, ratio(right, below))[()] for below in (predicted, true))
    return precision, recall, quotient(2 * right, predicted + true)


def _type_scores(counts_3: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(("precision", "recall", "f1"), _precision_recall_f1(counts_3), strict=True))


def by_type(records: Iterable[Record]) -> dict[str, Sums]:
    """For each type of entity its strict ``precision``, ``recall`` and ``f1``, to draw intervals from; ``stats_NK`` (N, 3) has the right,
    predicted and true ones of each row."""
    types, table_NT3 = _strict_counts([_row_of(record) for record in records])
    return {kind: Sums(table_NT3[:, at], _type_scores) for at, kind in enumerate(types)}


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    types_T3 = sums_K[..., :-7].reshape((*sums_K.shape[:-1], -1, 3))
    precision, recall, f1 = _precision_recall_f1(types_T3.sum(-2))
    right_words, words, exact, rows = np.moveaxis(sums_K[..., -4:], -1, 0)
    occurs_T = types_T3[..., 1:].sum(-1) > 0
    f1_T = np.where(occurs_T, _precision_recall_f1(types_T3)[2], 0.0)
    return {
        "entity_f1": f1,
        "entity_precision": precision,
        "entity_recall": recall,
        "entity_f1_macro": quotient(f1_T.sum(-1), occurs_T.sum(-1)),
        "entity_f1_lenient": _precision_recall_f1(sums_K[..., -7:-4])[2],
        "token_accuracy": quotient(right_words, words),
        "exact": quotient(exact, rows),
    }


@final
class TaggingMetric(Metric):
    """Scores of a tag a word, truths and answers in IOB2. A row is right where all its tags are.

    An entity is right where its first and last word and its type are. The strict scores equal seqeval's with ``mode="strict"`` and
    ``scheme=IOB2``, the lenient one its default (and conlleval, Tjong Kim Sang & De Meulder 2003); the macro mean is over types that
    occur in the truth or an answer. Of tags that are no entities the share of right words is the score that counts.
    """

    answer: ClassVar[str] = "tags"
    primary: str = "entity_f1"
    tie_breaker: ClassVar[str | None] = "token_accuracy"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "entity_f1": ScoreSpec(rising=True, title="entity F1", limits=(0.0, 1.0)),
        "entity_precision": ScoreSpec(rising=True, limits=(0.0, 1.0)),
        "entity_recall": ScoreSpec(rising=True, limits=(0.0, 1.0)),
        "entity_f1_macro": ScoreSpec(rising=True, title="macro entity F1", limits=(0.0, 1.0)),
        "entity_f1_lenient": ScoreSpec(rising=True, title="entity F1 (conlleval)", limits=(0.0, 1.0)),
        "token_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0)),
        "exact": ScoreSpec(rising=True, title="rows wholly right", limits=(0.0, 1.0), of_right_rows=True),
    }

    def __init__(self, tags: Sequence[str] = ()) -> None:
        """``tags`` are those the model chooses among."""
        self.plain = scheme_of([tags]) == "plain"
        if self.plain:
            self.primary = "token_accuracy"

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """See :class:`~pretune.metrics.base.Metric`."""
        return cls(about.get("labels") or ())

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` where a row has more or fewer tags than its truth."""
        rows = [_row_of(record) for record in records]
        _, strict_NT3 = _strict_counts([] if self.plain else rows)
        strict_NK = strict_NT3.reshape(len(rows), -1) if len(strict_NT3) else np.zeros((len(rows), 0))
        rest = []
        for row in rows:
            lenient = (0, 0, 0) if self.plain else [one.total() for one in row.counts(spans_of)]
            right = sum(a == b for a, b in zip(row.truth, row.said, strict=True))
            rest.append((*lenient, right, len(row.truth), float(right == len(row.truth)), 1.0))
        rest_N7 = np.array(rest, dtype=np.float64).reshape(-1, 7)
        return Sums(np.concatenate([strict_NK, rest_N7], axis=1), _scores, rest_N7[:, -2] > 0)
