"""Pictures varied together with their boxes while they are learned from; torchvision's transforms of pictures and boxes at once.

Draws come from a generator given by the caller, so the same row in the same epoch is varied alike in every run. A box of which too
little is left in the picture is set aside: it is neither learned nor taken for background. Shapes: pictures uint8 (H, W, 3), M boxes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = ["BOX_AUGMENTS", "VariedBoxes", "left_of", "varied_boxes"]

BOX_AUGMENTS = ("none", "light", "strong")
LEAST_LEFT = 0.4
"""Of a box's area, so that it is still learned."""


class VariedBoxes(NamedTuple):
    """A picture, its boxes float32 (M, 4), and which of them are learned no more, bool (M,)."""

    pixels: np.ndarray
    boxes_M4: np.ndarray
    lost_M: np.ndarray


def varied_boxes(pixels: np.ndarray, boxes_M4: np.ndarray, level: str, rng: np.random.Generator) -> VariedBoxes:
    """The picture flipped, coloured, drawn nearer or farther and moved, and its boxes with it; the picture's size stays."""
    from torchvision import tv_tensors

    if level == "none":
        return VariedBoxes(pixels, boxes_M4, np.zeros(len(boxes_M4), dtype=bool))
    height, width = pixels.shape[:2]
    picture = tv_tensors.Image(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
    boxes = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
        torch.from_numpy(boxes_M4.copy()), format="XYXY", canvas_size=(height, width), clamping_mode=None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        moved, places = _recipe(level)(picture, boxes)
    whole_M4 = places.as_subclass(torch.Tensor).float().numpy()
    inside_M4 = np.clip(whole_M4, 0.0, np.array([width, height, width, height], dtype=np.float32))
    return VariedBoxes(moved.permute(1, 2, 0).numpy(), inside_M4, left_of(inside_M4, whole_M4))


def left_of(inside_M4: np.ndarray, whole_M4: np.ndarray) -> np.ndarray:
    """(M,) whether too little of each box is inside."""
    return _areas(inside_M4) / np.maximum(_areas(whole_M4), 1e-6) < LEAST_LEFT


def _areas(boxes_M4: np.ndarray) -> np.ndarray:
    return np.clip(boxes_M4[:, 2:] - boxes_M4[:, :2], 0.0, None).prod(axis=1)


@cache
def _recipe(level: str) -> Any:
    """Flip, colour, scale and place; ``strong`` more of each (large-scale jitter: Ghiasi et al. 2021, arXiv 2012.07177, appendix A)."""
    from torchvision.transforms import v2

    near, far, colour, shift = (0.8, 1.25, 0.2, 0.1) if level == "light" else (0.5, 1.7, 0.4, 0.2)
    bilinear = v2.InterpolationMode.BILINEAR
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=colour, contrast=colour, saturation=colour),
            v2.RandomAffine((0.0, 0.0), translate=(shift, shift), scale=(near, far), interpolation=bilinear, fill=128),
        ]
    )
