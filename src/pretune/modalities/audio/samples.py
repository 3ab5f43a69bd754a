"""A whole data set of sound as samples on disk: every clip decoded and resampled once, then read through memory maps.

Where the samples would fill more than ``MAX_STORE_BYTES`` they are decoded when they are needed instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np

from pretune.cache import get_or_create
from pretune.files import check_free_space, fsync_file, write_json
from pretune.modalities.audio.clips import AudioSpec
from pretune.modalities.text.store import Growing, open_array

__all__ = ["Clips", "SampleStore", "store_samples"]

MAX_STORE_BYTES = 16 * 2**30
_AT_A_TIME = 64
_FORMAT = 1


class Clips(Protocol):
    """Clips by number, and how long they are: ``num_samples_N`` int64 (N,)."""

    num_samples_N: np.ndarray

    def clip(self, index: int, /) -> np.ndarray:
        """Clip ``index``, int16 (T,)."""
        ...


class SampleStore:
    """Clips of a data set on disk."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self._samples = open_array(folder / "samples.npy")
        self._offsets = open_array(folder / "offsets.npy")
        if len(self._offsets) != about["clips"] + 1 or len(self._samples) != self._offsets[-1]:
            raise ValueError(f"{folder} is incomplete")
        self.num_samples_N = np.diff(self._offsets)

    def clip(self, index: int) -> np.ndarray:
        """Clip ``index``, int16 (T,); the array is a view of the file."""
        return self._samples[self._offsets[index] : self._offsets[index + 1]]


class _Decoded:
    """Clips that are decoded each time; their lengths are those that the data tells."""

    def __init__(self, read: Callable[[int], np.ndarray], num_samples_N: np.ndarray) -> None:
        self._read = read
        self.num_samples_N = num_samples_N

    def clip(self, index: int) -> np.ndarray:
        return self._read(index)


def store_samples(
    seconds_N: np.ndarray, read: Callable[[int], np.ndarray], hearing: AudioSpec, *, fingerprint: str
) -> Clips:
    """Clips that ``read`` (decode and resample one) gave, on disk; ``read`` itself for sets too large.

    ``seconds_N`` is how long each lasts, ``fingerprint`` names the data. Raises :class:`~pretune.errors.DiskFull`.
    """
    told_N = np.maximum(np.rint(seconds_N * hearing.rate), hearing.least_samples).astype(np.int64)
    size = int(told_N.sum()) * 2
    if size > MAX_STORE_BYTES:
        return _Decoded(read, told_N)
    return get_or_create(
        "samples",
        f"{_FORMAT}:{fingerprint}:{hearing.rate}:{hearing.least_samples}",
        SampleStore,
        lambda folder: _write(folder, len(seconds_N), read, size),
    )


def _write(folder: Path, count: int, read: Callable[[int], np.ndarray], size: int) -> None:
    check_free_space(folder, size, "keeping decoded sound")
    kinds = {"samples": np.int16, "offsets": np.int64}
    total = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", kind)) for name, kind in kinds.items()}
        files["offsets"].append(np.zeros(1))
        for clips in _in_order(count, read):
            files["offsets"].append(total + np.cumsum([len(clip) for clip in clips]))
            files["samples"].append(np.concatenate(clips))
            total += sum(len(clip) for clip in clips)
    for name in kinds:
        fsync_file(folder / f"{name}.npy")
    write_json(folder / "about.json", {"samples": total, "clips": count})


def _in_order(count: int, read: Callable[[int], np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Clips in order, some at a time; decoding and resampling leave the interpreter's lock, so threads help."""
    with ThreadPoolExecutor() as pool:
        for first in range(0, count, _AT_A_TIME):
            yield [*pool.map(read, range(first, min(count, first + _AT_A_TIME)))]
