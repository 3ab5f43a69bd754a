"""Steps side by side, each in a process of its own: a step begins when those that it needs are done."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.engine.interrupt import StopRequest
from pretune.errors import Interrupted, RunError
from pretune.interface.outcome import Outcome, Say
from pretune.study.recipe import Step
from pretune.study.steps import StepsDone, begun, do_steps, ended, passed

__all__ = ["do_steps_of", "do_together"]

_MODULE = "pretune.study.worker"
_PAUSE_SECONDS, _PATIENCE_SECONDS = 0.05, 120.0
_NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""What Windows has in place of a session; 0 elsewhere."""


@dataclass
class _Child:
    """A step that runs. Its lines come through a queue; the last of them is its end."""

    step: Step
    process: subprocess.Popen[str]
    began: float


def do_steps_of(steps: Sequence[Step], keys: Mapping[str, str], state: StepsDone, say: Say, *, jobs: int) -> None:
    """Do all steps that are not done: one after the other here, or ``jobs`` at a time."""
    if jobs == 1:
        do_steps(steps, keys, state, say)
    else:
        do_together(steps, keys, state, say, jobs=jobs)


def do_together(steps: Sequence[Step], keys: Mapping[str, str], state: StepsDone, say: Say, *, jobs: int) -> None:
    """Do all steps that are not done, at most ``jobs`` at a time; each gets its share of the processors.

    The first error stops the others, whose state is saved, and is raised. A signal does the same and raises :class:`Interrupted`.
    """
    done = {step.name for step in steps if state.is_done(step, keys[step.name])}
    waiting = [step for step in steps if step.name not in done]
    lines: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()
    running: dict[str, _Child] = {}
    if done:
        say.note(f"== {len(done)} of {len(steps)} steps were done before")
    with StopRequest() as stop, _ended_at_last(running):
        while waiting or running:
            if stop.signal_number:
                raise Interrupted(
                    f"stopped with {len(waiting) + len(running)} of {len(steps)} steps to do; what was learned is saved",
                    "run the same command again to go on", stop.signal_number,
                )  # fmt: skip
            for step in [one for one in waiting if not {*one.needs} - done][: jobs - len(running)]:
                waiting.remove(step)
                say.note(f"== {len(steps) - len(waiting)} of {len(steps)}: {step.name}: {step.settings.command()}")
                running[step.name] = _start(step, keys[step.name], state, lines, jobs)
            try:
                name, told = lines.get(timeout=_PAUSE_SECONDS)
            except queue.Empty:
                continue
            if name not in running or (outcome := _heard(name, told, say)) is None:
                continue
            child = running.pop(name)
            child.process.wait()
            ended(child.step, keys[name], state, passed(outcome, name), seconds=time.monotonic() - child.began)
            done.add(name)
            for line in outcome.text.splitlines():
                say.note(f"   {name}: {line}")


def _start(step: Step, key: str, state: StepsDone, lines: queue.Queue[Any], jobs: int) -> _Child:
    """The step's process, which is told what to do, and a thread that hands on what it says."""
    settings = begun(step, key, state).to_dict()
    share = max(1, (os.cpu_count() or 1) // jobs)
    if "threads" in settings and settings["threads"] is None:
        settings["threads"] = share
    process = subprocess.Popen(
        [sys.executable, "-m", _MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": str(settings.get("threads") or share), "TOKENIZERS_PARALLELISM": "false"},
        start_new_session=True, creationflags=_NEW_GROUP,  # a signal from the keyboard comes to this process alone, which passes it on
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({"verb": step.verb, "settings": settings}) + "\n")
    process.stdin.flush()
    threading.Thread(target=_listen, args=(step.name, process, lines), daemon=True).start()
    return _Child(step, process, time.monotonic())


def _listen(name: str, process: subprocess.Popen[str], lines: queue.Queue[tuple[str, dict[str, Any] | None]]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(json.JSONDecodeError):  # what a library prints is no word of the step
            told = json.loads(line)
            if isinstance(told, dict):
                lines.put((name, told))
    lines.put((name, None))


def _heard(name: str, told: Mapping[str, Any] | None, say: Say) -> Outcome | None:
    """Pass on what a step says; its outcome is returned, its error raised, and so is that of a process that ended without either."""
    if told is None:
        raise RunError(
            f"step {name}: its process ended without a word: it was killed, or ran out of memory",
            "give the same command again, with fewer --jobs if memory ran out",
        )
    if "note" in told:
        say.note(f"   {name}: {told['note']}")
    if "warn" in told:
        say.warn(f"{name}: {told['warn']}")
    if "error" in told:
        error = RunError(f"step {name}: {told['error']['problem']}", told["error"]["fix"])
        error.exit_code = told["error"]["exit_code"]
        raise error
    if "outcome" not in told:
        return None
    found = told["outcome"]
    return Outcome(text=found["text"], facts=found["facts"], exit_code=found["exit_code"])


def _ask_to_leave(process: subprocess.Popen[str]) -> None:
    """Windows ends a process at once where others send a signal; there the end of its input tells a step that nobody waits for it."""
    if _NEW_GROUP and process.stdin is not None:
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def _ended_at_last(running: Mapping[str, _Child]) -> Iterator[None]:
    """However it ends, no step goes on alone: those that run are asked to save and leave, and are waited for."""
    try:
        yield
    except BaseException:  # an error of this process leaves no step alone either
        for child in running.values():
            _ask_to_leave(child.process)
        raise
    finally:
        for child in running.values():
            try:
                child.process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child.process.stdin is not None:
                child.process.stdin.close()
