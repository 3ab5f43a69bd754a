"""Pictures varied while they are learned from: crop, flip, rotation, colour, RandAugment, random erasing.

Each level is a list of ``torchvision.transforms.v2``; their draws come from a generator given by the caller, so the same
row in the same epoch is varied alike in every run. Shapes: uint8 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from pretune.modalities.image.transform import centre_crop

__all__ = ["AUGMENTS", "Augment"]

_BLEND, _CUT = 0.8, 1.0
"""Of the Beta law that shares are drawn from (DeiT: Touvron et al. 2021, arXiv 2012.12877, table 9)."""


@dataclass(frozen=True)
class Augment:
    """A level of variation; without a recipe the middle of the picture is taken as it is. ``mixes`` is the share of pictures
    that are learned mixed with another.
    """

    name: str
    recipe: Callable[[tuple[int, int]], list[Any]] | None = None
    mixes: float = 0.0

    def picture(self, pixels: np.ndarray, crop: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """A varied picture of the crop's size, uint8 (H, W, 3)."""
        if self.recipe is None:
            return centre_crop(pixels, crop)
        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            varied = _composed(self.name, crop)(tensor)
        return varied.permute(1, 2, 0).numpy()

    def mixed(self, one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Two pictures of one size as one, uint8 (H, W, 3), and the first one's share of it: blended (mixup: Zhang et al. 2018,
        arXiv 1710.09412) or with a rectangle of the other (CutMix: Yun et al. 2019, arXiv 1905.04899), one as often as the other.
        """
        pair = torch.from_numpy(np.stack([one, other])).permute(0, 3, 1, 2).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            pictures, shares = _mixer(is_blend=bool(rng.random() < 0.5))(pair, torch.tensor([0, 1]))
        return pictures[0].round().byte().permute(1, 2, 0).numpy(), float(shares[0, 0])


@cache
def _mixer(*, is_blend: bool) -> Any:
    from torchvision.transforms import v2

    return v2.MixUp(alpha=_BLEND, num_classes=2) if is_blend else v2.CutMix(alpha=_CUT, num_classes=2)


@cache
def _composed(name: str, crop: tuple[int, int]) -> Any:
    from torchvision.transforms import v2

    recipe = AUGMENTS[name].recipe
    assert recipe is not None
    return v2.Compose(recipe(crop))


def _light(crop: tuple[int, int]) -> list[Any]:
    from torchvision.transforms import v2

    return [v2.RandomResizedCrop(crop, scale=(0.5, 1.0), antialias=True), v2.RandomHorizontalFlip()]


def _strong(crop: tuple[int, int]) -> list[Any]:
    """RandAugment (Cubuk et al. 2020, arXiv 1909.13719) turns and colours; a part is erased in a quarter of the pictures
    (Zhong et al. 2020, arXiv 1708.04896).
    """
    from torchvision.transforms import v2

    return [
        v2.RandomResizedCrop(crop, scale=(0.25, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomRotation((-10.0, 10.0)),
        v2.RandAugment(num_ops=2, magnitude=9),
        v2.RandomErasing(p=0.25, scale=(0.02, 0.2)),
    ]


AUGMENTS = {
    "none": Augment("none"),
    "light": Augment("light", _light),
    "strong": Augment("strong", _strong, mixes=0.5),
}
