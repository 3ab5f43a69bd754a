"""What simple methods reach on the same clips: the shares of the labels, and logistic regression on the loudness of mel bands.

Shapes: N rows, M mel bands, F frames.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pretune.data.media_audio import decode_audio
from pretune.metrics.base import Measured
from pretune.tasks.baseline_parts import KnownLabels
from pretune.tasks.feature_baselines import feature_baselines
from pretune.tasks.log_mel import log_mel

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["audio_baselines"]


def audio_baselines(
    train: Dataset, rows: Dataset, known: KnownLabels, rate: int
) -> tuple[dict[str, Measured], list[str]]:
    """Answers to ``rows`` measured, by name, and notes in sentences.

    ``mel-logistic`` knows of a clip the mean and the spread over time of 40 mel bands, in decibels: no order in time.
    """
    features = partial(_features, rate=rate)
    return feature_baselines(
        train, rows, known, features, name="mel-logistic", what="mel bands", strength=1.0, passes=300
    )


def _features(dataset: Dataset, chosen: np.ndarray, rate: int) -> np.ndarray:
    """(rows, 2 M + 1): mean and spread of each band, and the logarithm of the length."""
    clips = dataset.with_format("arrow")[:]["audio"]
    found = []
    for number in chosen:
        decibels_MF = log_mel(decode_audio(clips[int(number)].as_py(), rate), rate)
        length = np.log(decibels_MF.shape[1])
        found.append(np.concatenate([decibels_MF.mean(axis=1), decibels_MF.std(axis=1), [length]]))
    return np.stack(found)
