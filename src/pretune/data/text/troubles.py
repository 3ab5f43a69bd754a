"""What can be wrong with the characters of a text: signs of a wrong encoding, control characters, control tokens.

Mojibake is found and told but never guessed back; the repairs are in :mod:`pretune.data.text.scrub`.
"""

from __future__ import annotations

import re

from pretune.data.text.scrub import CONTROL, INVISIBLE

__all__ = ["TROUBLES", "control_words", "encoding_troubles"]

# Bytes 80-BF of UTF-8 as latin-1 or cp1252 shows them.
_TRAIL = "\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
_MOJIBAKE = (
    rf"[\u00c2\u00c3][\u0080-\u00bf]|\u00c3[{_TRAIL}]"  # an accented letter: "Ã©"
    rf"|\u00e2\u20ac[{_TRAIL}]|\u00e2\u0080[\u0080-\u00bf]"  # a dash or curly quote: "â€™"
    r"|\u00f0\u0178|\u00ef\u00bb\u00bf"  # an emoji, a byte order mark
    r"|\u951f\u65a4\u62f7|\u70eb\u70eb\u70eb|\u5c6f\u5c6f\u5c6f"  # broken GBK round trips
    r"|[\u00a1-\u00ff]{8}"  # GBK read as latin-1
)
# What tokenizers write around texts and between turns of a conversation; case counts.
_CONTROL_WORDS = re.compile(
    r"\[(?:CLS|SEP|MASK|PAD|UNK|BOS|EOS|/?INST|unused\d{1,4})\]"
    r"|</?s>|<(?:pad|unk|mask|bos|eos|sep|cls|eod|eop|extra_id_\d{1,4}|unused\d{1,4}|(?:start|end)_of_turn)>|<</?SYS>>"
    r"|<[|\uff5c][^\s<>|\uff5c]{1,40}[|\uff5c]>"
)
_SURROGATE = r"[\ud800-\udfff]|\\ud[89a-f][0-9a-f]{2}"
TROUBLES = ("replacement_character", "mojibake", "control_character", "invisible_character", "surrogate")
"""Kinds of encoding trouble."""

_PATTERNS = {
    "replacement_character": re.compile("\ufffd"),
    "mojibake": re.compile(_MOJIBAKE),
    "control_character": re.compile(CONTROL),
    "invisible_character": re.compile(INVISIBLE),
    "surrogate": re.compile(_SURROGATE, re.IGNORECASE),
}
# One set of characters without which there is no trouble: a single fast search is all that most texts cost.
_SUSPECT = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00a1-\u00ff\u200b\u2060\u202a-\u202e\u2066-\u2069"
    r"\u5c6f\u70eb\u951f\ud800-\udfff\ufeff\ufffd\\]"
)


def encoding_troubles(text: str) -> tuple[str, ...]:
    """Which of ``TROUBLES`` the text shows."""
    if not _SUSPECT.search(text):
        return ()
    return tuple(kind for kind, pattern in _PATTERNS.items() if pattern.search(text))


def control_words(text: str) -> list[str]:
    """The words of a text that tokenizers know as control tokens (``[SEP]``, ``</s>``, ``<|im_start|>``), each once."""
    return list(dict.fromkeys(_CONTROL_WORDS.findall(text))) if "[" in text or "<" in text else []
