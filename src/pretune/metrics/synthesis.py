"""Scores of spoken texts, as functions of sums over rows: how near the sound is to a true clip, whether all of the text was said, and
what a recogniser heard.

Shapes: N rows, F and G frames of two clips, M mel bands, K statistics of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums, quotient
from pretune.metrics.recognition import recognition_scores, recognition_statistics

__all__ = ["SynthesisMetric", "apart", "cepstra"]

_COEFFICIENTS = 13
_DB = 20 / np.log(10)
_FIGURES = (
    "mel_distance", "mcd", "stopped", "letters", "covered", "steps", "monotone", "peaks", "seconds_off", "true_seconds",
)  # fmt: skip
_HEARD, _HEARD_TRUE = ("heard", "text"), ("heard_true", "text")
_COLUMN = {name: 2 * place for place, name in enumerate(_FIGURES)}
"""Of each figure of a record: its column, and behind it whether the record has it."""
_JUDGED = 2 * len(_FIGURES)
_HEARD_SUMS = 10
"""Statistics of a transcript; those of what was made stand before those of true clips."""


def cepstra(logs_FM: np.ndarray) -> np.ndarray:
    """Mel cepstra 1 to 13 (F, 13) of logarithms of magnitudes: the loudness, coefficient 0, is left out (Kubichek 1993)."""
    from scipy.fft import dct

    found_FM: np.ndarray = np.asarray(dct(logs_FM, type=2, norm="ortho", axis=1))
    return found_FM[:, 1 : _COEFFICIENTS + 1]


def apart(said_FM: np.ndarray, true_GM: np.ndarray) -> tuple[float, float]:
    """Mean difference of two clips' logarithms of magnitudes after alignment, in dB a band, and their mel-cepstral distortion in dB
    along the same way. The alignment is the cheapest way of single steps through both (Sakoe & Chiba 1978).
    """
    costs_FG = np.abs(said_FM[:, None] - true_GM[None]).mean(axis=2)
    way = _cheapest_way(costs_FG)
    rows, columns = np.array(way).T
    differences = cepstra(said_FM)[rows] - cepstra(true_GM)[columns]
    # The orthonormal transform's coefficients are sqrt(M / 2) times those of the definition.
    scale = np.sqrt(2.0 / said_FM.shape[1])
    mcd = 10 / np.log(10) * np.sqrt(2 * ((differences * scale) ** 2).sum(axis=1)).mean()
    return float(costs_FG[rows, columns].mean() * _DB), float(mcd)


def _cheapest_way(costs_FG: np.ndarray) -> list[tuple[int, int]]:
    height, width = costs_FG.shape
    total = np.full((height + 1, width + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(2, height + width + 1):  # all places of a diagonal at once
        i = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        j = diagonal - i
        before = np.minimum(np.minimum(total[i - 1, j], total[i, j - 1]), total[i - 1, j - 1])
        total[i, j] = costs_FG[i - 1, j - 1] + before
    i, j, way = height, width, []
    while i > 0:
        way.append((i - 1, j - 1))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
    return way[::-1]


def _words(records: list[Record], keys: tuple[str, str]) -> np.ndarray:
    """Statistics of what was heard (N, 10), as those of transcripts; zeros for rows that were not judged."""
    said, truth = keys
    found = np.zeros((len(records), _HEARD_SUMS))
    judged = [place for place, record in enumerate(records) if said in record]
    found[judged] = recognition_statistics([{"truth": records[n][truth], "text": records[n][said]} for n in judged])
    return found


def _of_transcripts(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of transcripts; not defined where none was written."""
    judged = sums_K[..., -1] > 0
    return {name: np.where(judged, score, np.nan)[()] for name, score in recognition_scores(sums_K).items()}


