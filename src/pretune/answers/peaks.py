"""From heat maps to points. Plain numpy: the program beside an exported model uses this file too.

Shapes: J points, h and w the sides of a map.
"""

from __future__ import annotations

import numpy as np

__all__ = ["peaks_of"]

_REACH = 2


def peaks_of(shares_Jhw: np.ndarray) -> np.ndarray:
    """(J, 3): x and y of each map's peak as parts of the map's width and height (0 to 1 from its edges), and the share of the map that lies
    around it.

    The peak is the mean of the 5 x 5 places around the largest, each weighed by its share: finer than a place, and deaf to a second
    peak elsewhere.
    """
    num, height, width = shares_Jhw.shape
    found = np.zeros((num, 3))
    largest_J = shares_Jhw.reshape(num, -1).argmax(axis=1)
    for place, (top, shares_hw) in enumerate(zip(largest_J.tolist(), shares_Jhw, strict=True)):
        row, column = divmod(top, width)
        rows = np.arange(max(0, row - _REACH), min(height, row + _REACH + 1))
        columns = np.arange(max(0, column - _REACH), min(width, column + _REACH + 1))
        near = shares_hw[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float64)
        total = max(float(near.sum()), 1e-30)
        x = float((near.sum(axis=0) * (columns + 0.5)).sum()) / total
        y = float((near.sum(axis=1) * (rows + 0.5)).sum()) / total
        found[place] = x / width, y / height, min(1.0, total)
    return found
