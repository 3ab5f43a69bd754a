"""Which writing systems a text uses, by table lookup over its code points (a Python loop only over the table)."""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["SCRIPTS", "UNSPACED", "code_points", "count_scripts", "mostly_unspaced", "shares", "unspaced_mask"]

_RANGES: tuple[tuple[str, str], ...] = (
    # Ranges of code points in hexadecimal, from the block names of the Unicode Character Database (Blocks.txt).
    ("Latin", "41-5A 61-7A AA BA C0-D6 D8-F6 F8-24F 1E00-1EFF 2C60-2C7F A720-A7FF FF21-FF3A FF41-FF5A"),
    ("Greek", "370-3FF 1F00-1FFF"),
    ("Cyrillic", "400-52F 1C80-1C8F 2DE0-2DFF A640-A69F"),
    ("Armenian", "531-58F"),
    ("Hebrew", "591-5F4"),
    ("Arabic", "610-61A 620-6FF 750-77F 870-8FF FB50-FDFF FE70-FEFE"),
    ("Devanagari", "900-963 966-97F A8E0-A8FF"),
    ("Bengali", "980-9FF"),
    ("Other Indic", "A00-DFF"),
    ("Thai", "E01-E5B"),
    ("Lao", "E80-EFF"),
    ("Tibetan", "F00-FFF"),
    ("Myanmar", "1000-109F A9E0-A9FF AA60-AA7F"),
    ("Georgian", "10A0-10FF 1C90-1CBF 2D00-2D2F"),
    ("Ethiopic", "1200-139F 2D80-2DDF AB00-AB2F"),
    ("Khmer", "1780-17FF 19E0-19FF"),
    ("Hangul", "1100-11FF 3130-318F A960-A97F AC00-D7FF FFA0-FFDC"),
    ("Kana", "3041-3096 309D-30FF 31F0-31FF FF66-FF9F"),
    ("Han", "3005 3007 3400-4DBF 4E00-9FFF F900-FAFF 20000-323AF"),
)
SCRIPTS = (*(name for name, _ in _RANGES), "Other letters")
UNSPACED = frozenset({"Han", "Kana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"})
"""Scripts that put no space between words."""

_NONE, _OTHER = 255, len(_RANGES)
_SIZE = 0x323B0


@cache
def _table() -> np.ndarray:
    """Code point to index in SCRIPTS, 255 for what is no letter (digits, punctuation, spaces)."""
    table = np.full(_SIZE, _NONE, dtype=np.uint8)
    for code in range(0x20000):
        if code >= 0x80 and chr(code).isalpha():
            table[code] = _OTHER
    for index, (_, ranges) in enumerate(_RANGES):
        for span in ranges.split():
            first, _, last = span.partition("-")
            table[int(first, 16) : int(last or first, 16) + 1] = index
    return table


def code_points(text: str) -> np.ndarray:
    """(L,) uint32, one number a character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _lookup(codes: np.ndarray) -> np.ndarray:
    return np.where(codes < _SIZE, _table()[np.minimum(codes, _SIZE - 1)], _NONE)


def count_scripts(texts: list[str]) -> np.ndarray:
    """(len(SCRIPTS),) int64: letters of each script in all texts together."""
    found = _lookup(code_points("".join(texts)))
    return np.bincount(found, minlength=256)[: len(SCRIPTS)]


def shares(counts: np.ndarray) -> dict[str, float]:
    """Share of all letters by script, the largest first; scripts that do not occur are left out."""
    total = int(counts.sum())
    order = np.argsort(-counts, kind="stable")
    return {SCRIPTS[index]: float(counts[index]) / total for index in order if counts[index]}


def mostly_unspaced(script_shares: dict[str, float]) -> bool:
    """Do most letters belong to scripts that put no space between words? ``script_shares`` is of :func:`shares`."""
    return sum(share for name, share in script_shares.items() if name in UNSPACED) > 0.5


def unspaced_mask(codes: np.ndarray) -> np.ndarray:
    """For each code point: is it of a script that puts no space between words."""
    kinds = np.array([index for index, name in enumerate(SCRIPTS) if name in UNSPACED], dtype=np.uint8)
    return np.isin(_lookup(codes), kinds)
