"""Pictures varied together with what stands where in them: ``torchvision.transforms.v2`` on one picture and its mask.

Both are moved alike, the mask by nearest neighbours; what a picture lacks after it was turned or moved is its mean colour, and of
no class in the mask. Colours change the picture alone. Shapes: uint8 (H, W, 3) and (H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import torch

from pretune.answers.mask import NONE

__all__ = ["LEVELS", "vary_with_mask"]

Size: TypeAlias = tuple[int, int]
Fill: TypeAlias = tuple[int, ...]


def _light(size: Size, fill: dict[Any, Any]) -> list[Any]:
    """Scaled and cut (large-scale jitter of a small extent: Ghiasi et al. 2021, arXiv 2012.07177), mirrored, a little colour."""
    from torchvision.transforms import v2

    return [
        v2.ScaleJitter(size, scale_range=(0.75, 1.75), antialias=True),
        v2.RandomCrop(size, pad_if_needed=True, fill=fill),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    ]


def _strong(size: Size, fill: dict[Any, Any]) -> list[Any]:
    """Also turned, more of colour, some blurred or grey."""
    from torchvision.transforms import v2

    return [
        v2.RandomRotation((-10.0, 10.0), fill=fill),
        v2.ScaleJitter(size, scale_range=(0.5, 2.0), antialias=True),
        v2.RandomCrop(size, pad_if_needed=True, fill=fill),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05),
        v2.RandomGrayscale(0.1),
        v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], p=0.2),
    ]


LEVELS: dict[str, Callable[[Size, dict[Any, Any]], list[Any]] | None] = {
    "none": None,
    "light": _light,
    "strong": _strong,
}


@cache
def _composed(level: str, size: Size, fill: Fill) -> Any:
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    recipe = LEVELS[level]
    assert recipe is not None, "there is something to vary"
    return v2.Compose(recipe(size, {tv_tensors.Image: list(fill), tv_tensors.Mask: NONE}))


def vary_with_mask(
    level: str, pixels: np.ndarray, mask: np.ndarray, fill: Fill, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A varied picture with its mask, of the same size; the same ``rng`` gives the same."""
    if LEVELS[level] is None:
        return pixels, mask
    from torchvision import tv_tensors

    picture = tv_tensors.Image(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
    regions = tv_tensors.Mask(torch.from_numpy(np.array(mask)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        picture, regions = _composed(level, (mask.shape[0], mask.shape[1]), fill)(picture, regions)
    return picture.permute(1, 2, 0).contiguous().numpy(), regions.numpy()
