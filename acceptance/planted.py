"""What is planted among held-out rows so that a test of drift has to find it: rows of another source, changed files, other shares of a class.

Places of rows: the ``held`` held-out ones first, then what is planted. Changed rows stand in the order of the held-out ones, for each amount again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset
from PIL import Image
from scipy.signal import resample_poly

from pretune.data.media.audio import decode_audio
from pretune.data.media.image import decode_image

__all__ = ["CHANGES", "Places", "new_rows", "planted_rows"]

Places = np.ndarray
Cell = Mapping[str, Any]

_RATE = 8_000
"""Samples a second of the clips that are changed."""


def _brighter(cell: Cell, by: float, rng: np.random.Generator, place: Path) -> None:
    del rng
    _write_picture(place, _shades(cell) * (1 + by))


def _noisier(cell: Cell, by: float, rng: np.random.Generator, place: Path) -> None:
    shades_HW3 = _shades(cell)
    _write_picture(place, shades_HW3 + 255 * by * rng.standard_normal(shades_HW3.shape))


def _noisier_clip(cell: Cell, by: float, rng: np.random.Generator, place: Path) -> None:
    samples_T = decode_audio(cell, _RATE)
    loudness = float(np.sqrt(np.mean(samples_T**2)))
    _write_clip(place, samples_T + by * loudness * rng.standard_normal(len(samples_T)), _RATE)


def _twice_the_rate(cell: Cell, by: float, rng: np.random.Generator, place: Path) -> None:
    del by, rng
    _write_clip(place, resample_poly(decode_audio(cell, _RATE), 2, 1), 2 * _RATE)


def _shades(cell: Cell) -> np.ndarray:
    return np.asarray(decode_image(cell), dtype=np.float64)


def _write_picture(place: Path, shades_HW3: np.ndarray) -> None:
    Image.fromarray(shades_HW3.round().clip(0, 255).astype(np.uint8)).save(place.with_suffix(".png"))


def _write_clip(place: Path, samples_T: np.ndarray, rate: int) -> None:
    soundfile.write(place.with_suffix(".wav"), samples_T, rate, subtype="PCM_16")


CHANGES: Mapping[str, Callable[[Cell, float, np.random.Generator, Path], None]] = {
    "brighter": _brighter,
    "noisier": _noisier,
    "noisier-clips": _noisier_clip,
    "rate": _twice_the_rate,
}


def planted_rows(
    what: str, held: Dataset, amounts: Sequence[float], data: str | None, folder: Path, read: Callable[[str], Dataset]
) -> list[Dataset]:
    """The sets that are planted, each with as many rows as are held out; changed files are written below ``folder`` and read again."""
    if what == "rows":
        assert data is not None, "rows: --data says where they come from"
        found = read(data)
        return [found.select(np.random.default_rng(0).permutation(len(found))[: len(held)])]
    if what not in CHANGES:
        return []
    rng = np.random.default_rng(0)
    column = "image" if "image" in held.column_names else "audio"
    cells = held.with_format("arrow")[:][column].to_pylist()
    sets = []
    for amount in [1.0] if what == "rate" else amounts:
        place = folder / f"{amount:g}"
        place.mkdir()
        for number, cell in enumerate(cells):
            CHANGES[what](cell, amount, rng, place / f"{number:06}")
        sets.append(read(str(place)))
    assert all(len(one) == len(held) for one in sets), "a changed file was not read"
    return sets


def new_rows(
    what: str, rest: Places, rows: int, held: int, is_first_N: np.ndarray, amount: float, number: int, rng: np.random.Generator
) -> Places:  # fmt: skip
    """Places of new rows out of ``rest``, held-out rows that are not the reference, with the ``number``-th ``amount`` planted. ``is_first_N``: which
    held-out rows are of the first class.
    """
    new, planted = rest[:rows], round(amount * rows)
    if what == "rows":
        return np.concatenate([new[planted:], held + rng.permutation(held)[:planted]])
    if what == "rate":
        return np.concatenate([new[planted:], held + new[:planted]])
    if what == "shares":
        is_first_R = is_first_N[rest]
        return np.concatenate([rest[is_first_R][:planted], rest[~is_first_R][: rows - planted]])
    return new + held * (number + 1)
