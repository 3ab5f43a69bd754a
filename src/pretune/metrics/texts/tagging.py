"""Scores of rows with a tag a word: entities found whole, in the strict reading of IOB2 and in the lenient one of conlleval.

Spans are ``(start, end, type)`` in words, the end left out. Shapes: N rows, T types of entity, K = 3T + 3 + 4 columns of
statistics: right, predicted and true entities of each type (strict); the same of all types (lenient); right words, words, row
wholly right, 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np

from pretune.answers.schemes import scheme_of, spans_of, strict_spans_of
from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of
from pretune.metrics.classification import ratio

__all__ = ["TaggingMetric", "by_type"]


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
