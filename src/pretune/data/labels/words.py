"""Labels as words: how other programs write one, words that may stand for none, and words that look alike."""

from __future__ import annotations

import ast
import contextlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping

__all__ = [
    "MISSING_WORDS",
    "alike",
    "are_scores",
    "as_numbers",
    "missing_words_are_empty",
    "one_spelling_of_booleans",
    "plain_label",
]

MISSING_WORDS = ("nan", "NaN", "None", "null", "NULL")
"""Words that programs write where a value is missing; people also call classes so."""

_MOST_SCORE_CLASSES, _MOST_WHOLE_CLASSES, _FEW_ROWS_A_CLASS = 20, 50, 2.0
_WHOLE = re.compile(r"(-?\d+)\.0+")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_BYTES = re.compile(r"""b(['"]).*\1""", re.DOTALL)
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Characters that show nothing and join nothing: soft hyphen, zero-width space, marks of direction, byte order mark."""
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f]")
_SPACES = re.compile(r"[\s_\-\u2010-\u2015]+")
_LOOKALIKES = str.maketrans(
    "авезіјкмнорсѕтухԁԛԝαβεζηικμνορτυχ",  # Cyrillic and Greek letters whose small or capital form prints as a Latin one
    "abe3ijkmhopcstyxdqwabezhikmvoptux",
)


def plain_label(text: str) -> tuple[str, str]:
    """The label that a cell writes, and the count that a change belongs to ("" for none).

    Blanks and unseen characters around and inside it go, composed and decomposed letters are one (NFC), ``b'pos'`` is ``pos``
    and ``3.0`` is ``3``.
    """
    stripped = text.strip()
    if stripped.isascii() and "'" not in stripped and '"' not in stripped and "." not in stripped:
        return stripped, "" if stripped == text else "labels_trimmed"
    change = "" if stripped == text else "labels_trimmed"
    if _BYTES.fullmatch(stripped):
        with contextlib.suppress(ValueError, SyntaxError):
            stripped, change = ast.literal_eval(stripped).decode().strip(), "labels_from_bytes"
    seen = unicodedata.normalize("NFC", _UNSEEN.sub("", stripped)).strip()
    if seen != stripped:
        change = "labels_with_unseen_or_decomposed_characters"
    if match := _WHOLE.fullmatch(seen):
        return match[1], "labels_from_whole_floats"
    return seen, change


def missing_words_are_empty(words: Iterable[str]) -> bool:
    """Whether ``nan``, ``None``, ``null`` in a column of these words mean no value: where all other words are numbers, or none are there."""
    others = {word for word in words if word and word not in MISSING_WORDS}
    return all(_NUMBER.fullmatch(word) for word in others)


def as_numbers(labels: Iterable[str]) -> list[float]:
    """The labels as numbers where all are written so (and finite); nothing otherwise."""
    words = list(labels)
    if not all(_NUMBER.fullmatch(word) for word in words):
        return []
    numbers = list(map(float, words))
    return numbers if all(map(math.isfinite, numbers)) else []


def are_scores(labels: Mapping[str, int]) -> bool:
    """Whether labels, with the rows of each, are a score of each row: numbers with a fraction, too many to be classes, or whole
    numbers of which nearly every row has its own.
    """
    numbers = as_numbers(labels)
    fractions = any(not number.is_integer() for number in numbers)
    few_rows = sum(labels.values()) < _FEW_ROWS_A_CLASS * len(labels)
    return len(numbers) > (_MOST_SCORE_CLASSES if fractions else _MOST_WHOLE_CLASSES) and (fractions or few_rows)


def one_spelling_of_booleans(labels: Mapping[str, int]) -> dict[str, str]:
    """Label to the commonest spelling of it where labels are ``true`` and ``false`` in several spellings; else nothing."""
    if not labels or not {label.casefold() for label in labels} <= {"true", "false"}:
        return {}
    common = max(labels, key=lambda label: (labels[label], label))
    spell = str.lower if common.islower() else str.upper if common.isupper() else str.capitalize
    return {label: spell(label) for label in labels if spell(label) != label}


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Groups of different labels that a person takes for one: by case, width, blanks and hyphens, letters that print the same,
    or as one number with a fraction (``1.5`` and ``1.50``).
    """
    groups: dict[object, list[str]] = {}
    for label in labels:
        number = float(label) if "." in label and _NUMBER.fullmatch(label) else None
        groups.setdefault(_skeleton(label) if number is None else number, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _skeleton(label: str) -> str:
    folded = unicodedata.normalize("NFKC", _JOINERS.sub("", _UNSEEN.sub("", label))).casefold()
    return _SPACES.sub(" ", folded).strip().translate(_LOOKALIKES) or label
