"""What a picture is known by when copies are looked for: its sketch, small and grey, and a second one without its border."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SKETCH_SIDE", "sketches_of"]

SKETCH_SIDE = 32
_LOOKED_AT_PX = 256
_EVEN = 20  # grey levels: what a border may differ by in itself, as lossy formats leave it
_WIDEST, _NARROWEST = 0.3, 0.02


def sketches_of(grey: Image) -> bytes:
    """32 x 32 grey pixels, row by row; where the picture has a border, as many again of what is inside it."""
    box = _inside(grey)
    return _sketch(grey) + (_sketch(grey.crop(box)) if box else b"")


def _sketch(grey: Image) -> bytes:
    from PIL.Image import Resampling

    how = Resampling.BOX if min(grey.size) >= SKETCH_SIDE else Resampling.BILINEAR
    return grey.resize((SKETCH_SIDE, SKETCH_SIDE), how).tobytes()


def _inside(grey: Image) -> tuple[int, int, int, int] | None:
    """The box inside a border of one colour, on two opposite sides or all round; None where there is none."""
    from PIL.Image import Resampling

    scale = max(1.0, max(grey.size) / _LOOKED_AT_PX)
    size = (max(1, round(grey.width / scale)), max(1, round(grey.height / scale)))
    small = np.asarray(grey.resize(size, Resampling.BOX) if scale > 1 else grey, dtype=np.int16)
    if min(small.shape) < SKETCH_SIDE // 2:
        return None
    top, bottom = _even_lines(small)
    left, right = _even_lines(small[top : small.shape[0] - bottom].T)
    if not (top and bottom) and not (left and right):
        return None
    edge = (left, top, size[0] - right, size[1] - bottom)
    return tuple(round(place * scale) for place in edge)  # type: ignore[return-value]


def _even_lines(small_HW: np.ndarray) -> tuple[int, int]:
    """How many lines at the start and at the end have the colour of the outermost one, one more where there are any (it is mixed); 0 and 0 unless
    both ends have some.
    """
    limit, least = int(len(small_HW) * _WIDEST), max(1, round(len(small_HW) * _NARROWEST))
    counts = []
    for lines in (small_HW[:limit], small_HW[::-1][:limit]):
        colour = (int(lines[0].max()) + int(lines[0].min())) / 2
        if lines[0].max() - colour > _EVEN:
            return 0, 0
        uneven = np.maximum(lines.max(axis=1) - colour, colour - lines.min(axis=1)) > _EVEN
        counts.append(int(uneven.argmax()) if uneven.any() else limit)
    return (counts[0] + 1, counts[1] + 1) if min(counts) >= least else (0, 0)
