"""What simple methods reach on the same clips: the majority class, and logistic regression on the loudness of mel bands.

Shapes: N rows, C classes, M mel bands, F frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretune.data.media_audio import decode_audio
from pretune.tasks.classification_scores import classification_statistics
from pretune.tasks.log_mel import log_mel

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["audio_baselines"]

MAX_ROWS = 5_000
"""Training clips that the baseline listens to: a minute of one core."""


def audio_baselines(
    train: Dataset, rows: Dataset, labels: Sequence[str], rate: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Statistics (N, K) of ``rows`` by name, and notes in sentences.

    ``mel-logistic`` knows of a clip the mean and the spread over time of 40 mel bands, in decibels: no order in time.
    """
    index = {label: number for number, label in enumerate(labels)}
    truth_N = np.array([index[label] for label in rows["label"]])
    train_y = np.array([index[label] for label in train["label"]])
    counts_C = np.bincount(train_y, minlength=len(labels)) + 1.0
    majority_NC = np.tile(counts_C / counts_C.sum(), (len(truth_N), 1))
    result = {"majority": classification_statistics(majority_NC, truth_N)}
    notes: list[str] = []
    chosen = np.arange(len(train))
    if len(chosen) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MAX_ROWS])
        notes.append(
            f"The baseline on mel bands was fitted on {MAX_ROWS} of the {len(train)} training clips, drawn at random."
        )
    if len(np.unique(train_y[chosen])) < 2:
        return result, notes
    probabilities_NC = _logistic(
        _features(train, chosen, rate), train_y[chosen], _features(rows, np.arange(len(rows)), rate), len(labels)
    )
    result["mel-logistic"] = classification_statistics(probabilities_NC, truth_N)
    return result, notes


def _features(dataset: Dataset, chosen: np.ndarray, rate: int) -> np.ndarray:
    """(rows, 2 M + 1): mean and spread of each band, and the logarithm of the length."""
    clips = dataset.with_format("arrow")[:]["audio"]
    found = []
    for number in chosen:
        decibels_MF = log_mel(decode_audio(clips[int(number)].as_py(), rate), rate)
        length = np.log(decibels_MF.shape[1])
        found.append(np.concatenate([decibels_MF.mean(axis=1), decibels_MF.std(axis=1), [length]]))
    return np.stack(found)


def _logistic(train_NF: np.ndarray, y: np.ndarray, test_NF: np.ndarray, classes: int) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_NF, y)
    found_NC = np.zeros((len(test_NF), classes))
    found_NC[:, model.classes_] = model.predict_proba(test_NF)
    return found_NC
