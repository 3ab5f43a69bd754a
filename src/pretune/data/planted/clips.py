"""Copies of clips as they come about: in another container, re-coded, trimmed, at another loudness or rate."""

from __future__ import annotations

import io
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from pretune.data.planted.plan import Way

__all__ = ["clip_ways"]

_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_PCM = ("PCM_16", "PCM_24", "PCM_U8", "PCM_S8")


def clip_ways(rng: Random) -> Mapping[str, Way[bytes]]:
    """Kinds for the bytes of clips that libsndfile reads."""

    def trimmed(samples_TC: np.ndarray, most: float) -> np.ndarray:
        start, end = (int(rng.uniform(0, most) * len(samples_TC)) for _ in range(2))
        return samples_TC[start : len(samples_TC) - end]

    def of_samples(change: Any, **options: Any) -> Way[bytes]:
        def way(data: bytes) -> bytes | None:
            samples_TC, rate, _ = _read(data)
            return (
                None
                if options.get("format") == "MP3" and rate not in _MP3_RATES_HZ
                else _written(change(samples_TC), rate, **options)
            )

        return way

    return {
        "the same samples, another container": _in_another_container,
        "the same samples, one header chunk more": _with_a_chunk,
        "MP3": of_samples(lambda samples: samples, format="MP3", compression_level=0.5),
        "MP3 of few bits": of_samples(lambda samples: samples, format="MP3", compression_level=0.95),
        "Ogg Vorbis": of_samples(lambda samples: samples, format="OGG", subtype="VORBIS"),
        "ends trimmed, up to 10 % each": of_samples(lambda samples: trimmed(samples, 0.1), format="WAV"),
        "ends trimmed, up to 20 % each": of_samples(lambda samples: trimmed(samples, 0.2), format="WAV"),
        "twice as loud, clipped": of_samples(lambda samples: np.clip(2 * samples, -1, 1), format="WAV"),
        "a third as loud": of_samples(lambda samples: samples / 3, format="WAV"),
        "at another rate": _at_another_rate,
        "MP3, ends trimmed": of_samples(lambda samples: trimmed(samples, 0.1), format="MP3", compression_level=0.5),
    }


def _read(data: bytes) -> tuple[np.ndarray, int, str]:
    """Samples (T, C) float32, their rate, and how they are stored."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return file.read(dtype="float32", always_2d=True), file.samplerate, file.subtype


def _written(samples_TC: np.ndarray, rate: int, **options: Any) -> bytes:
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, samples_TC, rate, **options)
    return held.getvalue()


def _in_another_container(data: bytes) -> bytes:
    samples_TC, rate, stored = _read(data)
    if stored in _PCM and data[:4] != b"fLaC":
        return _written(samples_TC, rate, format="FLAC", subtype="PCM_24" if stored == "PCM_24" else "PCM_16")
    return _written(samples_TC, rate, format="AIFF", subtype="FLOAT")


def _with_a_chunk(data: bytes) -> bytes:
    """A WAV file with a comment behind its samples, as recorders write it."""
    samples_TC, rate, stored = _read(data)
    whole = _written(samples_TC, rate, format="WAV", subtype=stored if stored in ("PCM_16", "PCM_24") else "FLOAT")
    whole += b"LIST" + (16).to_bytes(4, "little") + b"INFOICMT" + (4).to_bytes(4, "little") + b"copy"
    return whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:]


def _at_another_rate(data: bytes) -> bytes:
    import soxr

    samples_TC, rate, _ = _read(data)
    other = 16_000 if rate != 16_000 else 22_050
    return _written(soxr.resample(samples_TC, rate, other), other, format="WAV")
