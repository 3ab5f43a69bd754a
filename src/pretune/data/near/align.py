"""Lays one small grey picture over another by the affine map under which they agree best.

Baker and Matthews, "Lucas-Kanade 20 Years On" (2004), section 3.2 (inverse compositional, an affine map), with brightness and contrast set
aside at each step. P pairs of pictures of n x n pixels; coordinates go from -1 to 1 in both directions.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["agreement", "aligned", "band_passed", "halved"]

_F = np.float32


def aligned(ours_PHW: np.ndarray, theirs_PHW: np.ndarray, maps_P23: np.ndarray, steps: int) -> np.ndarray:
    """(P, 2, 3) maps from our coordinates to theirs after some steps of improvement."""
    size = ours_PHW.shape[1]
    ours_PN, theirs_PN = (pictures.reshape(len(pictures), -1) for pictures in (ours_PHW, theirs_PHW))
    slopes_P6N = _slopes(ours_PHW)
    inverse_P66 = _inverse(slopes_P6N)
    for _ in range(steps):
        values_PN, inside_PN = _sampled(theirs_PN, maps_P23, size)
        a_PN, b_PN, length_a, length_b = _standard(ours_PN, values_PN, inside_PN)
        differ_PN = b_PN * (length_a / length_b)[:, None] - a_PN
        change_P6 = (inverse_P66 @ (slopes_P6N @ differ_PN[:, :, None]))[:, :, 0]
        maps_P23 = _composed(maps_P23, change_P6)
    return maps_P23


def agreement(ours_PHW: np.ndarray, theirs_PHW: np.ndarray, maps_P23: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """(P,) correlation of both pictures where they lie over each other, without a margin (as a share of half a side) of ours."""
    ours_PN, theirs_PN = (pictures.reshape(len(pictures), -1) for pictures in (ours_PHW, theirs_PHW))
    values_PN, inside_PN = _sampled(theirs_PN, maps_P23, ours_PHW.shape[1])
    inside_PN &= np.abs(np.stack(_grid(ours_PHW.shape[1]))).max(axis=0) <= 1 - margin
    a_PN, b_PN, length_a, length_b = _standard(ours_PN, values_PN, inside_PN)
    return np.einsum("pn,pn->p", a_PN, b_PN) / (length_a * length_b)


def halved(pictures_PHW: np.ndarray) -> np.ndarray:
    """At half the size."""
    count, height, width = pictures_PHW.shape
    return pictures_PHW.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4), dtype=_F)


def band_passed(pictures_PHW: np.ndarray) -> np.ndarray:
    """Edges and shapes alone: blurred a little, less what is left when blurred much."""
    fine, coarse = _blur(pictures_PHW.shape[1], 0.7), _blur(pictures_PHW.shape[1], pictures_PHW.shape[1] / 10)
    return fine @ pictures_PHW @ fine.T - coarse @ pictures_PHW @ coarse.T


@cache
def _blur(size: int, spread_px: float) -> np.ndarray:
    """(n, n) weights of a Gaussian blur along one side, scaled at the edges."""
    away = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (away / spread_px) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(_F)


@cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y (n * n,) of the pixels' middles."""
    middles = ((np.arange(size) + 0.5) / size * 2 - 1).astype(_F)
    x, y = np.meshgrid(middles, middles)
    return x.ravel(), y.ravel()


def _sampled(theirs_PN: np.ndarray, maps_P23: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (P, n * n) at the mapped places, and whether (P, n * n) these lie inside the picture."""
    x, y = _grid(size)
    across = ((maps_P23[:, 0, 0:1] * x + maps_P23[:, 0, 1:2] * y + maps_P23[:, 0, 2:3]) + 1) * _F(size / 2) - _F(0.5)
    down = ((maps_P23[:, 1, 0:1] * x + maps_P23[:, 1, 1:2] * y + maps_P23[:, 1, 2:3]) + 1) * _F(size / 2) - _F(0.5)
    inside = (across > -0.5) & (across < size - 0.5) & (down > -0.5) & (down < size - 0.5)
    np.clip(across, 0, size - 1.001, out=across)
    np.clip(down, 0, size - 1.001, out=down)
    left, top = across.astype(np.int32), down.astype(np.int32)
    across -= left.astype(_F)
    down -= top.astype(_F)
    first = np.arange(len(theirs_PN), dtype=np.int32)[:, None] * (size * size) + top * size + left
    flat = theirs_PN.reshape(-1)
    upper, lower = flat[first], flat[first + size]
    upper += (flat[first + 1] - upper) * across
    lower += (flat[first + size + 1] - lower) * across
    return upper + (lower - upper) * down, inside


def _standard(
    ours_PN: np.ndarray, theirs_PN: np.ndarray, inside_PN: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both with mean 0 where they lie over each other and 0 elsewhere, and their lengths (P,)."""
    weights = inside_PN.astype(_F)
    count = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    found = [
        (values - (values * weights).sum(axis=1, keepdims=True) / count) * weights for values in (ours_PN, theirs_PN)
    ]
    lengths = [np.maximum(np.sqrt(np.einsum("pn,pn->p", values, values)), _F(1e-3)) for values in found]
    return found[0], found[1], lengths[0], lengths[1]


def _slopes(pictures_PHW: np.ndarray) -> np.ndarray:
    """(P, 6, n * n) how each pixel changes with each number of the map."""
    count, size, _ = pictures_PHW.shape
    x, y = _grid(size)
    down, across = (slope.reshape(count, -1) * _F(size / 2) for slope in np.gradient(pictures_PHW, axis=(1, 2)))
    slopes = np.stack([across * x, across * y, across, down * x, down * y, down], axis=1)
    return slopes - slopes.mean(axis=2, keepdims=True)


def _inverse(slopes_P6N: np.ndarray) -> np.ndarray:
    """(P, 6, 6) of the normal equations, damped a little."""
    normal = slopes_P6N @ slopes_P6N.transpose(0, 2, 1)
    damping = np.trace(normal, axis1=1, axis2=2)[:, None, None] * _F(1e-3 / 6) + _F(1e-3)
    return np.linalg.inv(normal + damping * np.eye(6, dtype=_F))


def _composed(maps_P23: np.ndarray, change_P6: np.ndarray) -> np.ndarray:
    """The maps after the inverse of a change of our coordinates."""
    change = np.tile(np.eye(3, dtype=_F), (len(maps_P23), 1, 1))
    change[:, :2] += change_P6.reshape(-1, 2, 3)
    whole = np.tile(np.eye(3, dtype=_F), (len(maps_P23), 1, 1))
    whole[:, :2] = maps_P23
    return (whole @ np.linalg.inv(change))[:, :2]
