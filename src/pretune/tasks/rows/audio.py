"""Rows of sound as tasks learn from them: clips on disk, varied while they are learned from.

Shapes: B clips of a batch, T samples of a clip (int16), F frames that the encoder makes of them, M mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pretune.data.media.audio import decode_audio
from pretune.modalities.audio.clips import FRAMES_PER_SECOND, FULL_SCALE, AudioSpec, collate_clips, stored_clip
from pretune.modalities.audio.samples import Clips, store_samples
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings

__all__ = [
    "DEFAULT_FRAMES",
    "DEFAULT_UPDATES",
    "HIDDEN_FRAMES",
    "VARIATIONS",
    "ClipRows",
    "FrameMask",
    "Variation",
    "batch_of_clips",
    "clip_of",
    "clips_of",
    "frame_mask_of",
    "heard_whole",
    "learned_clip",
    "real_frames",
    "spans",
    "variation_of",
]


DEFAULT_UPDATES = 8000
DEFAULT_FRAMES = 8 * 3600 * FRAMES_PER_SECOND
"""Eight hours of sound heard: the updates above on clips of half a second. On clips of six seconds they would take hours."""

HIDDEN_FRAMES = ("mask_time_indices",)
"""The input that says which frames are hidden: none, once a model has learned."""


def clip_of(audio: Mapping[str, Any], hearing: AudioSpec) -> np.ndarray:
    """An ``audio`` cell decoded, at the model's rate: int16 (T,). Raises :class:`pretune.errors.DataError` naming the file."""
    return stored_clip(decode_audio(audio, hearing.rate), hearing)


def clips_of(dataset: Dataset, hearing: AudioSpec, fingerprint: str) -> Clips:
    """The clips of every row, decoded once and kept on disk."""
    cells = dataset.with_format("arrow")[:]["audio"]
    if "seconds" in dataset.column_names:
        seconds_N = np.asarray(dataset["seconds"], dtype=np.float64)
    else:
        seconds_N = np.zeros(len(dataset))

    def read(index: int) -> np.ndarray:
        return clip_of(cells[index].as_py(), hearing)

    return store_samples(seconds_N, read, hearing, fingerprint=fingerprint)


class ClipRows:
    """Clips with their ids, targets and weights. ``ledger`` counts rows and frames, and tells of what was found wrong."""

    def __init__(
        self,
        dataset: Dataset,
        clips: Clips,
        hearing: AudioSpec,
        targets: Callable[[int], Any] | None = None,
        weights_N: np.ndarray | None = None,
    ) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._clips = clips
        self._targets = targets
        self._weights_N = weights_N
        self.lengths_N = np.array([hearing.cost(int(samples)) for samples in clips.num_samples_N], dtype=np.int64)
        self.ledger: dict[str, Any] = {
            "rows": len(dataset),
            "pieces": len(dataset),
            "frames": int(self.lengths_N.sum()),
        }

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        return Encoded(
            self._ids[index].as_py(),
            {"samples": self._clips.clip(index)},
            int(self.lengths_N[index]),
            None if self._targets is None else self._targets(index),
            1.0 if self._weights_N is None else float(self._weights_N[index]),
        )


