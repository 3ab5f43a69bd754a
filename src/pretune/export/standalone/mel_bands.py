"""Clips as mean and spread of their mel bands for the exported model in this folder; :mod:`predict` uses it.

Shapes: B items of a batch, T samples of a clip, W windows, M mel bands, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BANDS, FLOOR = 40, 1e-8
WINDOW_SECONDS, HOP_SECONDS, LOWEST_HZ = 0.025, 0.010, 20.0


class Reader:
    """A clip as the mean and the spread over time of 40 mel bands in decibels, and the logarithm of its length."""

    most_together = 32

    def __init__(self, _folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.rate: int = about["inputs"]["rate"]
        self.samples_of = beside("clips").samples_of

    def items(self, row: dict[str, Any]) -> list[np.ndarray]:
        """The features of a clip, float32 (F,)."""
        decibels_WM = log_mel(self.samples_of(row["audio"], self.rate), self.rate)
        parts = (decibels_WM.mean(axis=0), decibels_WM.std(axis=0), [math.log(len(decibels_WM))])
        return [np.concatenate(parts).astype(np.float32)]

    def inputs(self, items: list[np.ndarray]) -> dict[str, np.ndarray]:
        """``numbers`` (B, F)."""
        return {"numbers": np.stack(items)}

    def real(self, logits: np.ndarray, item: Any) -> np.ndarray:
        """The logits of an item."""
        return logits


def log_mel(samples_T: np.ndarray, rate: int) -> np.ndarray:
    """Decibels (W, M) of Hann windows of 25 ms every 10 ms, the clip mirrored at its ends, silence held at -80 dB."""
    window = round(WINDOW_SECONDS * rate)
    size = 1 << (window - 1).bit_length()
    padded_T = np.pad(samples_T.astype(np.float64), (0, max(0, size - len(samples_T))))
    around_T = np.pad(padded_T, (window // 2, window // 2), mode="reflect")
    windows_WT = np.lib.stride_tricks.sliding_window_view(around_T, window)[:: round(HOP_SECONDS * rate)]
    hann_T = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    spectrum = np.fft.rfft(windows_WT * hann_T, size)
    power = (spectrum.real**2 + spectrum.imag**2) @ filters(rate, size)
    return (10 * np.log10(np.maximum(power, FLOOR))).astype(np.float32)


def filters(rate: int, size: int) -> np.ndarray:
    """Mel filters (frequencies, M): triangles between neighbours on Slaney's scale, each of area 1."""
    edges = hertz(np.linspace(mel(LOWEST_HZ), mel(rate / 2), BANDS + 2))
    places = np.linspace(0, rate // 2, size // 2 + 1)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])


def mel(pitch: Any) -> Any:
    """Hertz on Slaney's mel scale: even up to 1,000, then by ratios."""
    pitch = np.asarray(pitch, dtype=np.float64)
    return np.where(pitch < 1000, 3 * pitch / 200, 15 + np.log(np.maximum(pitch, 1e-9) / 1000) * 27 / math.log(6.4))


def hertz(place: np.ndarray) -> np.ndarray:
    """The way back from :func:`mel`."""
    return np.where(place < 15, 200 * place / 3, 1000 * np.exp((place - 15) * math.log(6.4) / 27))
