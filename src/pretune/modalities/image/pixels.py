"""A whole data set as pixels on disk: every picture decoded and scaled once, then read through memory maps.

Decoding is most of the work of training a small image model on an ordinary machine. Where the pixels would fill more than
``MAX_STORE_BYTES`` they are decoded when they are needed instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pretune.cache import get_or_create
from pretune.files import check_free_space, fsync_file, write_json
from pretune.modalities.image.transform import ImageTransform
from pretune.modalities.text.store import Growing, open_array

__all__ = ["PixelStore", "store_pixels"]

MAX_STORE_BYTES = 16 * 2**30
_AT_A_TIME = 256
_FORMAT = 1


class PixelStore:
    """Scaled pictures of a data set: ``picture(i)`` is uint8 (H, W, 3), not cut to the crop yet."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self._pixels = open_array(folder / "pixels.npy")
        self._offsets = open_array(folder / "offsets.npy")
        self._heights = open_array(folder / "heights.npy")
        if len(self._offsets) != len(self._heights) + 1 or len(self._pixels) != about["bytes"]:
            raise ValueError(f"{folder} is incomplete")

    def __len__(self) -> int:
        return len(self._heights)

    def picture(self, index: int) -> np.ndarray:
        """Picture ``index``; the array is a view of the file."""
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        height = int(self._heights[index])
        return self._pixels[start:stop].reshape(height, (stop - start) // (3 * height), 3)


def store_pixels(
    count: int, read: Callable[[int], np.ndarray], geometry: ImageTransform, *, fingerprint: str
) -> Callable[[int], np.ndarray]:
    """Picture by number, from pixels on disk that ``read`` (decode and scale one) filled once; ``read`` itself for sets too large.

    ``fingerprint`` names the data. Raises :class:`~pretune.errors.DiskFull`.
    """
    side = geometry.shortest or max(geometry.exact or geometry.crop)
    if count * side * side * 4 > MAX_STORE_BYTES:
        return read
    return get_or_create(
        "pixels",
        f"{_FORMAT}:{fingerprint}:{geometry.identity()}",
        PixelStore,
        lambda folder: _write(folder, count, read, count * side * side * 4),
    ).picture


def _write(folder: Path, count: int, read: Callable[[int], np.ndarray], size: int) -> None:
    check_free_space(folder, size, "keeping scaled pictures")
    kinds = {"pixels": np.uint8, "offsets": np.int64, "heights": np.int32}
    total = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", kind)) for name, kind in kinds.items()}
        files["offsets"].append(np.zeros(1))
        for pictures in _in_order(count, read):
            files["heights"].append(np.array([len(picture) for picture in pictures]))
            files["offsets"].append(total + np.cumsum([picture.size for picture in pictures]))
            files["pixels"].append(np.concatenate([picture.reshape(-1) for picture in pictures]))
            total += sum(picture.size for picture in pictures)
    for name in kinds:
        fsync_file(folder / f"{name}.npy")
    write_json(folder / "about.json", {"bytes": total, "pictures": count})


def _in_order(count: int, read: Callable[[int], np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Pictures in order, some at a time; Pillow decodes outside the interpreter's lock, so threads help."""
    with ThreadPoolExecutor() as pool:
        for first in range(0, count, _AT_A_TIME):
            yield [*pool.map(read, range(first, min(count, first + _AT_A_TIME)))]
