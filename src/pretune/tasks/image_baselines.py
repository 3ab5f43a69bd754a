"""What simple methods reach on the same pictures: the majority class, and logistic regression on tiny pictures and colours.

Shapes: N rows, C classes, F features.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretune.data.media_image import decode_image
from pretune.tasks.classification_scores import classification_statistics

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["image_baselines"]

MAX_ROWS = 5_000
"""Training pictures that the baseline looks at: some seconds of one core."""

_SIDE, _BINS = 12, 4


def image_baselines(train: Dataset, rows: Dataset, labels: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Statistics (N, K) of ``rows`` by name, and notes in sentences.

    ``pixels-logistic`` sees a picture as 12 x 12 pixels and a histogram of 4 x 4 x 4 colours: what can be told from colour
    and layout alone.
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
            f"The baseline on pixels was fitted on {MAX_ROWS} of the {len(train)} training pictures, drawn at random."
        )
    if len(np.unique(train_y[chosen])) < 2:
        return result, notes
    result["pixels-logistic"] = classification_statistics(
        _logistic(_features(train, chosen), train_y[chosen], _features(rows, np.arange(len(rows))), len(labels)),
        truth_N,
    )
    return result, notes


def _features(dataset: Dataset, chosen: np.ndarray) -> np.ndarray:
    images = dataset.with_format("arrow")[:]["image"]
    return np.stack([_look(images[int(i)].as_py()) for i in chosen])


def _look(image: dict[str, object]) -> np.ndarray:
    """(F,) float32: tiny picture and colour histogram."""
    small = decode_image(image).resize((_SIDE * 4, _SIDE * 4))
    pixels = np.asarray(small, dtype=np.uint8).reshape(-1, 3) // (256 // _BINS)
    colours = np.bincount(pixels @ np.array([_BINS * _BINS, _BINS, 1]), minlength=_BINS**3) / len(pixels)
    tiny = np.asarray(small.resize((_SIDE, _SIDE)), dtype=np.float32).reshape(-1) / 255
    return np.concatenate([tiny, np.sqrt(colours)]).astype(np.float32)


def _logistic(train_NF: np.ndarray, y: np.ndarray, test_NF: np.ndarray, classes: int) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_NF, y)
    found_NC = np.zeros((len(test_NF), classes))
    found_NC[:, model.classes_] = model.predict_proba(test_NF)
    return found_NC
