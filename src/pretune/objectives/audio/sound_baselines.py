"""What a model of sound is held against: how often codes are, the sample before, and linear prediction.

Shapes: T samples, V codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pretune.backbones.audio.sampler import sound_of

__all__ = ["CodeCounts", "linear_prediction_bits"]

_ORDER, _BLOCK, _PAST = 16, 80, 640
_STRENGTH = 8.0
"""How many pairs a code's overall share stands for beside what was counted after a certain code."""
_LEAST_SHARE = 1e-4
"""Given to all codes alike by linear prediction, whose bell would call a click impossible."""


@dataclass(frozen=True)
class CodeCounts:
    """Bits of each code (V,), and of each code after each other one (V, V), by counts in training rows."""

    alone_V: np.ndarray
    after_VV: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[np.ndarray], codes: int) -> CodeCounts:
        """Counted in rows of codes; what was never seen has a little of the whole."""
        counts_VV, counts_V = np.zeros((codes, codes)), np.ones(codes)
        for codes_T in rows:
            counts_V += np.bincount(codes_T, minlength=codes)
            np.add.at(counts_VV, (codes_T[:-1], codes_T[1:]), 1.0)
        shares_V = counts_V / counts_V.sum()
        mixed_VV = counts_VV + _STRENGTH * shares_V
        return cls(-np.log2(shares_V), -np.log2(mixed_VV / mixed_VV.sum(axis=1, keepdims=True)))

    def bits(self, codes_T: np.ndarray) -> tuple[float, float]:
        """Of a row by how often codes are, and by the code before each."""
        first = self.alone_V[codes_T[0]] if len(codes_T) else 0.0
        return float(self.alone_V[codes_T].sum()), float(first + self.after_VV[codes_T[:-1], codes_T[1:]].sum())


def linear_prediction_bits(samples_T: np.ndarray, codes_T: np.ndarray, codes: int) -> float:
    """Bits of a row by least squares on 16 samples before each, fitted to the 640 before each block of 80, with a logistic bell as wide as
    its errors there; the interval of a code is what mu-law rounds to it.
    """
    edges = np.append(-np.inf, np.append(sound_of(np.arange(codes - 1) + 0.5, codes), np.inf))
    padded_T = np.pad(samples_T.astype(np.float64), (_ORDER, 0))
    before_TK = np.lib.stride_tricks.sliding_window_view(padded_T, _ORDER)[: len(samples_T)]
    bits = 0.0
    for start in range(0, len(samples_T), _BLOCK):
        past, block = slice(max(0, start - _PAST), start), slice(start, start + _BLOCK)
        weights_K, spread = np.zeros(_ORDER), 0.05
        if start > 2 * _ORDER:
            gram = before_TK[past].T @ before_TK[past] + 1e-6 * np.eye(_ORDER)
            weights_K = np.linalg.solve(gram, before_TK[past].T @ samples_T[past])
            spread = max(float(np.std(samples_T[past] - before_TK[past] @ weights_K)), 1e-4)
        expected_T = before_TK[block] @ weights_K
        scale = spread * np.sqrt(3) / np.pi
        low_T, high_T = (
            0.5 + 0.5 * np.tanh((edges[codes_T[block] + side] - expected_T) / (2 * scale)) for side in (0, 1)
        )
        shares_T = (1 - _LEAST_SHARE) * (high_T - low_T) + _LEAST_SHARE / codes
        bits -= float(np.log2(shares_T).sum())
    return bits
