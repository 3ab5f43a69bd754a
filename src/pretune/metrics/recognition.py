"""Scores of speech recognition, as functions of sums over rows.

Shapes: N rows, K = 10 statistics of a row: words, and wrong, extra and missing ones; the same of characters; whether the row
is wholly right; 1. Every score is a function of the K sums, so :mod:`pretune.evaluation.intervals` resamples them as any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, final

import numpy as np

from pretune.backbones.text.characters import tidy
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums

__all__ = ["RecognitionMetric", "confusions", "recognition_scores", "recognition_statistics"]

_EXACT = 8


def _edits(truth: Sequence[str], said: Sequence[str]) -> tuple[int, int, int, int]:
    """Units of the truth, and those replaced, inserted and deleted on a shortest way from it to what was said."""
    from rapidfuzz.distance import Levenshtein

    kinds = Counter(step.tag for step in Levenshtein.editops(truth, said))
    return len(truth), kinds["replace"], kinds["insert"], kinds["delete"]


def recognition_statistics(records: Iterable[Record]) -> np.ndarray:
    """Statistics (N, 10) of lines of a predictions file; words are what stands between spaces, characters include spaces."""
    rows = []
    for record in records:
        truth, said = tidy(record["truth"]), tidy(record["text"])
        words = _edits(truth.split(), said.split())
        rows.append((*words, *_edits(truth, said), float(truth == said), 1.0))
    return np.array(rows, dtype=np.float64).reshape(-1, 10)


def recognition_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Every score of :class:`RecognitionMetric`, from sums (..., 10) to arrays (...).

    ``wer`` and ``cer`` are substitutions, insertions and deletions over the words (characters) of the truth; they can be larger
    than 1. ``substitutions``, ``insertions`` and ``deletions`` are the parts of ``wer``. ``exact`` is the share of rows without a mistake.
    """
    words, characters = np.maximum(sums_K[..., 0], 1), np.maximum(sums_K[..., 4], 1)
    return {
        "wer": sums_K[..., 1:4].sum(-1) / words,
        "cer": sums_K[..., 5:8].sum(-1) / characters,
        "substitutions": sums_K[..., 1] / words,
        "insertions": sums_K[..., 2] / words,
        "deletions": sums_K[..., 3] / words,
        "exact": sums_K[..., _EXACT] / np.maximum(sums_K[..., 9], 1),
    }


def confusions(records: Iterable[Record]) -> Counter[tuple[str, str]]:
    """How often a word was heard as another; the empty word stands for one that was missed or made up."""
    from rapidfuzz.distance import Levenshtein

    found: Counter[tuple[str, str]] = Counter()
    for record in records:
        truth, said = tidy(record["truth"]).split(), tidy(record["text"]).split()
        for step in Levenshtein.editops(truth, said):
            was = "" if step.tag == "insert" else truth[step.src_pos]
            became = "" if step.tag == "delete" else said[step.dest_pos]
            found[was, became] += 1
    return found


@final
class RecognitionMetric(Metric):
    """Scores of transcripts. A row is right where the whole transcript is."""

    answer: ClassVar[str] = "text"
    primary: str = "wer"
    tie_breaker: ClassVar[str | None] = "cer"
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "wer": ScoreSpec(rising=False, unit="rate", title="word error rate", limits=(1.0, 0.0)),
        "cer": ScoreSpec(rising=False, unit="rate", title="character error rate", limits=(1.0, 0.0)),
        "substitutions": ScoreSpec(rising=False, unit="rate"),
        "insertions": ScoreSpec(rising=False, unit="rate"),
        "deletions": ScoreSpec(rising=False, unit="rate"),
        "exact": ScoreSpec(rising=True, limits=(0.0, 1.0), of_right_rows=True),
    }

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`."""
        stats_NK = recognition_statistics(records)
        return Sums(stats_NK, recognition_scores, stats_NK[:, _EXACT] > 0)
