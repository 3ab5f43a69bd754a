"""Rows that are right in every way they are asked in: an intent and all slots of a sentence, say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient

__all__ = ["RowsRight"]


@final
class RowsRight(Metric):
    """The share of rows whose record says that they are ``right``."""

    answer: ClassVar[str] = "right"
    primary: str = "rows_right"
    needs_truth: ClassVar[bool] = False
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "rows_right": ScoreSpec(rising=True, title="rows wholly right", limits=(0.0, 1.0), of_right_rows=True)
    }

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`."""
        right_N = np.array([bool(record["right"]) for record in records])
        stats_N2 = np.stack([right_N.astype(np.float64), np.ones(len(right_N))], axis=1)
        return Sums(stats_N2, lambda sums_K: {"rows_right": quotient(sums_K[..., 0], sums_K[..., 1])}, right_N)
