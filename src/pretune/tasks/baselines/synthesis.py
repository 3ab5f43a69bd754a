"""What needs no model and answers a text with sound: a real clip of the training rows, or no speech at all.

Shapes: F frames, M mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.metrics.synthesis import apart
from pretune.modalities.audio.clips import FULL_SCALE
from pretune.tasks.rows.spoken import spoken_clip

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.modalities.audio.mel import MelSpec

__all__ = ["distances", "nearest_clips", "simple_voices", "true_frames"]

_MOST_CLIPS = 500


def nearest_clips(train: Dataset, rows: Dataset) -> list[int]:
    """The training row for each row: of the nearest text by edits (equal texts first), of the same voice where there is one."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    texts = [(text or "").lower() for text in train["text"]]
    by_text: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        by_text.setdefault(text, []).append(place)
    voices = train["speaker"] if "speaker" in train.column_names else [None] * len(texts)
    asked = rows["speaker"] if "speaker" in rows.column_names else [None] * len(rows)
    found, nearest = [], dict[str, str]()
    for text, voice in zip(((text or "").lower() for text in rows["text"]), asked, strict=True):
        if text not in nearest:
            best = process.extractOne(text, by_text.keys(), scorer=Levenshtein.distance)
            nearest[text] = best[0]
        places = by_text[nearest[text]]
        found.append(next((place for place in places if voices[place] == voice), places[0]))
    return found


def true_frames(mel: MelSpec, cell: Any) -> np.ndarray:
    """Log-mel frames (F, M) of a row's clip."""
    return mel.of(spoken_clip(cell, mel.rate) / np.float32(FULL_SCALE))


def distances(mel: MelSpec, said_FM: np.ndarray, true_FM: np.ndarray) -> dict[str, float]:
    """How far frames are from true ones, and how much longer or shorter, as a record tells it (dB, seconds)."""
    distance, mcd = apart(mel.logs(said_FM), mel.logs(true_FM))
    said, true = (len(frames) * mel.hop / mel.rate for frames in (said_FM, true_FM))
    return {
        "mel_distance": round(distance, 4), "mcd": round(mcd, 4), "true_seconds": true, "seconds_off": round(abs(said - true), 4),
    }  # fmt: skip


def simple_voices(
    mel: MelSpec, train: Sequence[Any], rows: Sequence[Any], nearest: Sequence[int]
) -> dict[str, list[dict[str, float]]]:
    """How far rows' clips are from ``nearest-training-clip`` (its place among ``train`` for each row) and from ``mean-frame``: the mean frame
    of the training clips, evenly taken where they are many, for their median length, which is no speech.
    """
    some = np.unique(np.linspace(0, len(train) - 1, min(len(train), _MOST_CLIPS)).astype(int)).tolist()
    clips = [true_frames(mel, train[place]) for place in some]
    flat_FM = np.repeat(np.concatenate(clips).mean(axis=0)[None], int(np.median([len(clip) for clip in clips])), axis=0)
    found: dict[str, list[dict[str, float]]] = {"nearest-training-clip": [], "mean-frame": []}
    for place, cell in zip(nearest, rows, strict=True):
        true_FM = true_frames(mel, cell)
        found["nearest-training-clip"].append(distances(mel, true_frames(mel, train[place]), true_FM))
        found["mean-frame"].append(distances(mel, flat_FM, true_FM))
    return found
