"""The regular expressions of pretune's own tokenizers."""

from __future__ import annotations

__all__ = ["LONG_WORD", "MAX_WORD_CHARACTERS", "OWN_PATTERNS", "UNSPACED_CHARACTER"]

MAX_WORD_CHARACTERS = 100

# Scripts written without spaces between words; the long-vowel mark belongs to no script.
_UNSPACED = "".join(
    rf"\p{{{script}}}"
    for script in ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Yi")
)
UNSPACED_CHARACTER = rf"[{_UNSPACED}\x{{30FC}}]\p{{M}}*"
LONG_WORD = rf"\S{{{MAX_WORD_CHARACTERS}}}"

OWN_PATTERNS = frozenset({UNSPACED_CHARACTER, LONG_WORD})
"""They take a text once, from its start to its end."""
