"""Clips of sound to samples or log-mel features for the exported model in this folder; :mod:`predict` uses it.

Read are WAV files of 16 bits; soxr (pip install soxr) brings those of another rate to the model's. Shapes: T samples of a clip, F frames, W windows, M mel bands.
"""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path
from typing import Any

import numpy as np

FULL_SCALE = 32_768
WINDOW, HOP, SPECTRUM = 400, 160, 512
LOWEST_HZ = 20


class Reader:
    """Clips as the model hears them. They run one by one: silence behind a shorter one could be heard."""

    most_together = 1

    def __init__(self, _folder: Path, about: dict[str, Any]) -> None:
        self.told = about["inputs"]

    def items(self, row: dict[str, Any]) -> list[np.ndarray]:
        """The samples of a clip: int16 (T,), the mean of its channels, louder ones scaled down to full scale."""
        samples = samples_of(row["audio"], self.told["rate"])
        scaled = samples * (FULL_SCALE / max(1.0, float(np.abs(samples).max(initial=0.0))))
        clip = np.clip(np.rint(scaled), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        return [np.pad(clip, (0, max(0, self.told["least_samples"] - len(clip))))]

    def inputs(self, items: list[np.ndarray]) -> dict[str, np.ndarray]:
        """``input_values`` (1, T) or ``input_features`` (1, F, ...), and ``attention_mask`` for models that are told of padding."""
        heard, block = self.heard(items[0]), self.told["block"]
        real = len(heard)
        width = math.ceil(real / block) * block if self.told["masked"] else real
        values = np.zeros((1, width, *heard.shape[1:]), dtype=np.float32)
        values[0, :real] = heard
        return {self.told["reads"]: values, "attention_mask": (np.arange(width) < real).astype(np.int64)[None]}

    def heard(self, clip: np.ndarray) -> np.ndarray:
        """Samples (T,) or features (F, ...) of a clip."""
        if self.told["filterbank"]:
            return features(clip, **self.told["filterbank"])
        samples = clip / np.float32(FULL_SCALE)
        if self.told["normalize"]:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return samples

    def real(self, logits: np.ndarray, item: np.ndarray) -> np.ndarray:
        """The logits of a clip; where there is one for each frame, those of frames that are not padding."""
        if logits.ndim == 1:
            return logits
        frames = len(item)
        for kernel, stride in zip(self.told["kernels"], self.told["strides"], strict=True):
            frames = (frames - kernel) // stride + 1
        return logits[:frames]


def samples_of(source: Any, rate: int) -> np.ndarray:
    """A WAV file (path or bytes) as float32 (T,) in [-1, 1] at ``rate``. Raises :class:`ValueError` for another form."""
    name = "the clip" if isinstance(source, bytes) else str(source)
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "rb") as file:
            found, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise ValueError(f"{name} is no WAV file that can be read ({error}); {convert(rate)}") from None
    if width != 2:
        raise ValueError(f"{name} has {8 * width} bits, the model hears {rate} Hz of 16; {convert(rate)}")
    samples_TC = np.frombuffer(data, dtype="<i2").reshape(-1, channels).astype(np.float32) / FULL_SCALE
    if not len(samples_TC):
        raise ValueError(f"{name} lasts 0 seconds")
    samples = samples_TC[:, 0] if channels == 1 else samples_TC.mean(axis=1, dtype=np.float32)
    return samples if found == rate else resampled(samples, found, rate, name)


def resampled(samples: np.ndarray, found: int, rate: int, name: str) -> np.ndarray:
    """The same sound at another rate. Raises :class:`ValueError` where soxr is not installed."""
    try:
        import soxr
    except ImportError:
        raise ValueError(
            f"{name} has {found} Hz, the model hears {rate}: pip install soxr, or {convert(rate)}"
        ) from None
    return np.ascontiguousarray(soxr.resample(samples, found, rate), dtype=np.float32)


def convert(rate: int) -> str:
    """What to do about another form of sound."""
    return f"convert it: ffmpeg -i IN -ac 1 -ar {rate} -c:a pcm_s16le OUT.wav"


def features(clip_T: np.ndarray, rate: int, bands: int, stack: int) -> np.ndarray:
    """Log-mel features (F, stack * M): every band with mean 0 and variance 1 over the clip, windows side by side."""
    windows_WT = np.lib.stride_tricks.sliding_window_view(clip_T.astype(np.float64), WINDOW)[::HOP]
    centred_WT = windows_WT - windows_WT.mean(axis=1, keepdims=True)
    before_WT = np.concatenate([centred_WT[:, :1], centred_WT[:, :-1]], axis=1)
    spectrum = np.fft.rfft((centred_WT - 0.97 * before_WT) * np.hanning(WINDOW) ** 0.85, SPECTRUM)
    power = spectrum.real**2 + spectrum.imag**2
    bands_WM = np.log(np.maximum(power @ triangles(rate, bands), np.finfo(np.float32).eps)).astype(np.float32)
    even_WM = (bands_WM - bands_WM.mean(axis=0)) / np.sqrt(bands_WM.var(axis=0, ddof=1) + 1e-7)
    frames = len(even_WM) // stack
    return even_WM[: frames * stack].reshape(frames, -1)


def triangles(rate: int, bands: int) -> np.ndarray:
    """Mel filters (frequencies, M): triangles of equal width on Kaldi's mel scale, each from its neighbours' tops."""
    edges = np.linspace(mel(LOWEST_HZ), mel(rate // 2), bands + 2)
    places = mel(rate / SPECTRUM * np.arange(SPECTRUM // 2 + 1))[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


def mel(hertz: Any) -> Any:
    """Hertz on Kaldi's mel scale."""
    return 1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0)
