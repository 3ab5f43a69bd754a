"""Copies of texts as they come about: cut, quoted, mistyped, edited, in another order, in look-alike letters."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from random import Random

from pretune.data.planted.plan import Way

__all__ = ["dense_ways", "spaced_ways"]

_LOOK_ALIKE = str.maketrans("aceiopxyABCEHKMOPTX", "асеіорхуАВСЕНКМОРТХ")
_OTHER_MARKS = str.maketrans(dict.fromkeys(string.punctuation, " "))


def spaced_ways(texts: Sequence[str], rng: Random) -> Mapping[str, Way[str]]:
    """Kinds for texts whose words are set apart; other words come from the ``texts``. A way gives None for a text too short for it."""
    words = [word for text in rng.sample(texts, min(2_000, len(texts))) for word in text.split() if word.isalpha()]

    def changed(text: str, share: float) -> str | None:
        parts = text.split()
        if len(parts) < 2 or not words:
            return None
        for place in rng.sample(range(len(parts)), max(1, round(share * len(parts)))):
            parts[place] = rng.choice(words)
        return " ".join(parts)

    def cut(text: str, share: float) -> str | None:
        parts = text.split()
        kept = max(1, round(share * len(parts)))
        start = rng.randrange(len(parts) - kept + 1)
        return " ".join(parts[start : start + kept]) if kept < len(parts) else None

    def swapped(text: str) -> str | None:
        parts = text.split()
        middle = len(parts) // 2
        return " ".join(parts[middle:] + parts[:middle]) if middle else None

    def quoted(text: str) -> str:
        before, after = (cut(rng.choice(texts), 0.5) or "" for _ in range(2))
        return f"{before} {text} {after}"

    return {
        "case, punctuation and spaces": lambda text: text.upper().translate(_OTHER_MARKS),
        "look-alike letters": lambda text: text.translate(_LOOK_ALIKE),
        "halves swapped": swapped,
        "words shuffled": lambda text: " ".join(rng.sample(text.split(), len(text.split()))),
        "one word is another": lambda text: changed(text, 0.0),
        "10 % of the words are others": lambda text: changed(text, 0.1),
        "3 % of the letters mistyped": lambda text: _mistyped(text, 0.03, rng),
        "10 % of the letters mistyped": lambda text: _mistyped(text, 0.1, rng),
        "cut to 80 %": lambda text: cut(text, 0.8),
        "cut to half": lambda text: cut(text, 0.5),
        "quoted between parts of two others": quoted,
    }


def dense_ways(texts: Sequence[str], rng: Random) -> Mapping[str, Way[str]]:
    """Kinds for texts in scripts that put no space between words; a digit is never changed, as that makes another text."""
    letters = [letter for text in rng.sample(texts, min(2_000, len(texts))) for letter in text if letter.isalpha()]

    def letter_places(text: str) -> list[int]:
        return [place for place, letter in enumerate(text) if letter.isalpha() and not letter.isnumeric()]

    def changed(text: str) -> str | None:
        places, others = letter_places(text), [letter for letter in letters if not letter.isnumeric()]
        if not places or not others:
            return None
        place = rng.choice(places)
        return text[:place] + rng.choice(others) + text[place + 1 :]

    def without_one(text: str) -> str | None:
        places = letter_places(text)
        if len(places) < 2:
            return None
        place = rng.choice(places)
        return text[:place] + text[place + 1 :]

    def cut(text: str, share: float) -> str | None:
        kept = max(1, round(share * len(text)))
        start = rng.choice((0, len(text) - kept))
        return text[start : start + kept] if kept < len(text) else None

    return {
        "punctuation and spaces": lambda text: " ".join(text.translate(_OTHER_MARKS)) + "！",
        "halves swapped": lambda text: text[len(text) // 2 :] + text[: len(text) // 2] if len(text) > 1 else None,
        "one character is another": changed,
        "one character left out": without_one,
        "cut to 80 %": lambda text: cut(text, 0.8),
        "cut to half": lambda text: cut(text, 0.5),
        "quoted after another": lambda text: f"{rng.choice(texts)}。{text}",
    }


def _mistyped(text: str, share: float, rng: Random) -> str | None:
    """Letters that are others, left out, doubled or in the wrong order."""
    letters = list(text)
    places = [place for place, letter in enumerate(letters) if letter.isalpha()]
    if not places:
        return None
    for place in sorted(rng.sample(places, max(1, round(share * len(places)))), reverse=True):
        how = rng.randrange(4)
        if how == 0:
            letters[place] = rng.choice(string.ascii_lowercase)
        elif how == 1:
            del letters[place]
        elif how == 2:
            letters.insert(place, letters[place])
        elif place + 1 < len(letters):
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)
