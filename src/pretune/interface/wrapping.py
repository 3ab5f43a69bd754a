"""Lines that fit a terminal, whose Chinese letters are two columns wide and may end a line anywhere but around punctuation."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator

__all__ = ["columns_of", "filled", "wrapped"]

_WIDE = "\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff60\uffe0-\uffe6"
_OPENING, _CLOSING = "（《「『“‘〈【", "，。；：、）》」』”’！？…％〉】"
_HAS_WIDE = re.compile(f"[{_WIDE}{_OPENING}{_CLOSING}]")
_PIECE = re.compile(
    rf"(\s*)([{_OPENING}]*(?:[^\s{_WIDE}{_OPENING}{_CLOSING}]+|[^\s{_OPENING}{_CLOSING}])?[{_CLOSING}]*)"
)
"""What no line may break: a word or a wide letter, with what opens before it and closes behind it; and the blanks before."""


def columns_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def wrapped(text: str, columns: int, *, first: str = "", then: str = "") -> list[str]:
    """The text in lines of so many columns at most, which begin with ``first`` and ``then``."""
    if not _HAS_WIDE.search(text):
        return textwrap.wrap(text, columns, initial_indent=first, subsequent_indent=then)
    lines, line, is_empty = [], first, True
    for blanks, piece in _pieces(text, columns - max(columns_of(first), columns_of(then))):
        if is_empty:
            line += piece
        elif columns_of(line + blanks + piece) <= columns:
            line += blanks + piece
        else:
            lines.append(line)
            line = then + piece
        is_empty = False
    return [*lines, line]


def filled(text: str, columns: int, *, then: str = "") -> str:
    """The lines as one text."""
    return "\n".join(wrapped(text, columns, then=then))


def _pieces(text: str, room: int) -> Iterator[tuple[str, str]]:
    """Each piece after the blanks before it; one that no line has room for is cut."""
    for blanks, piece in _PIECE.findall(" ".join(text.split())):
        while columns_of(piece) > room:
            longest = len(piece.rstrip(_CLOSING)) - 1
            cut = next((at for at in range(longest, 0, -1) if columns_of(piece[:at]) <= room), 1)
            yield blanks, piece[:cut]
            blanks, piece = "", piece[cut:]
        if piece:
            yield blanks, piece
