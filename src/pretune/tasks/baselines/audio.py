"""What simple methods reach on the same clips: the shares of the labels, and logistic regression on the loudness of mel bands.

Shapes: N rows, M mel bands, F frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.media.audio import decode_audio
from pretune.metrics.base import Measured
from pretune.tasks.baselines.features import feature_baselines
from pretune.tasks.baselines.parts import KnownAnswers
from pretune.tasks.inputs.log_mel import log_mel

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["audio_baselines", "clip_numbers"]


def audio_baselines(
    train: Dataset, rows: Dataset, known: KnownAnswers, rate: int
) -> tuple[dict[str, Measured], list[str]]:
    """Answers to ``rows`` measured, by name, and notes in sentences.

    ``mel-logistic`` knows of a clip the mean and the spread over time of 40 mel bands, in decibels: no order in time.
    """
    features = partial(_features, rate=rate)
    return feature_baselines(train, rows, known, features, name="mel", what="mel bands", strength=1.0, passes=300)


def _features(dataset: Dataset, chosen: np.ndarray, rate: int) -> np.ndarray:
    """Those of the chosen rows, (rows, 2 M + 1)."""
    clips = dataset.with_format("arrow")[:]["audio"]
    return np.stack([clip_numbers(clips[int(number)].as_py(), rate) for number in chosen])


def clip_numbers(audio: Mapping[str, Any], rate: int) -> np.ndarray:
    """The features of an ``audio`` cell, float32 (2 M + 1,): mean and spread of each band, and the logarithm of the length."""
    decibels_MF = log_mel(decode_audio(audio, rate), rate)
    parts = (decibels_MF.mean(axis=1), decibels_MF.std(axis=1), [np.log(decibels_MF.shape[1])])
    return np.concatenate(parts).astype(np.float32)
