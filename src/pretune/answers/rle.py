"""Run lengths as COCO writes them (``pycocotools.mask``): one line of text for the region of a picture.

Runs go down the columns, the first is of pixels outside the region. Each run but the first three is told by its difference from the
one two before it; numbers are written in groups of 5 bits, the lowest first, one character (48 to 95) a group, in which 32 says
that more follow, and the last group's bit 16 is the sign. Shapes: H and W the sides in pixels, R runs, G groups.
"""

from __future__ import annotations

import numpy as np

__all__ = ["area_of_rle", "decode_rle", "encode_rle"]

_MOST_GROUPS = 7
"""Of 5 bits: a picture has fewer than 2^34 pixels."""


def encode_rle(region_HW: np.ndarray) -> str:
    """The text of the region's pixels (those that are not 0)."""
    flat = np.asarray(region_HW, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0] if len(flat) and flat[0] else [], changes, [len(flat)]]).astype(np.int64)
    runs_R = np.diff(ends, prepend=0)
    told_R = runs_R.copy()
    told_R[3:] -= runs_R[1:-2]
    groups_RG = (told_R[:, None] >> (5 * np.arange(_MOST_GROUPS))) & 31
    # A number ends with the group after which only its sign is left, which that group's bit 16 says.
    lows = told_R[:, None] >> (5 * np.arange(1, _MOST_GROUPS + 1))
    is_end_RG = np.where(groups_RG & 16, lows == -1, lows == 0)
    last_R = is_end_RG.argmax(axis=1)
    place_G = np.arange(_MOST_GROUPS)
    letters_RG = groups_RG + 48 + 32 * (place_G < last_R[:, None])
    return letters_RG[place_G <= last_R[:, None]].astype(np.uint8).tobytes().decode("ascii")


def _runs(text: str) -> np.ndarray:
    """The runs (R,). Raises ValueError for what is no such text."""
    codes = np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 32):
        raise ValueError("it holds letters that no run lengths have, or is cut off")
    is_last = (codes & 32) == 0
    starts = np.concatenate([[0], np.flatnonzero(is_last) + 1])[:-1]
    number_G = np.cumsum(is_last) - is_last
    place_G = np.arange(len(codes)) - starts[number_G] if len(codes) else codes
    if len(codes) and place_G.max() >= _MOST_GROUPS:
        raise ValueError("it holds runs longer than any picture")
    told_R = np.zeros(int(is_last.sum()), dtype=np.int64)
    np.add.at(told_R, number_G, (codes & 31) << (5 * place_G))
    ends = np.flatnonzero(is_last)
    told_R -= np.where(codes[ends] & 16, np.int64(1) << (5 * (place_G[ends] + 1)), 0)
    runs_R = told_R.copy()
    runs_R[2::2] = np.cumsum(told_R[2::2])
    runs_R[1::2] = np.cumsum(told_R[1::2])
    if len(runs_R) and runs_R.min() < 0:
        raise ValueError("it holds runs below 0")
    return runs_R


def decode_rle(text: str, height: int, width: int) -> np.ndarray:
    """The region, bool (H, W). Raises ValueError where the text is not of a picture of this size."""
    runs_R = _runs(text)
    if runs_R.sum() != height * width:
        raise ValueError(f"its runs are of {int(runs_R.sum())} pixels, the picture has {height} x {width}")
    return np.repeat(np.arange(len(runs_R)) % 2 == 1, runs_R).reshape(height, width, order="F")


def area_of_rle(text: str) -> int:
    """Pixels of the region. Raises ValueError for what is no such text."""
    return int(_runs(text)[1::2].sum())
