"""Steps side by side, each in a process of its own on some engine: a step begins when those that it needs are done."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.engine.interrupt import StopRequest
from pretune.errors import Interrupted, RunError
from pretune.interface.outcome import Outcome, Say
from pretune.study.engines.base import Engine, EngineSettings, Message, Work
from pretune.study.engines.process import Processes
from pretune.study.recipe import Step
from pretune.study.steps import StepsDone, begun, do_steps, ended, passed

__all__ = ["do_steps_of", "do_together", "refuse_missing_engine"]

_PAUSE_SECONDS, _PATIENCE_SECONDS = 0.05, 120.0
_SIGNALLED = 128
"""A process says by an exit code from here on that a signal ended it; Python gives the signal's number below zero."""


def refuse_missing_engine(settings: EngineSettings) -> None:
    """Raise :class:`UsageError` where the engine is not installed."""
    if settings.engine == "ray":
        from pretune.study.engines.cluster import import_ray

        import_ray()


def do_steps_of(
    steps: Sequence[Step], keys: Mapping[str, str], state: StepsDone, say: Say, settings: EngineSettings
) -> None:
    """Do all steps that are not done: one after the other here, or several at a time on the engine that is asked for."""
    if settings.engine == "processes" and settings.jobs in (None, 1):
        do_steps(steps, keys, state, say)
        return
    todo = [step for step in steps if not state.is_done(step, keys[step.name])]
    if todo:
        with contextlib.closing(_engine_of(settings, state, len(todo), say)) as engine:
            do_together(steps, keys, state, say, engine)


def _engine_of(settings: EngineSettings, state: StepsDone, most: int, say: Say) -> Engine:
    if settings.engine == "processes":
        return Processes(settings.jobs or 1)
    from pretune.study.engines.cluster import RayCluster

    return RayCluster(state.folder, most, settings.jobs, say)


@dataclass
class _Child:
    """A step that runs, for the ``life``-th time. Its messages come through a queue; the last of them is its end."""

    step: Step
    life: int
    work: Work
    began: float


class _Together:
    """The steps that run on an engine."""

    def __init__(self, keys: Mapping[str, str], state: StepsDone, say: Say, engine: Engine) -> None:
        self.keys, self.state, self.say, self.engine = keys, state, say, engine
        self.running: dict[str, _Child] = {}
        self._messages: queue.Queue[tuple[str, int, Message]] = queue.Queue()

    def start(self, step: Step, life: int = 1) -> None:
        """Begin a step on the engine. One that was lost finds its folder locked until the process that had it is gone."""
        settings = begun(step, self.keys[step.name], self.state).to_dict()
        if "threads" in settings and settings["threads"] is None:
            settings["threads"] = self.engine.threads
        order = {"verb": step.verb, "settings": settings, "threads": self.engine.threads, "waits": life > 1}
        work = self.engine.start(order, lambda message: self._messages.put((step.name, life, message)))
        self.running[step.name] = _Child(step, life, work, time.monotonic())

    def next_done(self) -> tuple[_Child, Outcome] | None:
        """A step that is done, and what it gave, if that is said within a moment. Raises what a step raised."""
        try:
            name, life, message = self._messages.get(timeout=_PAUSE_SECONDS)
        except queue.Empty:
            return None
        child = self.running.get(name)
        if child is None or child.life != life:
            return None
        if "ended" in message or (self.engine.lives > 1 and _was_stopped(message)):
            self._begin_again(child, message)
            return None
        outcome = _heard(name, message, self.say)
        if outcome is None:
            return None
        child.work.wait(_PATIENCE_SECONDS)
        return self.running.pop(name), passed(outcome, name)

    def _begin_again(self, child: _Child, message: Message) -> None:
        """Its process was lost: it goes on from what it saved. Raises :class:`RunError` where it ended of itself, or too often."""
        name, lives = child.step.name, self.engine.lives
        why = _why(message)
        if child.life >= lives or _ended_of_itself(message):
            often = f", {lives} times in all" if lives > 1 and child.life == lives else ""
            raise RunError(
                f"step {name}: {why}{often}", "give the same command again, with fewer --jobs if memory ran out"
            )
        self.say.warn(f"{name}: {why}; it is begun again and goes on from what it saved ({child.life} of {lives - 1})")
        self.start(child.step, child.life + 1)


