"""Rows of text and speech as a model learns to say them: letters, who says them, and the clip without the quiet around it.

Shapes: N rows, L letters of a text, T samples of a clip.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.media.audio import decode_audio
from pretune.engine.randomness import spoken_key
from pretune.modalities.audio.clips import FULL_SCALE, AudioSpec
from pretune.modalities.audio.mel import MelSpec, trimmed
from pretune.modalities.audio.samples import Clips, store_samples
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.tasks.protocols import EncodedRows

__all__ = ["InTakes", "SoundRows", "SpokenRows", "spoken_clip", "spoken_clips"]

_NAMED = 5


def spoken_clip(cell: Any, rate: int) -> np.ndarray:
    """An ``audio`` cell decoded, int16 (T,), trimmed and as loud as all (:func:`pretune.modalities.audio.mel.trimmed`)."""
    samples_T = trimmed(decode_audio(cell, rate), rate)
    return np.rint(samples_T * (FULL_SCALE - 1)).astype(np.int16)


def spoken_clips(dataset: Dataset, mel: MelSpec, fingerprint: str) -> Clips:
    """The clips of every row, decoded once and kept on disk."""
    cells = dataset.with_format("arrow")[:]["audio"]
    seconds_N = np.asarray(dataset["seconds"] if "seconds" in dataset.column_names else np.zeros(len(dataset)))
    hearing = AudioSpec(mel.rate, normalize=False, masked=True, hides=False, kernels=(), strides=())
    return store_samples(
        seconds_N.astype(np.float64), lambda index: spoken_clip(cells[index].as_py(), mel.rate), hearing, fingerprint=f"{fingerprint}:trimmed"
    )  # fmt: skip


class SpokenRows:
    """Items by number; ``make(row without its clip)`` gives letters and voice. Rows of which no letter can be read weigh nothing and are told."""

    def __init__(
        self, dataset: Dataset, clips: Clips | None, mel: MelSpec, make: Callable[[dict[str, Any]], Encoded]
    ) -> None:  # fmt: skip
        columns = [name for name in ("id", "text", "speaker") if name in dataset.column_names]
        self._items = [make(row) for row in dataset.select_columns(columns).to_list()]
        self._clips, self._mel = clips, mel
        if clips is None:
            frames = [item.cost for item in self._items]
        else:
            frames = [mel.frames(int(samples)) for samples in clips.num_samples_N]
        self.lengths_N = np.array(frames, dtype=np.int64)
        self.ledger = self._counted(dataset["seconds"] if "seconds" in dataset.column_names else ())

    def _counted(self, seconds: Sequence[float]) -> dict[str, Any]:
        empty = [item.id for item in self._items if item.weight == 0.0]
        notes = []
        if empty:
            named = ", ".join(empty[:_NAMED]) + (f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else "")
            notes.append(f"{len(empty)} rows have no letter that can be said: not learned from (rows {named})")
        counts: dict[str, Any] = {
            "rows": len(self._items),
            "pieces": len(self._items),
            "frames": int(self.lengths_N.sum()),
        }
        if self._clips is not None and len(seconds):
            kept = float(self._clips.num_samples_N.sum()) / self._mel.rate
            counts["quiet_seconds_cut"] = round(max(0.0, float(np.sum(seconds)) - kept), 1)
        return {**counts, "unreadable_texts": len(empty), "notes": notes}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Encoded:
        item, cost = self._items[index], int(self.lengths_N[index])
        target = None if self._clips is None else self._clips.clip(index).tobytes()
        return dataclasses.replace(item, cost=cost, target=target)


class InTakes:
    """Rows of which those that ask for one text of one voice again are said in other takes: the first in ``take``, the next in the one behind it."""

    def __init__(self, rows: EncodedRows, take: int) -> None:
        self._rows, self.ledger, self.lengths_N = rows, rows.ledger, rows.lengths_N
        seen: Counter[bytes] = Counter()
        self._takes: list[int] = []
        for place in range(len(rows)):
            asked = rows[place].arrays["key"].tobytes()
            self._takes.append(take + seen[asked])
            seen[asked] += 1

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Encoded:
        item, take = self._rows[index], self._takes[index]
        key = spoken_key(take, int(item.arrays["voice"][0]), item.arrays["input_ids"].tolist())
        return dataclasses.replace(item, arrays={**item.arrays, "key": np.array([key], dtype=np.uint64), "take": np.array([take])})  # fmt: skip


class SoundRows:
    """Clips alone, by number; a row costs its samples, ``most`` of them at most."""

    def __init__(self, dataset: Dataset, clips: Clips, *, most: int) -> None:
        self._ids, self._clips = list(dataset["id"]), clips
        self.lengths_N = np.minimum(clips.num_samples_N, most).astype(np.int64)
        self.ledger: dict[str, Any] = {
            "rows": len(self._ids),
            "pieces": len(self._ids),
            "samples": int(clips.num_samples_N.sum()),
        }

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Encoded:
        return Encoded(self._ids[index], {"samples": np.array(self._clips.clip(index))}, int(self.lengths_N[index]))
