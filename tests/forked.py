"""A verb in a process of its own that can be killed. Processes are forked from one that has the libraries loaded already, which
takes a tenth of a second in place of several.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

__all__ = ["kill_when", "started"]

_PRELOADED = ("torch", "transformers", "datasets", "pretune.tasks", "pretune.verbs.prune_rounds", "pretune.report.card")


def started(function: Callable[..., Any], *words: Any, **options: Any) -> ForkServerProcess:
    """``function`` (of a module that tests can import) at work in its own process; what it says is not heard."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED])
    process = context.Process(target=_run, args=(function, words, options), daemon=True)
    process.start()
    return process


def _run(function: Callable[..., Any], words: tuple[Any, ...], options: dict[str, Any]) -> None:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        function(*words, **options)


def kill_when(process: ForkServerProcess, there: Callable[[], bool], how: int = signal.SIGKILL) -> None:
    """Send the process a signal as soon as something is ``there``, and wait for its end. It must not end before by itself."""
    until = time.monotonic() + 120
    while not there() and process.is_alive() and time.monotonic() < until:
        time.sleep(0.002)
    assert process.is_alive(), f"it ended before it was to be killed, with code {process.exitcode}"
    assert process.pid is not None
    os.kill(process.pid, how)
    process.join(60)
    assert process.exitcode not in (0, None)
