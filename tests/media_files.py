"""Pictures and clips for tests: small, different for each seed, in folders as people have them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

RATE = 8_000


def picture(seed: int, form: str = "PNG", size: tuple[int, int] = (24, 18), **options: Any) -> bytes:
    """An encoded picture."""
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).save(buffer, form, **options)
    return buffer.getvalue()


def tone(seed: int, seconds: float = 0.2, rate: int = RATE, loudness: float = 0.3) -> np.ndarray:
    """(T,) float32: a tone and a little noise."""
    at = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(at))
    return (loudness * np.sin(2 * np.pi * (200 + 13 * seed) * at) + 0.01 * noise).astype(np.float32)


def clip(seed: int, form: str = "WAV") -> bytes:
    """An encoded clip."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seed), RATE, format=form)
    return buffer.getvalue()


def put(root: Path, names: Iterable[str], *, first_seed: int = 0) -> Path:
    """Write a picture or clip, by its suffix, at each of the names; a number of its own to each."""
    for seed, name in enumerate(names, first_seed):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_clip = path.suffix.lower() in (".wav", ".flac", ".ogg")
        form = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG"}.get(path.suffix.lower(), "PNG")
        path.write_bytes(clip(seed, path.suffix[1:].upper()) if is_clip else picture(seed, form))
    return root


def numbered(*folders: str, count: int = 4, name: str = "{}.png") -> list[str]:
    """``count`` names in each folder."""
    return [f"{folder}/{name.format(number)}" for folder in folders for number in range(count)]
