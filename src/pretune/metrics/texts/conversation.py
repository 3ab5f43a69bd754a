"""Scores of answers in conversations: how likely the right ones are, and how the written ones are like them.

Shapes: N rows, K = 26 statistics of a row: the four of :data:`~pretune.metrics.texts.language_model.LIKELIHOOD` over all answers of its
conversation, 18 of chrF (:mod:`pretune.metrics.texts.ngrams`) of the last answer, whether that one came to its end, 1 where one was written; whether the
right one was picked among 20, and 1 where that was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient
from pretune.metrics.texts.language_model import LIKELIHOOD, LanguageModelMetric, likelihood_scores
from pretune.metrics.texts.ngrams import CHRF_ORDER, chrf_of, chrf_statistics
from pretune.metrics.texts.writing import references_of

__all__ = ["ConversationMetric"]

_CHRF = len(LIKELIHOOD)
_ENDED = _CHRF + 3 * CHRF_ORDER


def _row(record: Record) -> list[float]:
    """A simple method may have one half alone: it writes and tells no likelihoods, or the reverse."""
    likely = [float(record.get(name, 0.0)) for name in LIKELIHOOD]
    said, picked = record.get("target"), record.get("picked")
    asked = [0.0, 0.0] if picked is None else [float(picked), 1.0]
    if said is None:
        return [*likely, *[0.0] * (3 * CHRF_ORDER), 0.0, 0.0, *asked]
    is_ended = record.get("finish_reason", "end") != "length"
    return [*likely, *chrf_statistics(said, references_of(record)), float(is_ended), 1.0, *asked]


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    written = sums_K[..., _ENDED + 1]
    chrf = np.where(written > 0, chrf_of(sums_K[..., _CHRF:_ENDED]), np.nan)[()]
    likely = likelihood_scores(sums_K[..., :_CHRF])
    likely["perplexity"] = np.where(sums_K[..., 1] > 0, likely["perplexity"], np.nan)[()]
    picked = quotient(sums_K[..., _ENDED + 2], sums_K[..., _ENDED + 3])
    return {**likely, "chrf": chrf, "ended": quotient(sums_K[..., _ENDED], written), "hits_at_1": picked}


@final
class ConversationMetric(Metric):
    """How well answers are told, end marks included, and how the ones that are written look."""

    answer: ClassVar[str] = "target"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        **LanguageModelMetric.specs,
        "chrf": ScoreSpec(rising=True, unit="points", title="chrF2"),
        "ended": ScoreSpec(rising=True, title="answers that come to an end"),
        "hits_at_1": ScoreSpec(rising=True, title="right answers picked among 20"),
    }
    watch: ClassVar[Mapping[str, ScoreSpec]] = {
        "token_loss": ScoreSpec(rising=False, unit="nats", title="loss of a token, told those before it")
    }
    primary: str = "bits_per_byte"

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`."""
        stats = [_row(record) for record in records]
        return Sums(np.array(stats, dtype=np.float64).reshape(-1, _ENDED + 4), _scores)

    def signature(self, records: Iterable[Record]) -> str:
        """What chrF was computed of, in sacrebleu's words."""
        return f"chrF2 of the last answer|case:mixed|eff:yes|nc:{CHRF_ORDER}|nw:0|space:no (as sacrebleu 2.6 computes it)"  # fmt: skip
