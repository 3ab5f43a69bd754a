"""``pretune run``: a recipe's steps in order, each done once; begun again it goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pretune.config import OutSettings, RunSettings
from pretune.errors import CorruptFile, Interrupted, PretuneError, RunError, UsageError
from pretune.newrun import create_run, refuse_place
from pretune.options import Settings, option
from pretune.runfolder import RunFolder, is_run, now
from pretune.study.recipe import Recipe, Step, read_recipe
from pretune.verbs.declare import load_verb, verb
from pretune.verbs.outcome import WAS_FINISHED, Outcome, Say

__all__ = ["RunRecipeSettings", "run"]

STATE = "recipe.json"


@dataclass(frozen=True, kw_only=True)
class RunRecipeSettings(RunSettings):
    """Settings of ``pretune run``."""

    verb: ClassVar[str] = "run"

    recipe: str = option(help="YAML file of named steps", positional=True, metavar="RECIPE", not_in_identity=True)
    out: str | None = option(  # the steps' runs go below it
        None, "folder for the runs of all steps; default: what the recipe says, else runs/<its name>", metavar="FOLDER"
    )
    dry_run: bool = option(
        False,
        "check the recipe and say what would be done, with each step's command; write nothing",
        not_in_identity=True,
    )
    set: tuple[str, ...] = option(
        (), "change one of the recipe's defaults: data=other.csv, seed=1", metavar="NAME=VALUE", not_in_identity=True
    )


@verb(RunRecipeSettings)
def run(settings: RunRecipeSettings, *, say: Say) -> Outcome:
    """Run a recipe: a YAML file of named steps, each a verb with its options, where $name stands for an earlier step's run.

    All options are checked before anything is computed. A step that was done with the same options on the same files is
    not done again; a changed step is, with all that hang on it. Killed or failed, the same command goes on. The
    folder gets one page that says what each step gave.

    A recipe:

        out: runs/news
        defaults: {data: news.csv, seed: 0}
        steps:
          base:  {verb: pretrain, backbone: scratch:bert-mini, minutes: 10}
          big:   {verb: finetune, backbone: $base}
          small: {verb: distill, run: $big, student: layers:2}
          int8:  {verb: quantize, run: $small}
          table: {verb: benchmark, runs: [$big, $small, $int8]}

    Examples::

        pretune run recipe.yaml --dry-run
        pretune run recipe.yaml
        pretune run recipe.yaml --set data=other.csv --out runs/other
    """
    recipe = read_recipe(Path(settings.recipe), out=settings.out, changes=_changes(settings.set))
    keys = recipe.keys()
    refuse_place(recipe.out)
    if not settings.overwrite:
        _refuse_other_recipe(recipe)
    if settings.dry_run:
        return _plan(recipe, keys, begins_again=settings.overwrite)
    kept = dataclasses.replace(settings, out=str(recipe.out))
    with create_run(kept, recipe.out, overwrite=settings.overwrite) as (folder, _):
        folder.update_record(settings=kept.to_dict(), command=kept.command())
        state = _State(folder)
        todo = [step for step in recipe.steps if not state.is_done(step, keys[step.name])]
        if not todo and folder.record.get("status") == "finished":
            return _outcome(recipe, folder, state, WAS_FINISHED)
        began = time.monotonic()
        folder.update_record(
            status="running",
            problem=None,
            parents=[str(recipe.out / step.name) for step in recipe.steps if step.makes_run],
        )
        with _failure_noted(folder):
            for number, step in enumerate(recipe.steps, 1):
                _do(step, keys[step.name], state, say, place=f"{number} of {len(recipe.steps)}")
            state.forget_others({step.name for step in recipe.steps})
        folder.update_record(status="finished", finished=now(), seconds=round(time.monotonic() - began, 1))
        load_verb("report")(str(folder.path), say=say)
        return _outcome(recipe, folder, state, "is finished")


def _changes(words: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--set is {word!r}", "it takes NAME=VALUE, such as --set seed=1")
        name = name.replace("-", "_")
        if name in found:
            raise UsageError(f"--set {name} is given twice", "give it once")
        found[name] = value
    return found


def _refuse_other_recipe(recipe: Recipe) -> None:
    """Raise :class:`RunError` where the folder is that of another recipe, which is still there: its steps would be replaced."""
    if not is_run(recipe.out):
        return
    record = RunFolder(recipe.out).record
    before = Path(str(record.get("settings", {}).get("recipe") or recipe.path))
    if record.get("verb") == "run" and before.is_file() and not before.samefile(recipe.path):
        raise RunError(
            f"{recipe.out} holds the runs of another recipe, {before}",
            f"give another folder (--out, or out: in {recipe.path}), or --overwrite to replace them",
        )


class _State:
    """What the recipe's folder remembers of its steps, in ``recipe.json``."""

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
            return _is_finished(_run_of(step))
        return all(path.exists() for path in step.files) and before.get("taken") == self.taken(step)

    def taken(self, step: Step) -> dict[str, Any]:
        """When the runs that it takes were begun: one that was deleted and made anew is another."""
        runs = {name: RunFolder(self.path.parent / name) for name in step.needs}
        return {name: run.record.get("started") if is_run(run.path) else None for name, run in runs.items()}

    def write(self, step: Step, key: str, **facts: Any) -> None:
        """Replace what is known of a step."""
        known = {"verb": step.verb, "command": step.settings.command(), "key": key, "needs": [*step.needs]}
        if step.makes_run:
            known["run"] = _run_of(step).name
        self.steps[step.name] = {**known, **facts}
        self.folder.write(STATE, {"format": 1, "steps": self.steps})

    def forget_others(self, names: set[str]) -> None:
        """Steps that the recipe no longer has; their folders stay."""
        self.steps = {name: facts for name, facts in self.steps.items() if name in names}
        self.folder.write(STATE, {"format": 1, "steps": self.steps})


