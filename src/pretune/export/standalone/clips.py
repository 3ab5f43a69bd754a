"""Clips of sound to samples or log-mel features for the exported model in this folder; :mod:`predict` uses it.

WAV files of plain samples are read here; where soundfile is installed (pip install soundfile) it reads all others: FLAC, Ogg, MP3.
soxr brings clips of another rate to the model's. Shapes: T samples of a clip, C channels, F frames, W windows, M mel bands.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FULL_SCALE = 32_768
WINDOW, HOP, SPECTRUM = 400, 160, 512
LOWEST_HZ = 20
INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE
"""How a WAV file says what its samples are."""
UNKNOWN_SIZES = (0, 0x7FFFFFFE, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
"""What programs write that do not know yet how long a recording will be."""


class Reader:
    """Clips as the model hears them. They run one by one: silence behind a shorter one could be heard."""

    most_together = 1

    def __init__(self, _folder: Path, about: dict[str, Any], _beside: Callable[[str], Any]) -> None:
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
    """A clip (path or bytes) as float32 (T,) in [-1, 1] at ``rate``. Raises :class:`ValueError` for one that cannot be read."""
    name = "the clip" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    samples_TC, found = wav_samples(data, name) or decoded(data, name, rate)
    if not len(samples_TC):
        raise ValueError(f"{name} lasts 0 seconds")
    if not np.isfinite(samples_TC).all():
        raise ValueError(f"{name} holds samples that are not numbers")
    samples = samples_TC[:, 0] if samples_TC.shape[1] == 1 else samples_TC.mean(axis=1, dtype=np.float32)
    return samples if found == rate else resampled(samples, found, rate, name)


def wav_samples(data: bytes, name: str) -> tuple[np.ndarray, int] | None:
    """The samples (T, C) and the rate of a WAV file of plain numbers: 8 to 32 bits, or floats. None for another file.

    Raises :class:`ValueError` for one that is cut off.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    place, told = 12, None
    while place + 8 <= len(data):
        chunk, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        body = data[place + 8 : place + 8 + size] if size or chunk != b"data" else data[place + 8 :]
        if chunk == b"fmt " and len(body) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            told = (
                struct.unpack_from("<H", body, 24)[0] if kind == EXTENSIBLE and len(body) >= 26 else kind,
                channels,
                rate,
                bits,
            )
        elif chunk == b"data" and told is not None:
            if len(body) < size and size not in UNKNOWN_SIZES:
                raise ValueError(f"{name} is cut off: {len(body)} of {size} bytes of sound are there")
            kind, channels, rate, bits = told
            values = numbers_of(body, kind, bits)
            if values is None or not channels:
                return None
            return values[: len(values) // channels * channels].reshape(-1, channels), rate
        place += 8 + size + size % 2
    return None


def numbers_of(body: bytes, kind: int, bits: int) -> np.ndarray | None:
    """Samples as float32 in [-1, 1]; None for numbers of another form."""
    whole = body[: len(body) // max(1, bits // 8) * (bits // 8)]
    if kind == FLOATS and bits in (32, 64):
        return np.frombuffer(whole, dtype=f"<f{bits // 8}").astype(np.float32)
    if kind != INTEGERS or bits not in (8, 16, 24, 32):
        return None
    if bits == 8:
        return (np.frombuffer(whole, dtype=np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        bytes_T4 = np.zeros((len(whole) // 3, 4), dtype=np.uint8)
        bytes_T4[:, 1:] = np.frombuffer(whole, dtype=np.uint8).reshape(-1, 3)
        return (bytes_T4.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return (np.frombuffer(whole, dtype=f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)


def decoded(data: bytes, name: str, rate: int) -> tuple[np.ndarray, int]:
    """What soundfile reads of a clip. Raises :class:`ValueError` where it cannot, or is not installed."""
    try:
        import soundfile
    except (ImportError, OSError):
        raise ValueError(f"{name} is no WAV file of plain samples: pip install soundfile, or {convert(rate)}") from None
    try:
        return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except Exception as error:  # libsndfile's own kinds
        raise ValueError(f"{name} cannot be read ({str(error)[:120]}); {convert(rate)}") from None


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


def features(clip_T: np.ndarray, rate: int, bands: int, stack: int, even: str) -> np.ndarray:
    """Log-mel features (F, stack * M): every band, or the whole clip, with mean 0 and variance 1, windows side by side."""
    windows_WT = np.lib.stride_tricks.sliding_window_view(clip_T.astype(np.float64), WINDOW)[::HOP]
    centred_WT = windows_WT - windows_WT.mean(axis=1, keepdims=True)
    before_WT = np.concatenate([centred_WT[:, :1], centred_WT[:, :-1]], axis=1)
    spectrum = np.fft.rfft((centred_WT - 0.97 * before_WT) * np.hanning(WINDOW) ** 0.85, SPECTRUM)
    power = spectrum.real**2 + spectrum.imag**2
    bands_WM = np.log(np.maximum(power @ triangles(rate, bands), np.finfo(np.float32).eps)).astype(np.float32)
    over = 0 if even == "band" else None
    even_WM = (bands_WM - bands_WM.mean(axis=over)) / np.sqrt(bands_WM.var(axis=over, ddof=1) + 1e-7)
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
