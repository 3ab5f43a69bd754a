"""A step in a process of its own: ``python -m pretune.study.worker``, the step as one line of JSON on standard input.

What the step says comes as lines of JSON on standard output, its outcome or error last. Where standard input ends before the step does,
the process that asked for it is gone: the step is stopped as by SIGTERM, and its state is saved.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pretune.errors import FolderBusy, PretuneError
from pretune.interface import Silent, load_verb
from pretune.interface.outcome import Outcome

__all__ = ["main"]

_PATIENCE_SECONDS, _PAUSE_SECONDS = 180.0, 0.5


class _Lines(Silent):
    """Hands on what it is told, a line of JSON each; bars are for people."""

    def note(self, text: str) -> None:
        _send(note=text)

    def warn(self, text: str) -> None:
        _send(warn=text)

    def event(self, text: str, facts: Mapping[str, Any]) -> None:
        _send(note=text)


def _send(**told: Any) -> None:
    with open(1, "a", encoding="utf-8", closefd=False) as stream:
        stream.write(json.dumps(told, ensure_ascii=False) + "\n")


def _end_with_the_asker() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock a thread must not hold while Python ends
        pass
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGTERM)
    else:  # Windows, where os.kill ends a process without asking it
        signal.raise_signal(signal.SIGTERM)


def _done(work: Callable[[], Outcome], patience_seconds: float) -> Outcome:
    """The outcome. Where the step's process before this one was lost, it may still be saving its state: so long its folder is locked."""
    began = time.monotonic()
    while True:
        try:
            return work()
        except FolderBusy:
            if time.monotonic() - began > patience_seconds:
                raise
            time.sleep(_PAUSE_SECONDS)


def main() -> None:
    """Do the step that is asked for."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    verb = load_verb(asked["verb"])
    settings = verb.settings_class.from_dict(asked["settings"])
    try:
        outcome = _done(lambda: verb.run(settings, say=_Lines()), _PATIENCE_SECONDS if asked.get("waits") else 0.0)
    except PretuneError as error:
        _send(error={"problem": error.problem, "fix": error.fix, "exit_code": error.exit_code, "kind": error.kind})
        return
    _send(outcome={"text": outcome.text, "facts": dict(outcome.facts), "exit_code": outcome.exit_code})


if __name__ == "__main__":
    main()
