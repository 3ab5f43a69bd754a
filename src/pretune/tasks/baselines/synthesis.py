"""What needs no model and answers a text with sound: a real clip of the training rows, or no speech at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["mean_frames", "nearest_clips"]

_MOST_CLIPS = 500
Record = Mapping[str, Any]


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


def mean_frames(count: int, clip_of: Callable[[int], np.ndarray]) -> tuple[np.ndarray, int]:
    """The mean frame (M,) of ``count`` training clips (``clip_of(i)``: (F, M)), evenly taken where they are many, and their median length."""
    places = np.unique(np.linspace(0, count - 1, min(count, _MOST_CLIPS)).astype(int))
    clips: Sequence[np.ndarray] = [clip_of(int(place)) for place in places]
    return np.concatenate(clips).mean(axis=0), int(np.median([len(clip) for clip in clips]))
