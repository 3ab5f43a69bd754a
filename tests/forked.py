"""A verb in a process of its own that dies where it is told to. Processes are forked from one that has the libraries loaded
already, which takes a tenth of a second in place of several.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from clocks import HANG_SECONDS

__all__ = ["end_at", "preloaded", "started"]

_PRELOADED = (
    "torch", "transformers", "transformers.models.bert.modeling_bert", "datasets", "sklearn.linear_model",
    "pretune.tasks", "pretune.verbs.finetune.story", "pretune.verbs.prune.rounds", "pretune.report.card",
)  # fmt: skip


def preloaded() -> ForkServerContext:
    """What makes processes that have the libraries loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED])
    return context


def started(function: Callable[..., Any], *words: Any, **options: Any) -> ForkServerProcess:
    """``function`` (of a module that tests can import) at work in its own process; what it says is not heard."""
    process = preloaded().Process(target=_run, args=(function, words, options), daemon=True)
    process.start()
    return process


def _run(function: Callable[..., Any], words: tuple[Any, ...], options: dict[str, Any]) -> None:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        function(*words, **options)


def end_at(folder: Path, when: str, how: int, function: Callable[..., Any], *words: Any) -> None:
    """Run ``function`` in a process that sends itself the signal ``how`` as soon as a path ``when`` is below the folder; wait for
    its end, which must not be a good one.
    """
    process = started(_until, folder, when, how, function, words)
    process.join(HANG_SECONDS)
    assert process.exitcode not in (0, None), f"{when} never came"


def _until(folder: Path, when: str, how: int, function: Callable[..., Any], words: tuple[Any, ...]) -> None:
    """Whatever gets a name gets it by one of these; so no moment is missed, however slow the machine is."""
    sent: list[int] = []

    def after(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            found = real(*given, **named)
            if not sent and any(folder.glob(when)):
                sent.append(how)
                signal.raise_signal(how)
            return found

        return called

    for name in ("mkdir", "rename", "replace"):
        setattr(os, name, after(getattr(os, name)))
    function(*words)
