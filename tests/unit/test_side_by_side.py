"""Steps side by side on an engine of which nothing is known but the contract; and what a node refuses."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pretune
from pretune.errors import PretuneError, RunError, UsageError
from pretune.files import read_json
from pretune.interface import Silent
from pretune.newrun import create_run
from pretune.runfolder import RunFolder
from pretune.study import parallel
from pretune.study.engines.base import EngineSettings, Hear, Message
from pretune.study.engines.cluster import join
from pretune.study.engines.node import StepActor
from pretune.study.recipe import Recipe, read_recipe
from pretune.study.run import RunRecipeSettings
from pretune.study.steps import StepsDone, begun

LOST: Message = {"ended": {"exit_code": -9, "node": "n1"}}
DONE: Message = {"outcome": {"text": "well", "facts": {}, "exit_code": 0}}
RECIPE = """
out: {out}
steps:
  one: {{verb: evaluate, run: elsewhere}}
  two: {{verb: benchmark, runs: [elsewhere, other]}}
"""


class Lives:
    """An engine that says what it was told to say, life by life; a step whose last word is no end goes on for good."""

    jobs, threads, lives = 2, 3, 3

    def __init__(self, **says: list[Message | list[Message]]) -> None:
        self.says = {name: list(of_life) for name, of_life in says.items()}
        self.orders: list[Any] = []
        self.asked: list[str] = []

    def start(self, order: Message, hear: Hear) -> Leaving:
        self.orders.append(order)
        said = self.says[order["verb"]].pop(0)
        for message in said if isinstance(said, list) else [said]:
            hear(message)
        return Leaving(self, order["verb"])

    def close(self) -> None: ...


class Leaving:
    def __init__(self, engine: Lives, name: str) -> None:
        self.engine, self.name = engine, name

    def ask_to_leave(self) -> None:
        self.engine.asked.append(self.name)

    def wait(self, seconds: float) -> bool:
        return True

    def kill(self) -> None: ...


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(out=tmp_path / "out"))
    return read_recipe(path)


@contextlib.contextmanager
def folder_of(recipe: Recipe) -> Iterator[RunFolder]:
    with create_run(RunRecipeSettings(recipe=str(recipe.path)), recipe.out) as (folder, _):
        yield folder


def together(recipe: Recipe, engine: Lives) -> Silent:
    say = Silent()
    with folder_of(recipe) as folder:
        parallel.do_together(recipe.steps, recipe.keys(), StepsDone(folder), say, engine)
    return say


def states(recipe: Recipe) -> dict[str, str]:
    return {name: step["status"] for name, step in read_json(recipe.out / "recipe.json")["steps"].items()}


def test_a_step_whose_process_is_lost_is_begun_again_and_that_is_told(recipe: Recipe) -> None:
    stopped = {"error": {"problem": "stopped", "fix": "", "exit_code": 143, "kind": "stopped"}}
    engine = Lives(evaluate=[LOST, [stopped, LOST], [{"note": "hello"}, DONE]], benchmark=[DONE])
    say = together(recipe, engine)
    assert states(recipe) == {"one": "finished", "two": "finished"}
    assert [order["verb"] for order in engine.orders if order["waits"]] == ["evaluate", "evaluate"]
    assert all(order["settings"]["threads"] == 3 for order in engine.orders)
    assert len(say.warnings) == 2
    assert "one: its process ended without a word on node n1" in say.warnings[0]
    assert "(1 of 2)" in say.warnings[0]
    assert "asked to leave by a signal" in say.warnings[1]
    assert "   one: hello" in say.notes


@pytest.mark.parametrize(
    ("lives", "says"),
    [
        ([LOST, LOST, LOST], r"step one: .*was killed, or ran out of memory, 3 times in all"),
        ([{"ended": {"exit_code": 1, "errors": "KeyError: 'x'"}}], r"with exit code 1\nKeyError: 'x'"),
        ([{"error": {"problem": "no rows", "fix": "add some", "exit_code": 2, "kind": "data"}}], "step one: no rows"),
    ],
)
def test_a_step_that_comes_to_the_same_end_ends_those_beside_it(recipe: Recipe, lives: Any, says: str) -> None:
    engine = Lives(evaluate=lives, benchmark=[{"note": "at work"}])
    with pytest.raises(RunError, match=says):
        together(recipe, engine)
    assert "benchmark" in engine.asked
    assert states(recipe) == {"one": "running", "two": "running"}


def test_processes_of_this_machine_are_not_begun_again(recipe: Recipe) -> None:
    engine = Lives(evaluate=[LOST], benchmark=[DONE])
    engine.lives = 1
    with pytest.raises(RunError, match="was killed, or ran out of memory\n"):
        together(recipe, engine)


def test_what_an_earlier_form_of_a_step_made_is_replaced_though_it_was_lost_at_once(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"out: {tmp_path / 'out'}\nsteps:\n  one: {{verb: finetune, backbone: x, data: y}}\n")
    recipe = read_recipe(path)
    step = recipe.steps[0]
    with folder_of(recipe) as folder:
        state = StepsDone(folder)
        assert not begun(step, "a", state).to_dict()["overwrite"]
        with create_run(step.settings, tmp_path / "out" / "one") as (run, _):
            run.write("log.jsonl", {})
        assert not begun(step, "a", state).to_dict()["overwrite"], "it goes on"
        assert begun(step, "b", state).to_dict()["overwrite"]
        assert begun(step, "b", StepsDone(folder)).to_dict()["overwrite"], (
            "what was made with other options is there still"
        )
        with create_run(step.settings, tmp_path / "out" / "one", overwrite=True):
            pass
        assert not begun(step, "b", state).to_dict()["overwrite"], "it is the new one's"


def test_ray_that_is_not_installed(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'pretune\[ray\]'"):
        parallel.refuse_missing_engine(RunRecipeSettings(recipe=str(recipe.path), engine="ray"))
    parallel.refuse_missing_engine(EngineSettings(jobs=2))


def test_a_node_that_sees_other_folders_or_has_another_pretune_refuses(recipe: Recipe) -> None:
    with folder_of(recipe) as folder:
        place = {"folder": "/", "run": str(folder.path), "started": folder.record["started"], "version": "0.0.1", "environment": {}}  # fmt: skip
    for other, says in (({}, "has pretune"), ({"version": pretune.__version__, "started": "then"}, "does not see")):
        (message,) = StepActor().messages(json.dumps({"verb": "evaluate", "settings": {}, "place": {**place, **other}}))
        assert says in json.loads(message)["error"]["problem"]


@pytest.mark.parametrize(
    ("address", "says"), [("127.0.0.1:1", "no Ray cluster could be joined"), ("ray://head:10001", "a client's")]
)
def test_an_address_where_no_cluster_is(address: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(PretuneError, match=says):
        join(ModuleType("ray"))
