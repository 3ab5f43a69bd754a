"""Attention weights small enough for a page: 16 bits each, 8 bits each, or the largest of each row in 8 bits.

Shapes: M matrices (of each layer its heads, their mean and the rollout), T positions, K weights kept of a row.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pretune.explain.attention import Attention

__all__ = ["MOST_BYTES", "Packed", "pack"]

MOST_BYTES = 6_600_000
"""Of all weights, before they are written as text, which takes a third more."""

FULL, EIGHT, TOP = "16 bits", "8 bits", "largest"
_ONE16, _ONE8 = 65_535, 255


@dataclass(frozen=True)
class Packed:
    """``how`` is one of "16 bits" (every weight in ``values``), "8 bits" (``values`` are shares of the row's largest weight, in
    ``largest``) and "largest" (as before for the ``kept`` largest of each row, whose columns are in ``columns``).

    ``share`` of a row's weight is there on average, ``error`` is the largest rounding. The blobs are base64 of little-endian
    numbers, matrix by matrix and row by row.
    """

    how: str
    matrices: int
    positions: int
    kept: int
    share: float
    error: float
    values: str
    largest: str = ""
    columns: str = ""

    @property
    def sentence(self) -> str:
        """What was done to the weights, for a person."""
        if self.how == TOP:
            return (
                f"So that the page stays small it holds the {self.kept} largest of the {self.positions} weights of each row, "
                f"{100 * self.share:.1f} % of all weight, rounded by at most {self.error:.4f}; the others are drawn as 0."
            )
        return f"Every weight is here, rounded to {self.how} (by at most {self.error:.6f})."


def pack(attention: Attention, *, most_bytes: int = MOST_BYTES) -> Packed:
    """All weights of ``attention`` in at most ``most_bytes``, as exactly as that allows."""
    count = sum(heads + 2 for heads in attention.heads)
    positions = len(attention.reading.tokens)
    cells = count * positions**2
    if 2 * cells <= most_bytes:
        return _full(attention, count, positions)
    row_bytes = 2 * count * positions
    if cells + row_bytes <= most_bytes:
        return _eight(attention, count, positions, positions)
    kept = max(1, (most_bytes - row_bytes) // (3 * count * positions))
    return _eight(attention, count, positions, min(kept, positions))


def _matrices(attention: Attention) -> Iterator[np.ndarray]:
    """Of each layer its heads, their mean, and the rollout up to it: (T, T) each."""
    for layer, rolled in zip(attention.layers, attention.rolled, strict=True):
        yield from layer
        yield layer.mean(axis=0, dtype=np.float64)
        yield rolled


def _full(attention: Attention, count: int, positions: int) -> Packed:
    values = b"".join(np.rint(one * _ONE16).astype("<u2").tobytes() for one in _matrices(attention))
    return Packed(FULL, count, positions, positions, 1.0, 0.5 / _ONE16, _text(values))


def _eight(attention: Attention, count: int, positions: int, kept: int) -> Packed:
    values, largest, columns, shares, error = [], [], [], [], 0.0
    for one in _matrices(attention):
        chosen_TK = np.argpartition(-one, kept - 1, axis=1)[:, :kept]
        cells_TK = one if kept == positions else np.take_along_axis(one, chosen_TK, axis=1)
        top_T = np.rint(one.max(axis=1) * _ONE16).clip(1, _ONE16)
        step_T = top_T / _ONE16 / _ONE8
        values.append(np.rint(cells_TK / step_T[:, None]).clip(0, _ONE8).astype(np.uint8).tobytes())
        largest.append(top_T.astype("<u2").tobytes())
        if kept < positions:
            columns.append(chosen_TK.astype("<u2").tobytes())
        shares.append(float(cells_TK.sum() / one.sum()))
        error = max(error, float(step_T.max()) / 2)
    how = EIGHT if kept == positions else TOP
    return Packed(
        how, count, positions, kept, float(np.mean(shares)), error, _text(b"".join(values)), _text(b"".join(largest)),
        _text(b"".join(columns)),
    )  # fmt: skip


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
