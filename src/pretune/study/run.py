"""``pretune run``: a recipe's steps in order, each done once; begun again it goes on where it stopped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pretune.config import RunSettings
from pretune.errors import RunError, UsageError
from pretune.interface.declare import load_verb, verb
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.newrun import create_run, refuse_place
from pretune.options import option
from pretune.runfolder import RunFolder, is_run, now
from pretune.study.engines.base import EngineSettings
from pretune.study.parallel import do_steps_of, refuse_missing_engine
from pretune.study.recipe import Recipe, read_recipe
from pretune.study.steps import StepsDone, failure_noted

__all__ = ["RunRecipeSettings", "run"]


@dataclass(frozen=True, kw_only=True)
class RunRecipeSettings(EngineSettings, RunSettings):
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
    refuse_missing_engine(settings)
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
        state = StepsDone(folder)
        todo = [step for step in recipe.steps if not state.is_done(step, keys[step.name])]
        if not todo and folder.record.get("status") == "finished":
            return _outcome(recipe, folder, state, WAS_FINISHED)
        began = time.monotonic()
        folder.update_record(
            status="running",
            problem=None,
            parents=[str(recipe.out / step.name) for step in recipe.steps if step.makes_run],
        )
        with failure_noted(folder):
            do_steps_of(recipe.steps, keys, state, say, settings)
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


def _plan(recipe: Recipe, keys: Mapping[str, str], *, begins_again: bool) -> Outcome:
    """What would be done; nothing is written."""
    state = StepsDone(RunFolder(recipe.out))
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


def _outcome(recipe: Recipe, folder: RunFolder, state: StepsDone, said: str) -> Outcome:
    steps = {step.name: state.steps.get(step.name, {}) for step in recipe.steps}
    lines = [
        f"{name}: {str(facts.get('text', '')).splitlines()[0]}" for name, facts in steps.items() if facts.get("text")
    ]
    page = folder.path / "report.html"
    text = "\n".join([*lines, f"{folder.path} {said}; the page of the whole is {page}"])
    return Outcome(text=text, facts={"run": str(folder.path), "steps": steps, "report": str(page)})
