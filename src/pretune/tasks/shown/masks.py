"""Masks drawn over their pictures, with outlines, as small pictures for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.answers import Mask
from pretune.answers.mask import NONE, PALETTE
from pretune.data.media.image import decode_image
from pretune.tasks.shown.thumbnails import picture_address

__all__ = ["colours_of", "drawn_over", "legend", "side_by_side"]

_OPACITY, _SIDE, _GAP = 0.55, 300, 6


def colours_of(count: int) -> np.ndarray:
    """(C, 3) uint8."""
    return np.array([PALETTE[number % len(PALETTE)] for number in range(max(1, count))], dtype=np.uint8)


def drawn_over(pixels: np.ndarray, mask_hw: np.ndarray, count: int) -> np.ndarray:
    """The picture (H, W, 3) with each class in its colour; edges are drawn full, pixels without a class stay as they are."""
    from PIL import Image

    size = (pixels.shape[1], pixels.shape[0])
    mask = np.asarray(Image.fromarray(mask_hw).resize(size, Image.Resampling.NEAREST))
    known = mask != NONE
    colours = colours_of(count)[np.where(known, mask, 0) % max(1, count)].astype(np.float32)
    mixed = np.where(known[..., None], (1 - _OPACITY) * pixels + _OPACITY * colours, pixels)
    edge = np.zeros_like(known)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    return np.where((edge & known)[..., None], colours, mixed).round().astype(np.uint8)


def side_by_side(image: Mapping[str, Any], masks: Sequence[Mask], labels: Sequence[str]) -> str:
    """The address of one picture: as it is, then with each mask over it."""
    from PIL import Image

    picture = decode_image(image)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    parts = [pixels, *(drawn_over(pixels, mask.pixels(labels), len(labels)) for mask in masks)]
    gap = np.full((pixels.shape[0], _GAP, 3), 255, dtype=np.uint8)
    row = [piece for part in parts for piece in (part, gap)][:-1]
    joined = np.concatenate(row, axis=1)
    return picture_address(joined, max(joined.shape))


def legend(labels: Sequence[str]) -> list[dict[str, str]]:
    """The classes with their colours."""
    return [
        {"name": name, "colour": "#" + bytes(colour.tolist()).hex()}
        for name, colour in zip(labels, colours_of(len(labels)), strict=True)
    ]
