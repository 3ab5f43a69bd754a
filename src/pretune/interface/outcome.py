"""What a verb gives back, and how it speaks while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["WAS_FINISHED", "Outcome", "Progress", "Say", "Silent"]

WAS_FINISHED = "was finished before; nothing was computed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a verb.

    ``text`` is for a person (one line or a few), ``facts`` for a machine (JSON values; what ``--json`` prints).
    ``exit_code`` is 0, or 1 when a check failed. ``rows`` are streamed, one JSON line each, before the text; ``at_end`` then
    gives the end that is known only when they are through.
    """

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0
    rows: Iterable[Mapping[str, Any]] | None = None
    at_end: Callable[[], Outcome] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The facts, with the exit code."""
        return {**self.facts, "exit_code": self.exit_code}

    def _repr_html_(self) -> str:
        """How a notebook shows it: what it says to a person. Rows that are streamed are not taken by being looked at."""
        from pretune.interface.shown_html import html_text

        return html_text(self.text or "rows: iterate over .rows")


class Progress(Protocol):
    """A bar that is moving."""

    def update(self, n: int = 1, text: str = "") -> None:
        """``n`` more units are done; ``text`` is the latest figure beside the bar."""

    def close(self) -> None:
        """The work is over, or was given up."""


class Say(Protocol):
    """How a verb speaks to the person who waits: never through ``print``."""

    def note(self, text: str) -> None:
        """A line worth knowing; ``--quiet`` hides it."""

    def warn(self, text: str) -> None:
        """A line that must not be missed."""

    def event(self, text: str, facts: Mapping[str, Any]) -> None:
        """Something that others wait for while the verb goes on: ``text`` for a person, with ``--json`` the facts as a line."""

    def progress(self, total: int | None, description: str) -> Progress:
        """Begin a bar of ``total`` units (None: unknown)."""
        ...


class Silent:
    """Says nothing, and keeps what it was told: for Python callers and tests."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        """Keep the note."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep the warning."""
        self.warnings.append(text)

    def event(self, text: str, facts: Mapping[str, Any]) -> None:
        """Keep the text as a note."""
        self.notes.append(text)

    def progress(self, total: int | None, description: str) -> Progress:
        """A bar nobody sees."""
        return _NoBar()


class _NoBar:
    def update(self, n: int = 1, text: str = "") -> None:
        pass

    def close(self) -> None:
        pass
