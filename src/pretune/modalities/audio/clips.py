"""Clips to batches of samples or of log-mel features, as a feature extractor of transformers asks for them
(:mod:`pretune.backbones.audio.spec` reads what it asks for).

Shapes: B clips of a batch, T samples of a clip, F frames that the encoder makes of them, M mel bands. Stored clips are
int16 (T,).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pretune.modalities.audio.filterbank import Filterbank

__all__ = [
    "FRAMES_PER_SECOND",
    "AudioSpec",
    "collate_clips",
    "run_model",
    "stored_clip",
]

FRAMES_PER_SECOND = 50
"""The cost of a clip is counted in frames of 20 ms, whatever the model."""

FULL_SCALE = 32_768
_WIDTHS_PER_SECOND = 10


@dataclass(frozen=True)
class AudioSpec:
    """How a model hears: ``rate`` in Hz, whether clips get mean 0 and variance 1, whether it is told what is padding,
    whether it can be told which frames to hide, and the windows (``kernels``, ``strides``) that make frames of samples:
    its own convolutions, or the windows of the ``filterbank`` whose features it reads (None: it reads samples).
    """

    rate: int
    normalize: bool
    masked: bool
    hides: bool
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    filterbank: Filterbank | None = None

    def frames(self, samples: int) -> int:
        """Frames F that the encoder makes of ``samples``; below 1 where they are too few."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    @property
    def least_samples(self) -> int:
        """The fewest samples that make a frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def cost(self, samples: int) -> int:
        """Frames of 20 ms that a clip lasts, rounded up."""
        return max(1, math.ceil(samples * FRAMES_PER_SECOND / self.rate))

    @property
    def reads(self) -> str:
        """The model's name for what it reads: ``input_values`` (B, T), or ``input_features`` (B, F, features)."""
        return "input_values" if self.filterbank is None else "input_features"

    @property
    def bands(self) -> int:
        """Mel bands M of the features; 0 where the model reads samples."""
        return 0 if self.filterbank is None else self.filterbank.bands

    @property
    def places_per_second(self) -> int:
        """Places of an input in a second: samples, or frames of features."""
        return self.rate if self.filterbank is None else self.rate // math.prod(self.strides)

    def portable(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "modality": "audio",
            **dataclasses.asdict(self),
            "reads": self.reads,
            "least_samples": self.least_samples,
            "block": self.block,
        }

    @property
    def block(self) -> int:
        """Widths of inputs are multiples of so many places: a tenth of a second."""
        return max(1, self.places_per_second // _WIDTHS_PER_SECOND)

    def frames_of(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Frames F that the encoder makes of a batch, padding among them."""
        width = inputs[self.reads].shape[1]
        return self.frames(width) if self.filterbank is None else width


def stored_clip(samples_T: np.ndarray, hearing: AudioSpec) -> np.ndarray:
    """Samples in [-1, 1] as int16 (T,): louder ones are scaled down to full scale, a clip too short for a frame gets silence."""
    loudest = float(np.abs(samples_T).max(initial=0.0))
    scaled = samples_T * (FULL_SCALE / max(1.0, loudest))
    clip = np.clip(np.rint(scaled), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return np.pad(clip, (0, max(0, hearing.least_samples - len(clip))))


def collate_clips(
    clips: Sequence[np.ndarray], hearing: AudioSpec, hidden_bands: Sequence[np.ndarray | None] | None = None
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the model reads (:attr:`AudioSpec.reads`), float32 with zeros behind short clips, and, for a model that is told of
    padding, ``attention_mask`` (B, T or F); and the samples of each clip (B,) int64.

    Each clip is normalised alone (the feature extractors' arithmetic); of features, ``hidden_bands`` (M,) bool of a clip are
    hidden. The width is a multiple of a tenth of a second: the processor's library keeps a compiled kernel for each new shape.
    """
    hidden_bands = hidden_bands or [None] * len(clips)
    heard = [_heard(clip, hearing, hidden_M) for clip, hidden_M in zip(clips, hidden_bands, strict=True)]
    lengths_B = torch.tensor([len(one) for one in heard])
    width = math.ceil(int(lengths_B.max()) / hearing.block) * hearing.block
    values = np.zeros((len(clips), width, *heard[0].shape[1:]), dtype=np.float32)
    for row, one in enumerate(heard):
        values[row, : len(one)] = one
    inputs = {hearing.reads: torch.from_numpy(values)}
    if hearing.masked:
        inputs["attention_mask"] = (torch.arange(width)[None] < lengths_B[:, None]).long()
    return inputs, torch.tensor([len(clip) for clip in clips])


def _heard(clip: np.ndarray, hearing: AudioSpec, hidden_M: np.ndarray | None) -> np.ndarray:
    """A clip as the model reads it: samples (T,) or features (F, ...)."""
    if hearing.filterbank is not None:
        return hearing.filterbank.features(clip, hidden_M)
    return _normalised(clip) if hearing.normalize else clip / np.float32(FULL_SCALE)


def _normalised(clip: np.ndarray) -> np.ndarray:
    samples = clip / np.float32(FULL_SCALE)
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def parts_of(
    inputs: dict[str, torch.Tensor], lengths_B: torch.Tensor, hearing: AudioSpec
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Rows that may be run together, by number, and their inputs: all of them for a model that is told of padding.

    A model that is not told (wav2vec 2.0's base, whose norm runs over all of time) would hear the silence behind short
    clips, so it gets clips of each length by themselves.
    """
    if hearing.masked:
        yield [*range(len(lengths_B))], inputs
        return
    for length in sorted(set(lengths_B.tolist())):
        rows = torch.nonzero(lengths_B == length)[:, 0]
        part = {"input_values": inputs["input_values"][rows, :length]}
        if "mask_time_indices" in inputs:
            part["mask_time_indices"] = inputs["mask_time_indices"][rows, : hearing.frames(length)]
        yield rows.tolist(), part


def run_model(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], lengths_B: torch.Tensor, hearing: AudioSpec
) -> torch.Tensor:
    """The logits (B, ...) of a batch; frames (B, F, ...) are those of the longest clip."""
    if hearing.masked:
        return model(**inputs).logits
    found: dict[int, torch.Tensor] = {}
    for rows, part in parts_of(inputs, lengths_B, hearing):
        found.update(zip(rows, model(**part).logits, strict=True))
    most = max(one.shape[0] for one in found.values())
    return torch.stack([_lengthened(found[row], most) for row in range(len(lengths_B))])


def _lengthened(one: torch.Tensor, frames: int) -> torch.Tensor:
    if one.ndim == 1:
        return one
    return torch.nn.functional.pad(one, (0, 0, 0, frames - one.shape[0]))
