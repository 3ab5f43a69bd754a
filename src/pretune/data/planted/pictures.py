"""Copies of pictures as they come about: saved again, resized, mirrored, cropped, bordered, turned."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from pretune.data.planted.plan import Way

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["jpeg_of", "picture_ways"]

_SMALLEST_PX = 12


def picture_ways(rng: Random) -> Mapping[str, Way[Image]]:
    """Kinds for pictures (RGB); the bytes of each copy are a JPEG of good quality."""
    from PIL import ImageEnhance, ImageFilter, ImageOps
    from PIL.Image import Resampling

    def cropped(picture: Image, share: float) -> Image:
        """Without a share of each side, twice in all, taken from either end."""
        size = [round(side * (1 - 2 * share)) for side in picture.size]
        left, top = (rng.randint(0, side - kept) for side, kept in zip(picture.size, size, strict=True))
        return picture.crop((left, top, left + size[0], top + size[1]))

    def bordered(picture: Image, share: float, colour: str) -> Image:
        return ImageOps.expand(picture, max(1, round(share * min(picture.size))), colour)

    def turned(picture: Image, degrees: float) -> Image:
        return picture.rotate(degrees * rng.choice((-1, 1)), Resampling.BICUBIC)

    ways: Mapping[str, Callable[[Image], Image]] = {
        "saved as a poor JPEG": lambda picture: _again(picture, 50),
        "half the size": lambda picture: picture.resize((picture.width // 2, picture.height // 2), Resampling.BILINEAR),
        "stretched by 20 %": lambda picture: picture.resize((round(1.2 * picture.width), picture.height)),
        "grey": lambda picture: picture.convert("L").convert("RGB"),
        "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(picture.width / 100)),
        "brighter by 15 %": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
        "mirrored": ImageOps.mirror,
        "mirrored, cropped by 5 %": lambda picture: cropped(ImageOps.mirror(picture), 0.05),
        "cropped by 5 % of each side": lambda picture: cropped(picture, 0.05),
        "cropped by 10 % of each side": lambda picture: cropped(picture, 0.1),
        "black border of 5 %": lambda picture: bordered(picture, 0.05, "black"),
        "white border of 10 %": lambda picture: bordered(picture, 0.1, "white"),
        "turned by 3 degrees": lambda picture: turned(picture, 3),
        "turned by 5 degrees": lambda picture: turned(picture, 5),
    }
    return {kind: _large_enough(way) for kind, way in ways.items()}


def _large_enough(way: Callable[[Image], Image]) -> Way[Image]:
    return lambda picture: way(picture) if min(picture.size) >= _SMALLEST_PX else None


def _again(picture: Image, quality: int) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(jpeg_of(picture, quality))).convert("RGB")


def jpeg_of(picture: Image, quality: int = 95) -> bytes:
    """The bytes of a JPEG file."""
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality)
    return held.getvalue()
