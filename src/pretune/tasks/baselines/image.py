"""What simple methods reach on the same pictures: the shares of the labels, and logistic regression on tiny pictures and colours.

Shapes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.media.image import decode_image
from pretune.metrics.base import Measured
from pretune.tasks.baselines.features import feature_baselines
from pretune.tasks.baselines.parts import KnownAnswers

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["image_baselines", "picture_numbers"]

_SIDE, _BINS = 12, 4


def image_baselines(train: Dataset, rows: Dataset, known: KnownAnswers) -> tuple[dict[str, Measured], list[str]]:
    """Answers to ``rows`` measured, by name, and notes in sentences.

    ``pixels-logistic`` sees a picture as 12 x 12 pixels and a histogram of 4 x 4 x 4 colours: what can be told from colour
    and layout alone.
    """
    return feature_baselines(train, rows, known, _features, name="pixels", what="pixels", strength=0.01, passes=100)


def _features(dataset: Dataset, chosen: np.ndarray) -> np.ndarray:
    images = dataset.with_format("arrow")[:]["image"]
    return np.stack([picture_numbers(images[int(i)].as_py()) for i in chosen])


def picture_numbers(image: Mapping[str, Any]) -> np.ndarray:
    """The features of an ``image`` cell, (F,) float32: tiny picture and colour histogram."""
    small = decode_image(image).resize((_SIDE * 4, _SIDE * 4))
    pixels = np.asarray(small, dtype=np.uint8).reshape(-1, 3) // (256 // _BINS)
    colours = np.bincount(pixels @ np.array([_BINS * _BINS, _BINS, 1]), minlength=_BINS**3) / len(pixels)
    tiny = np.asarray(small.resize((_SIDE, _SIDE)), dtype=np.float32).reshape(-1) / 255
    return np.concatenate([tiny, np.sqrt(colours)]).astype(np.float32)
