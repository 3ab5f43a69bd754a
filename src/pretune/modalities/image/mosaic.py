"""Four pictures with their boxes as one (Bochkovskiy et al. 2020, arXiv 2004.10934, section 3.3): small data shows more objects at once, smaller,
beside what they never stood beside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretune.modalities.image.augment_boxes import VariedBoxes, left_of

__all__ = ["PICTURES", "mosaic"]

PICTURES = 4
_NEAR, _FAR = 1.0, 0.5
"""How much smaller than it was a picture is shown, at least and at most."""
_MIDDLE = (0.3, 0.7)
_GREY = 128


def mosaic(pictures: Sequence[np.ndarray], boxes: Sequence[np.ndarray], rng: np.random.Generator) -> VariedBoxes:
    """A picture of the first one's size, whose quarters, of sizes that are drawn, show a part of each picture; the boxes (M, 4) of all of
    them, in order, with those set aside of which too little is seen. Pictures are uint8 (h, w, 3).
    """
    assert len(pictures) == len(boxes) == PICTURES, "a quarter each"
    height, width = pictures[0].shape[:2]
    x, y = (round(side * rng.uniform(*_MIDDLE)) for side in (width, height))
    whole = np.full((height, width, 3), _GREY, dtype=np.uint8)
    places, lost = [], []
    quarters = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    for picture, own_M4, quarter in zip(pictures, boxes, quarters, strict=True):
        seen, scale, offset = _part(picture, (quarter[2] - quarter[0], quarter[3] - quarter[1]), rng)
        whole[quarter[1] : quarter[1] + seen.shape[0], quarter[0] : quarter[0] + seen.shape[1]] = seen
        moved_M4 = own_M4 * scale + np.tile(np.array(quarter[:2]) - offset, 2)
        inside_M4 = np.clip(moved_M4, np.tile(quarter[:2], 2), np.tile(quarter[2:], 2)).astype(np.float32)
        places.append(inside_M4)
        lost.append(left_of(inside_M4, moved_M4))
    return VariedBoxes(whole, np.concatenate(places), np.concatenate(lost))


def _part(
    picture: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part of the picture made smaller, of at most ``size`` (width, height); the scales of its sides twice (4,), and where it begins (2,)."""
    from PIL import Image

    height, width = picture.shape[:2]
    scale = rng.uniform(_FAR, _NEAR)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = np.asarray(Image.fromarray(picture).resize((across, down), Image.Resampling.BILINEAR))
    left, top = (int(rng.integers(max(0, had - wanted) + 1)) for had, wanted in zip((across, down), size, strict=True))
    seen = smaller[top : top + size[1], left : left + size[0]]
    return seen, np.tile([across / width, down / height], 2), np.array([left, top])
