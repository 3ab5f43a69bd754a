"""How rooms without a person to speak to say something: whoever called them listens.

A verb listens while it works (:func:`telling`); outside of one nothing is said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["note", "telling", "warn"]


@dataclass
class _Listener:
    """Who is told, and what was told already: a thing is said once, however often it is met."""

    note: Callable[[str], None]
    warn: Callable[[str], None]
    said: set[str] = field(default_factory=set)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def telling(note: Callable[[str], None], warn: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, sentences go to ``note`` (worth knowing) and ``warn`` (not to be missed), each but once."""
    before = _listener.set(_Listener(note, warn))
    try:
        yield
    finally:
        _listener.reset(before)


def note(text: str) -> None:
    """Say what is worth knowing."""
    _say(text, is_warning=False)


def warn(text: str) -> None:
    """Say what must not be missed."""
    _say(text, is_warning=True)


def _say(text: str, *, is_warning: bool) -> None:
    listener = _listener.get()
    if listener is not None and text not in listener.said:
        listener.said.add(text)
        (listener.warn if is_warning else listener.note)(text)
