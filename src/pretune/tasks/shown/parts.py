"""An item in parts that can be taken out of it one by one: what an explanation gives a score to.

Shapes: N parts, H and W the sides of a picture in pixels, T samples of a clip, F frames, P positions of the model's input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pretune.modalities.audio.clips import AudioSpec
from pretune.modalities.image.transform import ImageTransform, centre_crop, patches_of
from pretune.types import Encoded

__all__ = ["Parts", "clip_parts", "fitted_parts", "picture_parts"]

MOST_SQUARES_A_SIDE = 14
MOST_STRETCHES = 50
SHORTEST_STRETCH_SECONDS = 0.06
"""Three frames of 20 ms, about the length of a short sound of speech."""


@dataclass(frozen=True)
class Parts:
    """``item`` and its N parts. ``without(taken_N)`` is the item with the parts marked True made blank, ``blank`` says by what.

    ``places`` (P,) or (H, W) int says to which part each position of the model's input belongs, -1 to none. ``names`` are the
    words of a text as they stand in it, ``spans`` their (side, first character, character behind the last); ``seconds`` (N + 1,)
    where stretches of a clip begin and the last one ends; ``grid`` the rows and columns of a picture's squares.
    """

    item: Encoded
    count: int
    without: Callable[[np.ndarray], Encoded]
    blank: str
    places: np.ndarray
    names: tuple[str, ...] = ()
    spans: tuple[tuple[int, int, int], ...] = ()
    seconds: tuple[float, ...] = ()
    grid: tuple[int, int] = (0, 0)
    pixels: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def blank_item(self) -> Encoded:
        """The item with every part made blank."""
        return self.without(np.ones(self.count, dtype=bool))

    def scores_of(self, values: np.ndarray) -> np.ndarray:
        """Values of the positions, of the shape of ``places``, summed over each part: (N,)."""
        is_own = self.places >= 0
        return np.bincount(self.places[is_own], weights=values[is_own], minlength=self.count)


def picture_parts(pixels: np.ndarray, geometry: ImageTransform, row_id: str) -> Parts:
    """Squares of a picture uint8 (H, W, 3)'s crop, at most 14 a side; a blank is the crop's mean colour."""
    crop = centre_crop(pixels, geometry.crop)
    return fitted_parts(Encoded(row_id, {"pixels": crop}, patches_of(geometry)), crop.shape[:2])


def fitted_parts(item: Encoded, size: tuple[int, ...]) -> Parts:
    """The same of an item whose picture is of ``size`` (height, width) and stands in the upper left corner of its pixels."""
    pixels, (height, width) = item.arrays["pixels"], size
    crop = pixels[:height, :width]
    rows, columns = (_squares(side) for side in (height, width))
    down_H, across_W = (
        np.arange(side) * count // side for side, count in zip((height, width), (rows, columns), strict=True)
    )
    places_HW = down_H[:, None] * columns + across_W[None]
    mean = np.rint(crop.mean(axis=(0, 1))).astype(np.uint8)

    def without(taken_N: np.ndarray) -> Encoded:
        changed = np.array(pixels)
        changed[:height, :width] = np.where(taken_N[places_HW][..., None], mean, crop)
        return Encoded(item.id, {**item.arrays, "pixels": changed}, item.cost)

    return Parts(
        without(np.zeros(rows * columns, dtype=bool)), rows * columns, without, "the picture's mean colour", places_HW,
        grid=(rows, columns), pixels=crop,
    )  # fmt: skip


def _squares(side: int) -> int:
    """Squares along a side: 14 or a little less, so that all are of one size and do not cut through a transformer's patches."""
    most = min(MOST_SQUARES_A_SIDE, side)
    return next((count for count in range(most, most // 2, -1) if side % count == 0), most)


def clip_parts(clip: np.ndarray, hearing: AudioSpec, row_id: str) -> Parts:
    """Stretches of a clip int16 (T,) of like length, 60 ms at least and 50 at most; a blank is silence."""
    frames = hearing.frames(len(clip))
    longest = max(1, int(len(clip) / (SHORTEST_STRETCH_SECONDS * hearing.rate)))
    count = min(MOST_STRETCHES, longest, frames)
    edges = np.rint(np.linspace(0, len(clip), count + 1)).astype(int)
    stretch_T = np.searchsorted(edges, np.arange(len(clip)), side="right") - 1
    # A frame belongs where its middle lies.
    middles_F = ((np.arange(frames) + 0.5) * len(clip) / frames).astype(int)
    cost = hearing.cost(len(clip))

    def without(taken_N: np.ndarray) -> Encoded:
        return Encoded(row_id, {"samples": np.where(taken_N[stretch_T], np.int16(0), clip)}, cost)

    return Parts(
        without(np.zeros(count, dtype=bool)), count, without, "silence", stretch_T[middles_F],
        seconds=tuple((edges / hearing.rate).tolist()),
    )  # fmt: skip
