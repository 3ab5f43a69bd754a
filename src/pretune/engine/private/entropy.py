"""Draws that nobody can repeat: from the system's entropy, never from a seed.

Whoever knows the noise of a private run can take it away again, and whoever knows which rows were drawn is owed the larger
epsilon of training without sampling. So neither follows from ``--seed``, and neither is kept.
"""

from __future__ import annotations

import math
import os

import numpy as np

__all__ = ["drawn", "normals"]

_TWO_64 = 1 << 64


def normals(count: int) -> np.ndarray:
    """Standard normal numbers, float64 (count,): pairs of uniform ones of 53 bits (Box & Muller 1958).

    They are floating-point numbers; who sees all bits of a sum with them may learn from the last ones (Mironov 2012, "On significance
    of the least significant bits for differential privacy"), against which nothing is done here.
    """
    half = (count + 1) // 2
    bits = np.frombuffer(os.urandom(16 * half), dtype=np.uint64).reshape(2, half)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # never 0
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0])), 2.0 * math.pi * uniform[1]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:count]


def drawn(count: int, rate: float) -> np.ndarray:
    """Which of ``count`` are drawn, each by itself with probability ``rate``: bool (count,)."""
    if rate >= 1.0:
        return np.ones(count, dtype=bool)
    bits = np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
    return bits < np.uint64(int(rate * _TWO_64))
