"""Personal data taken out of texts: hidden behind a tag, or named by a pseudonym; how much of which kind is counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pretune.data.text import pii
from pretune.data.text.pseudonyms import pseudonym

__all__ = ["NameFinder", "Redactor"]


class NameFinder(Protocol):
    """What finds names in texts, which no pattern does."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """The tagger's ``fingerprint`` and the ``types`` that it takes, for records."""
        ...

    def __call__(self, texts: Sequence[str]) -> list[list[pii.Found]]:
        """The names of each text, in order of appearance."""
        ...


class Redactor:
    """What texts are without personal data. ``key``: of the pseudonyms; without one all values of a kind get the same tag.
    ``names`` finds what no pattern finds; where both find something, the pattern's kind stands.
    """

    def __init__(self, key: bytes | None = None, names: NameFinder | None = None) -> None:
        self._key = key
        self._finder = names
        self._values: Counter[str] = Counter()
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def __call__(self, text: str) -> str:
        """:meth:`texts`, of one."""
        return self.texts([text])[0]

    def texts(self, texts: Sequence[str]) -> list[str]:
        """The texts with a tag in place of each piece of personal data, which is counted."""
        named = self._finder(texts) if self._finder is not None else [[]] * len(texts)
        return [
            pii.replaced(text, _together(pii.find(text), names), self._suffix)
            for text, names in zip(texts, named, strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """By kind, how many ``values`` were taken out so far, and how many ``different`` ones pseudonyms tell apart."""
        found: dict[str, Any] = {"values": dict(sorted(self._values.items()))}
        if self._key is not None:
            found["different"] = {kind: len(names) for kind, names in sorted(self._names.items())}
        return found

    def _suffix(self, kind: str, value: str) -> str:
        self._values[kind] += 1
        if self._key is None:
            return ""
        name = pseudonym(self._key, kind, value)
        self._names[kind].add(name)
        return f"-{name}"


def _together(found: Sequence[pii.Found], names: Sequence[pii.Found]) -> list[pii.Found]:
    """What patterns found, and the names that touch none of it."""
    apart = [name for name in names if all(name[2] <= start or name[1] >= end for _, start, end in found)]
    return sorted([*found, *apart], key=lambda one: one[1])
