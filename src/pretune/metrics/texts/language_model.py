"""Scores of a model that tells texts token by token, as functions of sums over rows.

Shapes: N rows, K = 4 statistics of a row: negative log-likelihood in nats, tokens that were told, bytes of the text in UTF-8,
tokens that were the likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from pretune.answers import Text
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient

__all__ = ["LIKELIHOOD", "LanguageModelMetric", "likelihood_scores"]

LIKELIHOOD = ("nll", "tokens", "bytes", "right")
"""The statistics of a row, by the names that a record has them under."""


def likelihood_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Every score of (..., 4) sums.

    ``bits_per_byte`` compares models of any tokenizers (Gao et al. 2020, arXiv 2101.00027, section 3.1); ``perplexity`` and
    ``next_token_accuracy`` are of tokens, and only of use beside a model with the same ones.
    """
    nats = quotient(sums_K[..., 0], sums_K[..., 1])
    return {
        "bits_per_byte": quotient(sums_K[..., 0] / math.log(2), sums_K[..., 2]),
        "perplexity": np.exp(np.minimum(nats, 700)),
        "next_token_accuracy": quotient(sums_K[..., 3], sums_K[..., 1]),
    }


@final
class LanguageModelMetric(Metric):
    """How likely the rows are, end marks included. A record says it by itself."""

    answer: ClassVar[str] = Text.kind
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "bits_per_byte": ScoreSpec(rising=False, unit="bits", title="bits per byte"),
        "perplexity": ScoreSpec(rising=False, unit="number"),
        "next_token_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0)),
    }
    primary: str = "bits_per_byte"
    needs_truth: ClassVar[bool] = False

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`Metric`."""
        stats = [[float(record[name]) for name in LIKELIHOOD] for record in records]
        return Sums(np.array(stats, dtype=np.float64).reshape(-1, len(LIKELIHOOD)), likelihood_scores)