def batch_of_clips(rows: Sequence[Encoded], hearing: AudioSpec) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The model's inputs and the samples of each clip (B,).

    Of features, the bands of ``arrays["bands"]`` (M,) are hidden. ``mask_time_indices`` (B, F) says which frames to hide
    (``arrays["mask"]``, bool). It is there also where none is: transformers would draw its own.
    """
    bands = [row.arrays.get("bands") for row in rows]
    inputs, lengths_B = collate_clips([row.arrays["samples"] for row in rows], hearing, bands)
    if hearing.hides:
        mask_BF = torch.zeros(len(rows), hearing.frames_of(inputs), dtype=torch.bool)
        for number, row in enumerate(rows):
            if "mask" in row.arrays:
                mask_BF[number, : len(row.arrays["mask"])] = torch.from_numpy(row.arrays["mask"])
        inputs["mask_time_indices"] = mask_BF
    return inputs, lengths_B


def real_frames(inputs: dict[str, torch.Tensor], lengths_B: torch.Tensor, hearing: AudioSpec) -> torch.Tensor:
    """Which frames of a batch are of clips and not of padding, bool (B, F)."""
    frames_B = torch.tensor([hearing.frames(int(length)) for length in lengths_B])
    return torch.arange(hearing.frames_of(inputs))[None] < frames_B[:, None]


@dataclass(frozen=True)
class FrameMask:
    """Spans of ``length`` frames begin at ``share / length`` of the frames and are hidden from the encoder
    (SpecAugment's masks in time: Park et al. 2019, arXiv 1904.08779; on the encoder's input as in Baevski et al. 2020).
    """

    share: float
    length: int

    def draw(self, frames: int, rng: np.random.Generator) -> np.ndarray:
        """Which of the frames are hidden, bool (F,)."""
        return spans(frames, self.share, self.length, rng.random(), rng.permutation)


def spans(
    frames: int, share: float, length: int, extra: float, order: Callable[[int], np.ndarray], *, least: int = 0
) -> np.ndarray:
    """Bool (F,): ``share * frames / length`` spans (rounded with the draw ``extra`` in [0, 1), ``least`` at least), begun at
    different places in the order drawn. Spans are a third of the frames at most, so that a short clip is never wholly hidden.
    """
    length = max(1, min(length, frames // 3))
    places = frames - length + 1
    count = min(places, max(least, math.floor(share * frames / length + extra)))
    mask_F = np.zeros(frames, dtype=bool)
    for start in order(places)[:count]:
        mask_F[start : start + length] = True
    return mask_F


@dataclass(frozen=True)
class Variation:
    """How clips are varied: moved by up to ``shift`` of their length, gain by up to ``gain_db``, noise ``noise_db`` (low,
    high) under the clip, played up to ``speed`` faster or slower. Of features, ``band_masks`` ranges of mel bands are hidden, each
    up to ``widest_mask`` of them.
    """

    name: str
    shift: float = 0.0
    gain_db: float = 0.0
    noise_db: tuple[float, float] | None = None
    speed: float = 0.0
    band_masks: int = 0
    widest_mask: float = 0.0

    def clip(self, samples: np.ndarray, rng: np.random.Generator, *, least_samples: int = 1) -> np.ndarray:
        """A varied clip, int16, of ``least_samples`` or more."""
        if self.name == "none":
            return samples
        varied = samples.astype(np.float32)
        varied = self._played(varied, rng, least_samples)
        varied = self._moved(varied, rng)
        varied *= 10 ** (rng.uniform(-self.gain_db, self.gain_db) / 20)
        if self.noise_db is not None:
            loudness = float(np.sqrt(np.mean(varied**2)))
            level = loudness * 10 ** (-rng.uniform(*self.noise_db) / 20)
            varied += rng.standard_normal(len(varied), dtype=np.float32) * level
        return np.clip(np.rint(varied), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)

    def hidden_bands(self, bands: int, rng: np.random.Generator) -> np.ndarray:
        """Which of the bands are hidden, bool (M,): SpecAugment's masks in frequency, with widths and places drawn alike
        (Park et al. 2019, arXiv 1904.08779, section 2).
        """
        hidden_M = np.zeros(bands, dtype=bool)
        for _ in range(self.band_masks):
            width = int(rng.integers(0, round(self.widest_mask * bands) + 1))
            start = int(rng.integers(0, bands - width + 1))
            hidden_M[start : start + width] = True
        return hidden_M

    def _played(self, samples: np.ndarray, rng: np.random.Generator, least_samples: int) -> np.ndarray:
        if self.speed == 0.0:
            return samples
        faster = rng.uniform(1 - self.speed, 1 + self.speed)
        size = max(least_samples, round(len(samples) / faster))
        places = np.linspace(0, len(samples) - 1, size)
        return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)

    def _moved(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Silence before and after, as much as the draws say: nothing of the clip is lost."""
        most = round(self.shift * len(samples))
        if most == 0:
            return samples
        before, after = rng.integers(0, most + 1, 2)
        return np.pad(samples, (int(before), int(after)))


VARIATIONS = {
    "none": Variation("none"),
    "light": Variation("light", shift=0.1, gain_db=6.0, noise_db=(15.0, 50.0)),
    "strong": Variation(
        "strong", shift=0.2, gain_db=6.0, noise_db=(5.0, 40.0), speed=0.15, band_masks=2, widest_mask=0.3
    ),
}


def learned_clip(
    row: Encoded,
    rng: np.random.Generator,
    variation: Variation,
    mask: FrameMask | None,
    hearing: AudioSpec,
    is_usable: Callable[[int], bool] | None = None,
) -> Encoded:
    """The clip as it is learned from this time: varied, with frames of it hidden, and bands where the model reads features.

    A varied clip of so many samples that ``is_usable`` says no is left as it was.
    """
    if variation.name == "none":
        return row
    clip = variation.clip(row.arrays["samples"], rng, least_samples=hearing.least_samples)
    if is_usable is not None and not is_usable(len(clip)):
        clip = row.arrays["samples"]
    arrays = {"samples": clip}
    if variation.band_masks and hearing.bands:
        arrays["bands"] = variation.hidden_bands(hearing.bands, rng)
    if mask is not None:
        arrays["mask"] = mask.draw(hearing.frames(len(clip)), rng)
    return Encoded(row.id, arrays, hearing.cost(len(clip)), row.target, row.weight)


def heard_whole(item: Encoded) -> Encoded:
    """A varied clip as a teacher hears it: none of its frames or bands hidden, and without its answer."""
    return Encoded(item.id, {"samples": item.arrays["samples"]}, item.cost, None, item.weight)


def variation_of(settings: TaskSettings) -> str:
    """The level of variation: what was asked for; ``light`` by itself, ``none`` where most of the model is frozen."""
    if settings.augment != "auto":
        return settings.augment
    return "none" if settings.rests else "light"


def frame_mask_of(backbone: Backbone) -> FrameMask | None:
    """The masks in time that the model's config asks for while it learns."""
    config = backbone.config
    share = float(getattr(config, "mask_time_prob", 0.0))
    if share <= 0 or not getattr(config, "apply_spec_augment", True):
        return None
    return FrameMask(share, int(config.mask_time_length))
