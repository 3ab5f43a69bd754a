"""Pictures varied together with points in them: turned, scaled, moved, mirrored, coloured anew.

One affine map moves picture and points (torchvision clamps points that leave the picture to its edge, which would teach places that are
not theirs; here they are not known). A mirrored left wrist is a right one: names change places, and pictures whose names do not tell
sides are not mirrored. Shapes: uint8 (H, W, 3), points (J, 3): x, y in pixels from the picture's edges, known or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

__all__ = ["mirror", "moved", "vary_with_points"]


@dataclass(frozen=True)
class _Level:
    """Most degrees of a turn, the range of scales (of their logarithm, even), the most of a shift as a part of the sides, and of colour."""

    turn: float
    scale: float
    shift: float
    colour: float


_LEVELS = {"light": _Level(30.0, 1.3, 0.08, 0.25), "strong": _Level(45.0, 1.6, 0.12, 0.4)}


def mirror(pixels: np.ndarray, points_J3: np.ndarray, partners: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Left for right; point ``j`` is then what its partner was."""
    turned = points_J3[list(partners)].copy()
    turned[:, 0] = np.where(turned[:, 2] > 0, pixels.shape[1] - turned[:, 0], turned[:, 0])
    return np.ascontiguousarray(pixels[:, ::-1]), turned


def moved(
    pixels: np.ndarray, points_J3: np.ndarray, matrix_23: np.ndarray, fill: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Both after ``matrix_23``, which takes (x, y, 1) to the new place; points that leave the picture are no longer known."""
    from PIL import Image

    height, width = pixels.shape[:2]
    back = np.linalg.inv(np.vstack([matrix_23, [0.0, 0.0, 1.0]]))[:2]
    picture = Image.fromarray(pixels).transform(
        (width, height), Image.Transform.AFFINE, tuple(back.ravel().tolist()), Image.Resampling.BILINEAR, fillcolor=fill
    )
    place_J2 = points_J3[:, :2] @ matrix_23[:, :2].T + matrix_23[:, 2]
    inside_J = (place_J2 >= 0).all(axis=1) & (place_J2 <= [width, height]).all(axis=1) & (points_J3[:, 2] > 0)
    found = np.concatenate([place_J2, points_J3[:, 2:]], axis=1)
    return np.asarray(picture), np.where(inside_J[:, None], found, 0.0).astype(np.float32)


@cache
def _colours(most: float) -> Any:
    from torchvision.transforms import v2

    return v2.ColorJitter(brightness=most, contrast=most, saturation=most)


def vary_with_points(
    level: str, pixels: np.ndarray, points_J3: np.ndarray, fill: tuple[int, ...], partners: Sequence[int] | None, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A varied picture with its points, of the same size; the same ``rng`` gives the same. Without ``partners`` nothing is mirrored."""
    told = _LEVELS.get(level)
    if told is None:
        return pixels, points_J3
    turn, scale, *shift = rng.uniform(-1, 1, 4).tolist()
    flips, seed = bool(rng.random() < 0.5), int(rng.integers(2**62))
    height, width = pixels.shape[:2]
    size, angle = told.scale**scale, math.radians(told.turn * turn)
    linear = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = np.array([width / 2, height / 2])
    offset = centre - linear @ centre + told.shift * np.array(shift) * [width, height]
    pixels, points_J3 = moved(pixels, points_J3, np.concatenate([linear, offset[:, None]], axis=1), fill)
    if flips and partners is not None:
        pixels, points_J3 = mirror(pixels, points_J3, partners)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        picture = _colours(told.colour)(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
    return picture.permute(1, 2, 0).contiguous().numpy(), points_J3
