"""Who follows a run while it goes on: told what ``log.jsonl`` gets, when it gets it.

A listener is any object with some of these methods; ``run`` is the run's folder, ``line`` what ``log.jsonl`` gets, ``record`` ``run.json``::

    on_begin(run, record)       the run is begun, or gone on with
    on_step(run, line)          loss, learning_rate, tokens_per_second, ... of an update that is logged
    on_evaluation(run, line)    scores of the rows that choose, and whether they are the best so far
    on_end(run, record)         how it ended: status, result

A run of several seeds or tasks tells of each run in it, too. What a listener raises ends the verb, as any error does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pretune.errors import UsageError

__all__ = ["EVENTS", "has_listeners", "listening", "tell", "tell_line"]

EVENTS = ("on_begin", "on_step", "on_evaluation", "on_end")
_OF_KIND = {"step": "on_step", "eval": "on_evaluation"}

_listeners: ContextVar[tuple[Any, ...]] = ContextVar("listeners", default=())


@contextlib.contextmanager
def listening(listeners: Iterable[Any]) -> Iterator[None]:
    """While this lasts, runs tell these listeners of themselves. Raises :class:`UsageError` for an object that listens to nothing."""
    found = tuple(listeners)
    for one in found:
        if not any(callable(getattr(one, name, None)) for name in EVENTS):
            raise UsageError(
                f"listeners holds a {type(one).__name__}, which has none of the methods of a listener",
                f"give it one of: {', '.join(EVENTS)}",
            )
    before = _listeners.set((*_listeners.get(), *found))
    try:
        yield
    finally:
        _listeners.reset(before)


def has_listeners() -> bool:
    """Is anybody told already?"""
    return bool(_listeners.get())


def tell(event: str, run: Path, facts: Mapping[str, Any]) -> None:
    """Tell who listens to ``event``."""
    for one in _listeners.get():
        if (method := getattr(one, event, None)) is not None:
            method(run, facts)


def tell_line(run: Path, line: Mapping[str, Any]) -> None:
    """Tell of a line of ``log.jsonl``."""
    if (event := _OF_KIND.get(line.get("kind", ""))) is not None:
        tell(event, run, line)
