"""What a clip is known by when copies are looked for: a hash of its samples, and landmarks of its spectrum.

Landmarks are pairs of peaks of the spectrogram: two frequencies and the time between them, which loudness, trimmed ends and lossy formats
mostly leave as they are. Wang, "An Industrial-Strength Audio Search Algorithm" (2003). Windows last 64 ms at every rate, so that
frequencies are the same numbers at every rate. F frames, B frequencies.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["SoundSketch", "landmarks_of", "samples_hash"]

_WINDOW_SECONDS, _HOP_SECONDS = 0.064, 0.008
_HIGHEST_HZ = 3_500
_NEAR_FRAMES, _NEAR_BINS = 4, 4  # a peak is the highest within so many on each side
_DEEPEST_DB = 55.0
_PEAKS_PER_SECOND, _FEWEST_PEAKS = 60, 8
_PARTNERS, _FARTHEST_FRAMES = 6, 62
_MOST_LANDMARKS = 6_000
_HASH_BYTES = 8


class SoundSketch:
    """Gathers the sketch of a clip from blocks of its samples."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._digest = hashlib.blake2b(f"{rate}".encode(), digest_size=_HASH_BYTES)
        self._found: list[np.ndarray] = []

    def add(self, block_TC: np.ndarray) -> None:
        """Some more samples, float32, of all channels."""
        self._digest.update(f"{block_TC.shape[1]}".encode())
        self._digest.update(np.ascontiguousarray(block_TC).data)
        self._found.append(_landmarks(block_TC.mean(axis=1, dtype=np.float32), self._rate))

    def done(self) -> bytes:
        """The hash of the samples, 8 bytes, then each landmark as uint32, the smallest where there are too many."""
        found = np.unique(np.concatenate([np.empty(0, dtype=np.uint32), *self._found]))
        return self._digest.digest() + found[:_MOST_LANDMARKS].astype("<u4").tobytes()


def samples_hash(sketch: bytes) -> int:
    """Equal for clips of the same samples, whatever file holds them."""
    return int.from_bytes(sketch[:_HASH_BYTES], "little")


def landmarks_of(sketch: bytes) -> np.ndarray:
    """(M,) uint32, spread evenly."""
    return np.frombuffer(sketch, dtype="<u4", offset=_HASH_BYTES)


def _landmarks(samples_T: np.ndarray, rate: int) -> np.ndarray:
    peaks = _peaks(samples_T, rate)
    if peaks is None:
        return np.empty(0, dtype=np.uint32)
    frame, bin_ = peaks
    found = []
    for step in range(1, min(_PARTNERS + 1, len(frame))):
        apart = frame[step:] - frame[:-step]
        near = apart <= _FARTHEST_FRAMES
        found.append((bin_[:-step][near] << 16) | (bin_[step:][near] << 8) | (apart[near] // 2))
    return _spread(np.concatenate(found)) if found else np.empty(0, dtype=np.uint32)


def _peaks(samples_T: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames and frequencies of the highest peaks, in order of time; None for silence and for less than one window."""
    size = round(_WINDOW_SECONDS * rate)
    if len(samples_T) < size or not samples_T.any():
        return None
    starts = np.arange(0, len(samples_T) - size + 1, _HOP_SECONDS * rate).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(samples_T, size)[starts] * np.hanning(size).astype(np.float32)
    power_FB = np.square(np.abs(np.fft.rfft(windows, axis=1)[:, 1 : int(_HIGHEST_HZ * _WINDOW_SECONDS) + 1]))
    high_FB = power_FB > power_FB.max() * 10 ** (-_DEEPEST_DB / 10)
    frame, bin_ = np.nonzero(high_FB & (power_FB == _highest_near(power_FB)))
    most = max(_FEWEST_PEAKS, int(_PEAKS_PER_SECOND * len(samples_T) / rate))
    kept = np.argsort(-power_FB[frame, bin_], kind="stable")[:most]
    kept = kept[np.lexsort((bin_[kept], frame[kept]))]
    return frame[kept], bin_[kept]


def _highest_near(power_FB: np.ndarray) -> np.ndarray:
    """The highest value around each, in time and in frequency."""
    padded = np.pad(power_FB, ((_NEAR_FRAMES, _NEAR_FRAMES), (_NEAR_BINS, _NEAR_BINS)))
    return _highest_of(_highest_of(padded, 2 * _NEAR_FRAMES + 1).T, 2 * _NEAR_BINS + 1).T


def _highest_of(rows: np.ndarray, count: int) -> np.ndarray:
    """For each row the highest values of it and those after it, ``count`` in all; in few steps, as a maximum may be taken twice."""
    width = 1
    while width < count:
        step = min(width, count - width)
        rows = np.maximum(rows[: len(rows) - step], rows[step:])
        width += step
    return rows


def _spread(values: np.ndarray) -> np.ndarray:
    """The same numbers hashed to uint32."""
    state = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(29)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    return (state >> np.uint64(32)).astype(np.uint32)
