"""Pictures with boxes, scaled to a canvas once and read from disk by number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pretune.answers.boxes import Box
from pretune.data.media.image import decode_image
from pretune.modalities.image.letterbox import Canvas, fitted
from pretune.modalities.image.pixels import store_pixels
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["BoxTarget", "BoxedRows", "scaled_target", "store_boxed"]


class BoxTarget(NamedTuple):
    """The boxes of an item in pixels of its scaled picture, (left, top, right, bottom) each, their classes, and which count for nothing."""

    places: tuple[tuple[float, float, float, float], ...]
    classes: tuple[int, ...]
    aside: tuple[bool, ...]

    @classmethod
    def of(cls, boxes_M4: np.ndarray, classes: Sequence[int], aside_M: np.ndarray) -> BoxTarget:
        """From arrays."""
        places = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes_M4.tolist())
        return cls(places, tuple(classes), tuple(aside_M.tolist()))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(M, 4) float32, (M,) int64 and (M,) bool."""
        places_M4 = np.array(self.places, dtype=np.float32).reshape(-1, 4)
        return places_M4, np.array(self.classes, dtype=np.int64), np.array(self.aside, dtype=bool)


def scaled_target(
    boxes: Sequence[Box], index: dict[str, int], size: Sequence[int], pixels: Sequence[float]
) -> BoxTarget:
    """Boxes of a picture of ``size`` (width, height) on its scaled form of ``pixels`` (height, width); those of a class that is not in
    ``index`` count for nothing.
    """
    across, down = pixels[1] / size[0], pixels[0] / size[1]
    return BoxTarget(
        tuple((box.x1 * across, box.y1 * down, box.x2 * across, box.y2 * down) for box in boxes),
        tuple(index.get(box.label, 0) for box in boxes),
        tuple(bool(box.aside) or box.label not in index for box in boxes),
    )


class BoxedRows:
    """Items by number: the fitted picture uint8 (h, w, 3), the original's (width, height), and the boxes on the former."""

    def __init__(
        self, dataset: Dataset, picture: Callable[[int], np.ndarray], boxes: Sequence[Sequence[Box] | None],
        index: dict[str, int], cost: int,
    ) -> None:  # fmt: skip
        arrow = dataset.with_format("arrow")[:]
        self._ids, self._widths, self._heights = (arrow[name] for name in ("id", "width", "height"))
        self._picture, self._boxes, self._index = picture, boxes, index
        self.lengths_N = np.full(len(dataset), cost, dtype=np.int64)
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        pixels, size = self._picture(index), (self._widths[index].as_py(), self._heights[index].as_py())
        boxes = self._boxes[index]
        target = None if boxes is None else scaled_target(boxes, self._index, size, pixels.shape)
        arrays = {"pixels": pixels, "size": np.array(size, dtype=np.int32)}
        return Encoded(self._ids[index].as_py(), arrays, int(self.lengths_N[index]), target)


def store_boxed(
    dataset: Dataset, canvas: Canvas, boxes: Sequence[Sequence[Box] | None], index: dict[str, int], cost: int, *, fingerprint: str
) -> BoxedRows:  # fmt: skip
    """Every picture of ``dataset`` fitted to the canvas, kept on disk under ``fingerprint``. Raises
    :class:`pretune.errors.DataError` for a picture that cannot be read.
    """
    images = dataset.with_format("arrow")[:]["image"]

    def read(number: int) -> np.ndarray:
        return fitted(decode_image(images[number].as_py()), canvas)

    about = dataclasses.replace(canvas.geometry, crop=canvas.sides, exact=canvas.sides, shortest=None)
    picture = store_pixels(len(dataset), read, about, fingerprint=f"{fingerprint}:{canvas.identity()}")
    return BoxedRows(dataset, picture, boxes, index, cost)
