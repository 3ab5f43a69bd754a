"""Personal data taken out of texts: hidden behind a tag, or named by a pseudonym; how much of which kind is counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from pretune.data.text import pii
from pretune.data.text.pseudonyms import pseudonym

__all__ = ["Redactor"]


class Redactor:
    """What a text is without personal data. ``key``: of the pseudonyms; without one all values of a kind get the same tag."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self._values: Counter[str] = Counter()
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def __call__(self, text: str) -> str:
        """The text with a tag in place of each piece of personal data, which is counted."""
        return pii.redact(text, self._suffix)

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
