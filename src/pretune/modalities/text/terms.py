"""Texts as terms: words and pairs of words, or one to three characters in a row, with their TF-IDF values.

Shapes: T different terms of a text, V terms of the vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretune.errors import ModelError
from pretune.files import fsync_file, write_json

__all__ = ["TERMS_FILE", "Terms", "count_terms"]

TERMS_FILE = "terms.json"
MOST_TERMS = 200_000
MOST_CHARACTERS = 2_000
MOST_CORPUS_CHARACTERS = {"words": 40_000_000, "characters": 12_000_000}
"""Of all texts that are counted: about a minute of one core."""

_WORD = re.compile(r"(?u)\b\w+\b")
_SPACE = re.compile(r"\s+")
_MANY_TEXTS = 1_000
_LONGEST = {"words": 2, "characters": 3}


class Terms(NamedTuple):
    """``unit`` is ``words`` (and pairs of them) or ``characters`` (1 to 3 in a row). ``names`` (V) are the terms in the order of their
    numbers, which begin at 1, ``rarity`` (V,) the logarithm by which a rare term counts more.
    """

    unit: str
    names: tuple[str, ...]
    rarity: np.ndarray

    def of(self, text: str) -> Iterator[str]:
        """Every term of a text, known or not, as often as it stands there."""
        text = text[:MOST_CHARACTERS].lower()
        units = _WORD.findall(text) if self.unit == "words" else list(_SPACE.sub(" ", text))
        joint = " " if self.unit == "words" else ""
        for length in range(1, _LONGEST[self.unit] + 1):
            yield from (joint.join(units[start : start + length]) for start in range(len(units) - length + 1))

    def encode(self, text: str, numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of a text's known terms, int32 (T,) rising, and their values float32 (T,), a vector of length 1: (1 + ln of
        how often) times rarity (sublinear TF-IDF). ``numbers`` are those of :meth:`numbers`.
        """
        counts = Counter(numbers[term] for term in self.of(text) if term in numbers)
        ids_T = np.array(sorted(counts), dtype=np.int32)
        often_T = np.array([counts[int(number)] for number in ids_T], dtype=np.float64)
        values_T = (1.0 + np.log(np.maximum(often_T, 1.0))) * self.rarity[ids_T - 1]
        length = float(np.sqrt((values_T**2).sum()))
        return ids_T, (values_T / max(length, 1e-12)).astype(np.float32)

    def numbers(self) -> dict[str, int]:
        """Each term's number."""
        return {name: number for number, name in enumerate(self.names, start=1)}

    def identity(self) -> str:
        """A hash of all that decides the values."""
        digest = hashlib.sha256(json.dumps([self.unit, self.names]).encode())
        digest.update(np.ascontiguousarray(self.rarity).data)
        return digest.hexdigest()[:16]

    def save_pretrained(self, folder: Path | str) -> None:
        """Write ``terms.json``, as a tokenizer writes its files."""
        path = Path(folder) / TERMS_FILE
        write_json(path, {"unit": self.unit, "names": list(self.names), "rarity": [float(one) for one in self.rarity]})
        fsync_file(path)

    @classmethod
    def read(cls, folder: Path) -> Terms:
        """The terms of a folder. Raises :class:`ModelError` where they are missing or damaged."""
        path = folder / TERMS_FILE
        try:
            told: Any = json.loads(path.read_text(encoding="utf-8"))
            unit, names, rarity = told["unit"], told["names"], np.array(told["rarity"], dtype=np.float64)
            is_whole = unit in _LONGEST and len(names) == len(rarity) == len(set(names)) and np.isfinite(rarity).all()
            if not is_whole or not all(isinstance(name, str) for name in names):
                raise ValueError("it is not as pretune wrote it")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} cannot be read: {error}", "copy the model's folder again") from None
        return cls(unit, tuple(names), rarity)


def count_terms(texts: Iterable[str], *, unspaced: bool, most: int | None = None) -> tuple[Terms, int]:
    """The vocabulary of these texts, and how many of them were counted (the first ones, where they are very many): their commonest terms, ``most`` at most (200,000), those of one text left out where there are
    many texts. ``unspaced``: scripts without spaces between words are cut into characters.

    Raises :class:`ModelError` where there are none.
    """
    unit = "characters" if unspaced else "words"
    bare = Terms(unit, (), np.zeros(0))
    total: Counter[str] = Counter()
    in_texts: Counter[str] = Counter()
    count = characters = 0
    for text in texts:
        characters += min(len(text), MOST_CHARACTERS)
        if characters > MOST_CORPUS_CHARACTERS[unit]:
            break
        found = Counter(bare.of(text))
        total.update(found)
        in_texts.update(found.keys())
        count += 1
    least = 2 if count >= _MANY_TEXTS else 1
    kept = [term for term, often in in_texts.items() if often >= least]
    if not kept:
        raise ModelError("the training texts hold no word", "is --column text=... the right one?")
    kept = sorted(sorted(kept), key=lambda term: -total[term])[: most or MOST_TERMS]
    rarity = np.array([np.log((1 + count) / (1 + in_texts[term])) + 1.0 for term in kept])
    return Terms(unit, tuple(kept), rarity), count