def _run_of(step: Step) -> Path:
    assert isinstance(step.settings, OutSettings), "a step without a run has no folder"
    return Path(str(step.settings.out))


def _is_finished(place: Path) -> bool:
    return is_run(place) and RunFolder(place).record.get("status") == "finished"


def _do(step: Step, key: str, state: _State, say: Say, *, place: str) -> None:
    """Do one step, unless it is done. What was made with other options by an earlier form of it is replaced."""
    if state.is_done(step, key):
        say.note(f"== {place}: {step.name} was done before")
        return
    say.note(f"== {place}: {step.name}: {step.settings.command()}")
    before = state.steps.get(step.name, {})
    settings = step.settings
    if step.makes_run and before.get("key") not in (None, key) and is_run(_run_of(step)):
        settings = dataclasses.replace(settings, overwrite=True)
    state.write(step, key, status="running")
    began = time.monotonic()
    outcome = _called(load_verb(step.verb).run, settings, say, step.name)
    state.write(
        step,
        key,
        status="finished",
        taken=state.taken(step),
        text=outcome.text,
        facts=dict(outcome.facts),
        seconds=round(time.monotonic() - began, 1),
    )
    for line in outcome.text.splitlines():
        say.note(f"   {line}")


def _called(function: Callable[..., Outcome], settings: Settings, say: Say, name: str) -> Outcome:
    """The verb's outcome; its errors, and a check that did not pass, name the step."""
    try:
        outcome = function(settings, say=say)
    except Interrupted:
        raise
    except PretuneError as error:
        error.problem = f"step {name}: {error.problem}"
        raise
    if outcome.exit_code:
        error = RunError(f"step {name} did not pass: {outcome.text}", "mend what it found and run the recipe again")
        error.exit_code = outcome.exit_code
        raise error
    return outcome


@contextlib.contextmanager
def _failure_noted(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except PretuneError as error:
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
        with contextlib.suppress(PretuneError, OSError):
            folder.update_record(status=status, problem=error.problem)
        raise


def _plan(recipe: Recipe, keys: Mapping[str, str], *, begins_again: bool) -> Outcome:
    """What would be done; nothing is written."""
    state = _State(RunFolder(recipe.out))
    if begins_again:
        state.steps = {}
    lines, facts = [], []
    for step in recipe.steps:
        before = state.steps.get(step.name, {})
        if state.is_done(step, keys[step.name]):
            word = "done before"
        elif before.get("key") == keys[step.name]:
            word = "goes on"
        else:
            word = "changed, again" if before else "to do"
        lines.append(f"{step.name:<12} {word:<15} {step.settings.command()}")
        facts.append({"name": step.name, "verb": step.verb, "state": word, "command": step.settings.command()})
    text = "\n".join([*lines, f"The runs go to {recipe.out}. Nothing was written."])
    return Outcome(text=text, facts={"out": str(recipe.out), "steps": facts})


def _outcome(recipe: Recipe, folder: RunFolder, state: _State, said: str) -> Outcome:
    steps = {step.name: state.steps.get(step.name, {}) for step in recipe.steps}
    lines = [
        f"{name}: {str(facts.get('text', '')).splitlines()[0]}" for name, facts in steps.items() if facts.get("text")
    ]
    page = folder.path / "report.html"
    text = "\n".join([*lines, f"{folder.path} {said}; the page of the whole is {page}"])
    return Outcome(text=text, facts={"run": str(folder.path), "steps": steps, "report": str(page)})
