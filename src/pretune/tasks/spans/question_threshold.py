"""By how much "no answer" has to be ahead of the best stretch of a passage to be the answer: fitted on validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.metrics.texts.question_answering import answer_scores

__all__ = ["best_threshold"]


def best_threshold(records: Sequence[Mapping[str, Any]]) -> float:
    """The threshold with the largest sum of F1 over records (``no_answer_margin``, ``best``, ``truth``), as SQuAD 2.0's script searches it
    (Rajpurkar et al. 2018): midway between two margins. Of equals the one nearest to even odds.
    """
    margins_N = np.array([record["no_answer_margin"] for record in records], dtype=np.float64)
    texts = [[one["text"] for one in record["truth"]] for record in records]
    given_N = np.array(
        [answer_scores(record["best"]["text"], truth)[1] for record, truth in zip(records, texts, strict=True)]
    )
    none_N = np.array([float(not truth) for truth in texts])
    order = np.argsort(margins_N, kind="stable")
    edges = margins_N[order]
    # With k rows answered (those with the smallest margins), the others are given no answer.
    totals = (
        np.concatenate([[0.0], np.cumsum(given_N[order])])
        + none_N.sum()
        - np.concatenate([[0.0], np.cumsum(none_N[order])])
    )
    between = (edges[1:] + edges[:-1]) / 2 if len(edges) > 1 else np.zeros(0)
    cuts = np.concatenate([[edges[0] - 1.0], between, [edges[-1] + 1.0]])
    splits_ties = np.concatenate([[False], edges[1:] == edges[:-1], [False]])
    totals[splits_ties] = -np.inf
    best = np.flatnonzero(totals >= totals.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best]))]])