def do_together(steps: Sequence[Step], keys: Mapping[str, str], state: StepsDone, say: Say, engine: Engine) -> None:
    """Do all steps that are not done, as many at a time as the engine has room for; each gets its share of the processors.

    The first error stops the others, whose state is saved, and is raised. A signal does the same and raises :class:`Interrupted`.
    """
    done = {step.name for step in steps if state.is_done(step, keys[step.name])}
    waiting = [step for step in steps if step.name not in done]
    together = _Together(keys, state, say, engine)
    running = together.running
    if done:
        say.note(f"== {len(done)} of {len(steps)} steps were done before")
    with StopRequest() as stop, _ended_at_last(running):
        while waiting or running:
            if stop.signal_number:
                raise Interrupted(
                    f"stopped with {len(waiting) + len(running)} of {len(steps)} steps to do; what was learned is saved",
                    "run the same command again to go on", stop.signal_number,
                )  # fmt: skip
            for step in [one for one in waiting if not {*one.needs} - done][: engine.jobs - len(running)]:
                waiting.remove(step)
                say.note(f"== {len(steps) - len(waiting)} of {len(steps)}: {step.name}: {step.settings.command()}")
                together.start(step)
            if (found := together.next_done()) is None:
                continue
            child, outcome = found
            name = child.step.name
            ended(child.step, keys[name], state, outcome, seconds=time.monotonic() - child.began)
            done.add(name)
            for line in outcome.text.splitlines():
                say.note(f"   {name}: {line}")


def _heard(name: str, message: Message, say: Say) -> Outcome | None:
    """Pass on what a step says; its outcome is returned, its error raised."""
    if "note" in message:
        say.note(f"   {name}: {message['note']}")
    if "warn" in message:
        say.warn(f"{name}: {message['warn']}")
    if "error" in message:
        error = RunError(f"step {name}: {message['error']['problem']}", message["error"]["fix"])
        error.exit_code = message["error"]["exit_code"]
        raise error
    if "outcome" not in message:
        return None
    found = message["outcome"]
    return Outcome(text=found["text"], facts=found["facts"], exit_code=found["exit_code"])


def _was_stopped(message: Message) -> bool:
    """Somebody else asked it to leave, such as a machine that is taken away: it saved its state and did."""
    return message.get("error", {}).get("kind") == Interrupted.kind


def _ended_of_itself(message: Message) -> bool:
    """An exit code of its own, and no signal: it would come to the same end again."""
    code = message.get("ended", {}).get("exit_code")
    return code is not None and 0 <= code < _SIGNALLED


def _why(message: Message) -> str:
    facts: dict[str, Any] = message.get("ended", {})
    where = f" on node {facts['node']}" if facts.get("node") else ""
    if _was_stopped(message):
        return "it was asked to leave by a signal"
    if _ended_of_itself(message):
        return f"its process ended{where} without a word, with exit code {facts['exit_code']}\n{facts.get('errors', '')}".strip()
    return f"its process ended without a word{where}: it was killed, or ran out of memory"


@contextlib.contextmanager
def _ended_at_last(running: Mapping[str, _Child]) -> Iterator[None]:
    """However it ends, no step goes on alone: those that run are asked to save and leave, and are waited for."""
    try:
        yield
    except BaseException:  # an error of this process leaves no step alone either
        for child in running.values():
            child.work.ask_to_leave()
        raise
    finally:
        for child in running.values():
            if not child.work.wait(_PATIENCE_SECONDS):
                child.work.kill()