def _scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    def mean(name: str, over: str | None = None) -> np.ndarray:
        below = sums_K[..., _COLUMN[name] + 1] if over is None else sums_K[..., _COLUMN[over]]
        return quotient(sums_K[..., _COLUMN[name]], below)

    heard, true = (_of_transcripts(sums) for sums in np.split(sums_K[..., _JUDGED:], 2, axis=-1))
    return {
        "mel_distance": mean("mel_distance"),
        "mcd": mean("mcd"),
        "stopped": mean("stopped"),
        "coverage": mean("covered", "letters"),
        "diagonality": mean("monotone", "steps"),
        "attention_peak": mean("peaks", "steps"),
        "duration_error": mean("seconds_off", "true_seconds"),
        "judge_wer": heard["wer"],
        "judge_deletions": heard["deletions"],
        "judge_insertions": heard["insertions"],
        "judge_cer": heard["cer"],
        "judge_exact": heard["exact"],
        "judge_wer_true": true["wer"],
        "judge_deletions_true": true["deletions"],
        "judge_insertions_true": true["insertions"],
        "judge_cer_true": true["cer"],
    }


@final
class SynthesisMetric(Metric):
    """Scores of clips that were made. A record says by itself how good it is; what it lacks is not defined."""

    answer: ClassVar[str] = "audio"
    primary: str = "mel_distance"
    watch: ClassVar[Mapping[str, ScoreSpec]] = {
        "teacher_forced": ScoreSpec(rising=False, unit="number", title="loss with the true frames before each step")
    }
    needs_truth: ClassVar[bool] = False
    specs: ClassVar[Mapping[str, ScoreSpec]] = {
        "mel_distance": ScoreSpec(rising=False, unit="number", title="mel distance after alignment, dB"),
        "mcd": ScoreSpec(rising=False, unit="number", title="mel-cepstral distortion after alignment, dB"),
        "stopped": ScoreSpec(rising=True, title="clips that stop by themselves", limits=(0.0, 1.0)),
        "coverage": ScoreSpec(rising=True, title="letters that were attended to"),
        "diagonality": ScoreSpec(rising=True, title="steps of attention that do not go back"),
        "attention_peak": ScoreSpec(rising=True, title="largest weight of attention, mean over steps"),
        "duration_error": ScoreSpec(rising=False, unit="rate", title="error of durations"),
        "judge_wer": ScoreSpec(rising=False, unit="rate", title="word error rate as the judge hears it", limits=(1.0, 0.0)),
        "judge_deletions": ScoreSpec(rising=False, unit="rate", title="words skipped, as the judge hears it", limits=(1.0, 0.0)),
        "judge_insertions": ScoreSpec(rising=False, unit="rate", title="words repeated or added, as the judge hears it", limits=(1.0, 0.0)),
        "judge_cer": ScoreSpec(rising=False, unit="rate", title="character error rate as the judge hears it", limits=(1.0, 0.0)),
        "judge_exact": ScoreSpec(rising=True, title="clips that the judge hears right", limits=(0.0, 1.0)),
        "judge_wer_true": ScoreSpec(rising=False, unit="rate", title="the judge's word error rate on the true clips", limits=(1.0, 0.0)),
        "judge_deletions_true": ScoreSpec(rising=False, unit="rate", title="words that the judge misses in the true clips", limits=(1.0, 0.0)),
        "judge_insertions_true": ScoreSpec(rising=False, unit="rate", title="words that the judge adds to the true clips", limits=(1.0, 0.0)),
        "judge_cer_true": ScoreSpec(rising=False, unit="rate", title="the judge's character error rate on the true clips", limits=(1.0, 0.0)),
    }  # fmt: skip

    def measure(self, records: Iterable[Record]) -> Measured:
        """See :class:`~pretune.metrics.base.Metric`."""
        held = list(records)
        figures = np.zeros((len(held), _JUDGED))
        for place, record in enumerate(held):
            for name, column in _COLUMN.items():
                if name in record:
                    figures[place, column : column + 2] = float(record[name]), 1.0
        return Sums(np.concatenate([figures, _words(held, _HEARD), _words(held, _HEARD_TRUE)], axis=1), _scores)
