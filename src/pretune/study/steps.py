"""Steps done one after the other in one folder, each once: what recipes and studies share."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretune.config import OutSettings
from pretune.errors import CorruptFile, Interrupted, PretuneError, RunError
from pretune.interface.declare import load_verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings
from pretune.runfolder import RunFolder, is_run
from pretune.study.recipe import Step

__all__ = ["StepsDone", "begun", "do_steps", "ended", "failure_noted", "passed", "run_of"]

STATE = "recipe.json"


class StepsDone:
    """What a folder remembers of the steps that were done in it, in ``recipe.json``."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.path = folder, folder.path / STATE
        self.steps: dict[str, dict[str, Any]] = {}
        if folder.has(STATE):
            self.steps = folder.read_object(STATE, "steps")["steps"]
            if not isinstance(self.steps, dict) or not all(isinstance(facts, dict) for facts in self.steps.values()):
                raise CorruptFile(
                    f"{self.path} holds no steps", "delete it: steps that are done are found by their runs"
                )

    def is_done(self, step: Step, key: str) -> bool:
        """Was it done with this key, and is what it made still there? What has no run of its own lies in those that it took."""
        before = self.steps.get(step.name, {})
        if before.get("key") != key or before.get("status") != "finished":
            return False
        if step.makes_run:
            return _is_finished(run_of(step))
        return all(path.exists() for path in step.files) and before.get("taken") == self.taken(step)

    def taken(self, step: Step) -> dict[str, Any]:
        """When the runs that it takes were begun: one that was deleted and made anew is another."""
        runs = {name: RunFolder(self.path.parent / name) for name in step.needs}
        return {name: run.record.get("started") if is_run(run.path) else None for name, run in runs.items()}

    def write(self, step: Step, key: str, **facts: Any) -> None:
        """Replace what is known of a step."""
        known = {"verb": step.verb, "command": step.settings.command(), "key": key, "needs": [*step.needs]}
        if step.makes_run:
            known["run"] = run_of(step).name
        self.steps[step.name] = {**known, **facts}
        self.folder.write(STATE, {"format": 1, "steps": self.steps})

    def forget_others(self, names: set[str]) -> None:
        """Leave out steps that are asked for no longer; their folders stay."""
        self.steps = {name: facts for name, facts in self.steps.items() if name in names}
        self.folder.write(STATE, {"format": 1, "steps": self.steps})


def run_of(step: Step) -> Path:
    """The run folder that a step makes."""
    assert isinstance(step.settings, OutSettings), "a step without a run has no folder"
    return Path(str(step.settings.out))


def _is_finished(place: Path) -> bool:
    return is_run(place) and RunFolder(place).record.get("status") == "finished"


def do_steps(steps: Sequence[Step], keys: Mapping[str, str], state: StepsDone, say: Say) -> None:
    """Do the steps in their order, each once."""
    for number, step in enumerate(steps, 1):
        place, key = f"{number} of {len(steps)}", keys[step.name]
        if state.is_done(step, key):
            say.note(f"== {place}: {step.name} was done before")
            continue
        say.note(f"== {place}: {step.name}: {step.settings.command()}")
        settings, began = begun(step, key, state), time.monotonic()
        outcome = _called(load_verb(step.verb).run, settings, say, step.name)
        ended(step, key, state, outcome, seconds=time.monotonic() - began)
        for line in outcome.text.splitlines():
            say.note(f"   {line}")


def begun(step: Step, key: str, state: StepsDone) -> Settings:
    """Note that a step begins. Gives its settings: what was made with other options by an earlier form of it is replaced, which
    is remembered until it was done.
    """
    before, settings = state.steps.get(step.name, {}), step.settings
    replaces = before.get("replaces")
    if step.makes_run and is_run(run_of(step)):
        there = RunFolder(run_of(step)).record.get("started")
        if before.get("key") not in (None, key):
            replaces = there
        if replaces is not None and replaces == there:
            settings = dataclasses.replace(settings, overwrite=True)
    state.write(step, key, status="running", **({} if replaces is None else {"replaces": replaces}))
    return settings


def ended(step: Step, key: str, state: StepsDone, outcome: Outcome, *, seconds: float) -> None:
    """Note what a step gave."""
    state.write(
        step, key, status="finished", taken=state.taken(step), text=outcome.text, facts=dict(outcome.facts),
        seconds=round(seconds, 1),
    )  # fmt: skip


def _called(function: Callable[..., Outcome], settings: Settings, say: Say, name: str) -> Outcome:
    """The verb's outcome; its errors, and a check that did not pass, name the step."""
    try:
        outcome = function(settings, say=say)
    except Interrupted:
        raise
    except PretuneError as error:
        error.problem = f"step {name}: {error.problem}"
        raise
    return passed(outcome, name)


def passed(outcome: Outcome, name: str) -> Outcome:
    """The outcome. Raises :class:`RunError` naming the step for a check that did not pass."""
    if outcome.exit_code:
        error = RunError(f"step {name} did not pass: {outcome.text}", "mend what it found and give the command again")
        error.exit_code = outcome.exit_code
        raise error
    return outcome


@contextlib.contextmanager
def failure_noted(folder: RunFolder) -> Iterator[None]:
    """Within, an error is written to the folder's record before it goes on."""
    try:
        yield
    except PretuneError as error:
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
        with contextlib.suppress(PretuneError, OSError):
            folder.update_record(status=status, problem=error.problem)
        raise
