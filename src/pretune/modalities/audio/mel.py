"""Log-mel spectra that sound can be made of again: magnitudes in mel bands, and Griffin & Lim's way back to samples.

NumPy alone, as exported folders carry this file. Shapes: T samples, F frames, S bins of a spectrum, M mel bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["PEAK", "MelSpec", "in_quiet_of", "trimmed"]

PEAK = 0.7
"""Clips are learned from as loud as this share of full scale."""
_FLOOR = 1e-5
_SHIFT, _SCALE = 4.5, 1.7
"""Logarithms of magnitudes of speech at that loudness lie around -4.5 and spread by 1.7; models learn numbers around 0."""
_ROUNDS, _SPEED, _FITS = 40, 0.99, 40
_QUIET_DB, _MARGIN_SECONDS = 40.0, 0.05


@dataclass(frozen=True)
class MelSpec:
    """``bands`` mel bands from ``low_hz`` to half the ``rate``, of Hann windows of ``window`` samples every ``hop``."""

    rate: int
    window: int
    hop: int
    bands: int
    low_hz: float = 40.0

    @classmethod
    def of_rate(cls, rate: int, bands: int) -> MelSpec:
        """Windows of 50 ms every 12.5 ms (Shen et al. 2018, arXiv 1712.05884, section 2.1)."""
        return cls(rate, window=rate // 20, hop=rate // 80, bands=bands)

    @property
    def size(self) -> int:
        """Samples that a spectrum is made of: the next power of two."""
        return 1 << (self.window - 1).bit_length()

    @cached_property
    def filters(self) -> np.ndarray:
        """Triangles between neighbours on Slaney's scale, each of area 1; where a triangle falls between two bins it takes the nearer."""
        edges = _hertz(np.linspace(_mel(self.low_hz), _mel(self.rate / 2), self.bands + 2))
        places = np.linspace(0, self.rate / 2, self.size // 2 + 1)[:, None]
        rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
        found = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])
        for band in np.flatnonzero(found.sum(axis=0) == 0):
            nearest = int(np.abs(places[:, 0] - edges[band + 1]).argmin())
            found[nearest, band] = 2.0 / (edges[band + 2] - edges[band])
        return found

    @cached_property
    def _hann(self) -> np.ndarray:
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        before = (self.size - self.window) // 2
        return np.pad(hann, (before, self.size - self.window - before))

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return 1 + samples // self.hop

    def of(self, samples_T: np.ndarray) -> np.ndarray:
        """Samples in [-1, 1] as float32 (F, M): logarithms of magnitudes, shifted and scaled to lie around 0."""
        magnitudes_FM = np.abs(self._spectra(samples_T)) @ self.filters
        return ((np.log(np.maximum(magnitudes_FM, _FLOOR)) + _SHIFT) / _SCALE).astype(np.float32)

    def logs(self, mel_FM: np.ndarray) -> np.ndarray:
        """Such frames as natural logarithms of magnitudes, float64 (F, M)."""
        return mel_FM.astype(np.float64) * _SCALE - _SHIFT

    def sound(self, mel_FM: np.ndarray) -> np.ndarray:
        """Samples float32 (T,) whose spectra come near such frames: phases by the fast Griffin-Lim iteration (Perraudin, Balazs &
        Søndergaard 2013, algorithm 2), from zero phase, so that the same frames give the same sound.
        """
        magnitudes_FS = self._magnitudes(np.exp(self.logs(mel_FM)))
        length = (len(mel_FM) - 1) * self.hop
        guess_FS = magnitudes_FS * np.exp(
            2j * np.pi * np.outer(np.arange(len(mel_FM)) * self.hop / self.size, np.arange(self.size // 2 + 1))
        )
        before_FS, weight = np.zeros_like(guess_FS), self._weight(len(mel_FM))
        for _ in range(_ROUNDS):
            now_FS = self._spectra(self._samples(guess_FS, length, weight))
            ahead_FS = now_FS + _SPEED * (now_FS - before_FS)
            before_FS = now_FS
            guess_FS = magnitudes_FS * ahead_FS / np.maximum(np.abs(ahead_FS), 1e-9)
        return np.clip(self._samples(guess_FS, length, weight), -1.0, 1.0).astype(np.float32)

    def _magnitudes(self, bands_FM: np.ndarray) -> np.ndarray:
        """Magnitudes (F, S), none below zero, whose bands are these: Lee & Seung's multiplicative updates (2001) of the least squares."""
        filters_SM, filters_MS = self.filters, np.ascontiguousarray(self.filters.T)
        found_FS = np.maximum(bands_FM @ self._inverse, 1e-7)
        wanted_FS = bands_FM @ filters_MS
        for _ in range(_FITS):
            found_FS *= wanted_FS / np.maximum(found_FS @ filters_SM @ filters_MS, 1e-12)
        return found_FS

    @cached_property
    def _inverse(self) -> np.ndarray:
        inverse_MS: np.ndarray = np.linalg.pinv(self.filters)
        return inverse_MS

    def _spectra(self, samples_T: np.ndarray) -> np.ndarray:
        """(F, S) complex, the sound mirrored at its ends."""
        around_T = np.pad(
            samples_T.astype(np.float64),
            self.size // 2,
            mode="reflect" if len(samples_T) > self.size // 2 else "constant",
        )
        windows_FT = np.lib.stride_tricks.sliding_window_view(around_T, self.size)[:: self.hop]
        return np.fft.rfft(windows_FT * self._hann)

    def _weight(self, frames: int) -> np.ndarray:
        """What so many windows weigh at each sample."""
        weight = self._added(np.broadcast_to(self._hann**2, (frames, self.size)))
        return np.maximum(weight, 1e-8)

    def _samples(self, spectra_FS: np.ndarray, length: int, weight: np.ndarray) -> np.ndarray:
        """The sound (``length``,) whose windows come nearest (Griffin & Lim 1984, equation 6)."""
        windows_FT = np.fft.irfft(spectra_FS, self.size) * self._hann
        total = self._added(windows_FT)
        start = self.size // 2
        return (total / weight)[start : start + length]

    def _added(self, windows_FT: np.ndarray) -> np.ndarray:
        """Windows laid over each other, one every hop."""
        total = np.zeros((len(windows_FT) - 1) * self.hop + self.size)
        for number, window in enumerate(windows_FT):
            total[number * self.hop :][: self.size] += window
        return total

    @property
    def silence(self) -> float:
        """What a frame of silence has in every band."""
        return float((math.log(_FLOOR) + _SHIFT) / _SCALE)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for ``MelSpec(**...)``."""
        return {"rate": self.rate, "window": self.window, "hop": self.hop, "bands": self.bands, "low_hz": self.low_hz}


def trimmed(samples_T: np.ndarray, rate: int) -> np.ndarray:
    """Samples without the quiet at both ends (40 dB under the loudest stretch, 50 ms of it kept), as loud as :data:`PEAK`; silence as it is.

    Quiet of any length before a word is what attention cannot learn to wait for.
    """
    loudest = float(np.abs(samples_T).max(initial=0.0))
    if loudest == 0.0:
        return samples_T
    start, stop = _without_quiet(samples_T, rate)
    return samples_T[start:stop] * np.float32(PEAK / loudest)


def in_quiet_of(said_T: np.ndarray, recorded_T: np.ndarray, rate: int) -> np.ndarray:
    """A clip as loud as :data:`PEAK` between the quiet that :func:`trimmed` cuts off a recording, as loud as it would be there."""
    loudest = float(np.abs(recorded_T).max(initial=0.0))
    if loudest == 0.0:
        return said_T
    start, stop = _without_quiet(recorded_T, rate)
    scale = np.float32(PEAK / loudest)
    return np.concatenate([recorded_T[:start] * scale, said_T, recorded_T[stop:] * scale])


def _without_quiet(samples_T: np.ndarray, rate: int) -> tuple[int, int]:
    """Where the quiet at the beginning ends and that at the end begins."""
    stretch = max(1, rate // 100)
    count = max(1, len(samples_T) // stretch)
    levels = np.sqrt([np.mean(part.astype(np.float64) ** 2) for part in np.array_split(samples_T, count)])
    loud = np.flatnonzero(levels > levels.max() * 10 ** (-_QUIET_DB / 20))
    margin, size = round(_MARGIN_SECONDS * rate), len(samples_T) / count
    start, stop = int(loud[0] * size) - margin, int((loud[-1] + 1) * size) + margin
    return max(0, start), min(len(samples_T), stop)


def _mel(pitch: Any) -> Any:
    """Hertz on Slaney's mel scale: even up to 1,000, then by ratios."""
    pitch = np.asarray(pitch, dtype=np.float64)
    return np.where(pitch < 1000, 3 * pitch / 200, 15 + np.log(np.maximum(pitch, 1e-9) / 1000) * 27 / math.log(6.4))


def _hertz(place: np.ndarray) -> np.ndarray:
    """The way back from :func:`_mel`."""
    return np.where(place < 15, 200 * place / 3, 1000 * np.exp((place - 15) * math.log(6.4) / 27))
