"""Scores of texts as points: how often a text's own pair is the nearest of all, or how far nearness goes with a score that people gave.

Shapes: N rows, K = 4 statistics of a row: 1, was its pair the nearest, was it among the ten nearest, one over its rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, final

import numpy as np

from pretune.answers import Vector
from pretune.errors import DataError
from pretune.metrics.base import Joined, Measured, Metric, Record, ScoreSpec, Sums, quotient, truth_of
from pretune.metrics.regression import RankCorrelation, regression_scores, regression_statistics

__all__ = ["MOST_NEAR", "EmbeddingMetric", "ranks_of"]

MOST_NEAR = 10
_BLOCK_ROWS = 1024
_ALIKE = 1e-6
"""Cosines that lie closer are those of one and the same text."""

_RETRIEVAL: Mapping[str, ScoreSpec] = {
    "recall_at_1": ScoreSpec(rising=True, title="recall@1", limits=(0.0, 1.0), of_right_rows=True),
    "recall_at_10": ScoreSpec(rising=True, title="recall@10", limits=(0.0, 1.0)),
    "mrr": ScoreSpec(rising=True, unit="number", title="mean reciprocal rank"),
}
_SIMILARITY: Mapping[str, ScoreSpec] = {
    "spearman": ScoreSpec(rising=True, unit="number", title="Spearman correlation", limits=(-1.0, 1.0)),
    "pearson": ScoreSpec(rising=True, unit="number", title="Pearson correlation", limits=(-1.0, 1.0)),
}


def ranks_of(text_ND: np.ndarray, pair_ND: np.ndarray) -> np.ndarray:
    """The place of each text's own pair among all pairs by their cosine, (N,) from 1. Vectors have length 1.

    Another pair is before it where it is nearer and another text; the pairs of a text that is the same are right, too. It is
    found block by block: memory grows with N, time with its square.
    """
    rank_N = np.ones(len(text_ND), dtype=np.int64)
    own_N = np.einsum("nd,nd->n", text_ND, pair_ND)
    for start in range(0, len(text_ND), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        is_nearer = text_ND[rows] @ pair_ND.T > own_N[rows, None] + _ALIKE
        is_other = (text_ND[rows] @ text_ND.T < 1 - _ALIKE) & (pair_ND[rows] @ pair_ND.T < 1 - _ALIKE)
        rank_N[rows] += (is_nearer & is_other).sum(axis=1)
    return rank_N


def _retrieval_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    rows, first, near, reciprocal = np.moveaxis(sums_K, -1, 0)
    return {
        "recall_at_1": quotient(first, rows),
        "recall_at_10": quotient(near, rows),
        "mrr": quotient(reciprocal, rows),
    }


def _similarity_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    return {"pearson": regression_scores(sums_K)["pearson"]}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@final
class EmbeddingMetric(Metric):
    """Scores of pairs of texts. Where people gave them a score (``scored``) correlations of the cosine with it; else how often the pair
    is found among those of all rows that were measured together: a record says its ``rank``, so that the pool stays whole
    whatever the rows weigh.
    """

    answer: ClassVar[str] = Vector.kind
    specs: ClassVar[Mapping[str, ScoreSpec]] = {**_RETRIEVAL, **_SIMILARITY}
    primary: str = "recall_at_1"
    tie_breaker: ClassVar[str | None] = None

    def __init__(self, *, scored: bool = False) -> None:
        self.scored = scored
        self.primary = "spearman" if scored else "recall_at_1"
        vars(self)["specs"] = _SIMILARITY if scored else _RETRIEVAL  # this use's own, of those of the class

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """Scored where the range of the scores was learned."""
        return cls(scored="low" in about)

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`. Raises :class:`DataError` for a row without a pair, or without a score where there are some."""
        return self._similarity(list(records)) if self.scored else self._retrieval(list(records))

    def _similarity(self, records: list[Record]) -> Measured:
        truth_N = np.array([float(truth_of(record, _is_number, "a number")) for record in records])
        return self.of_cosines(truth_N, np.array([float(_told(record, "similarity")) for record in records]))

    def of_cosines(self, truth_N: np.ndarray, cosine_N: np.ndarray) -> Joined:
        """The correlations of cosines with the scores of people, (N,) both."""
        sums = Sums(regression_statistics(truth_N, cosine_N), _similarity_scores)
        return Joined([sums, RankCorrelation(truth_N, cosine_N)])

    def _retrieval(self, records: list[Record]) -> Measured:
        return self.of_ranks(np.array([int(_told(record, "rank")) for record in records], dtype=np.int64))

    def of_ranks(self, rank_N: np.ndarray) -> Sums:
        """The scores of ranks (N,)."""
        columns = (np.ones(len(rank_N)), rank_N == 1, rank_N <= MOST_NEAR, 1.0 / np.maximum(rank_N, 1))
        return Sums(np.stack(columns, axis=1).astype(np.float64), _retrieval_scores, rank_N == 1)


def _told(record: Record, name: str) -> float:
    if name not in record:
        raise DataError(
            f"row {record.get('id')} has no {name}: it is no pair of texts", "name the second: --column text_pair=NAME"
        )
    return record[name]
