"""Contract: task × verb, over every task of :data:`pretune.tasks.TASKS` that is fine-tuned. A verb takes the task's run and keeps its general
promises, or refuses it with the sentence that the task declares (``lacks``).
"""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_calls import QUICK, call, done, refused
from task_worlds import WORLDS, World

from pretune.config import AnsweringSettings
from pretune.files import read_json_lines
from pretune.runfolder import RunFolder
from pretune.runs.proven import load_proven
from pretune.runs.reading import learned_by
from pretune.serve.limits import Limits
from pretune.tasks import TASKS, Task, task_named
from pretune.verbs.list import TAKING_TASKS
from pretune.verbs.serve import ServeSettings, served_run
from serving import asked, misfit

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]


@dataclass(frozen=True)
class Told:
    """A task's world, its data, and a run of it that was evaluated."""

    kind: type[Task]
    world: World
    folder: Path
    data: Path
    run: Path

    @property
    def row(self) -> Path:
        """What ``predict`` is asked."""
        return self.world.row(self.folder / "data")


OF_THEIR_OWN = {"text-to-speech"}
"""Answers are files, and rows have no path to ask by: tests/e2e/test_chain_voice.py."""

FINETUNED = sorted(
    {task.name for task in TASKS if "finetune" not in task.lacks and task.name not in OF_THEIR_OWN} | WORLDS.keys()
)


@pytest.fixture(scope="module", params=FINETUNED)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    assert request.param in WORLDS, f"{request.param} has no world in tests/e2e/task_worlds.py"
    world, name = WORLDS[request.param], request.param.split()[0]
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "data").mkdir()
    place = world.write(folder / "data")
    words = (
        "finetune",
        world.model,
        *world.fresh,
        "--data",
        place,
        *world.columns,
        *world.flags,
        *QUICK,
        "--task",
        name,
    )
    done(*words, "--out", folder / "run")
    done("evaluate", folder / "run", *QUICK, "--resamples", "100")
    return Told(task_named(name), world, folder, place, folder / "run")


def taken(verb: str, told: Told, *words: object) -> bool:
    """Did ``pretune WORDS`` go well? Where the task lacks the verb, it must be refused with the task's own sentence."""
    assert verb in TAKING_TASKS
    why = told.kind.lacks.get(verb)
    said = call(*words)
    if why is None:
        assert said.code == 0, f"{said.out}{said.err}"
        return True
    refused(said, " ".join(why.split()[-6:]).replace("(", ".").replace(")", "."))
    return False


def test_scores_of_rows_that_were_never_learned_from(told: Told) -> None:
    metrics = RunFolder(told.run).metrics["test"]
    assert metrics["primary"] == told.kind.metric_type.primary or told.kind.lacks
    for name, score in metrics["scores"].items():
        if None not in (score["value"], score["low"]):
            assert score["low"] <= score["value"] <= score["high"], name
    assert metrics["baselines"], "a score says little without a simple method beside it"
    records = list(read_json_lines(told.run / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"] > 2
    assert all(("truth" in record and told.kind.answer in record) or "probabilities" in record for record in records)


def test_predict_answers_as_its_schema_says(told: Told, tmp_path: Path) -> None:
    (row,) = done("predict", told.run, told.row, *QUICK).rows
    proven = load_proven(RunFolder(told.run), AnsweringSettings(threads=1))
    assert misfit(row, proven.task.record_schema()) == ""


def test_equal_runs_tie(told: Told) -> None:
    twin = told.folder / "twin"
    if not twin.exists():
        shutil.copytree(told.run, twin)
    if taken("compare", told, "compare", told.run, twin):
        facts = done("compare", told.run, twin, "--json").facts
        assert facts["better"] is None
        assert facts["primary"]["difference"] == 0


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("distill", ("--student", None, "--max-steps", "3", *QUICK)),
        ("prune", ("--max-steps", "2", *QUICK)),
        ("quantize", ("--threads", "1")),
    ],
)
def test_what_is_made_smaller_answers_the_same_question(
    verb: str, words: tuple[str | None, ...], told: Told, tmp_path: Path
) -> None:
    given = [told.world.student if word is None else word for word in words]
    if taken(verb, told, verb, told.run, *given, "--out", tmp_path / verb):
        (row,) = done("predict", tmp_path / verb, told.row, "--threads", "1").rows
        (before,) = done("predict", told.run, told.row, *QUICK).rows
        assert row.keys() == before.keys()
        done("report", tmp_path / verb)


def test_an_exported_folder_answers_alone(told: Told, tmp_path: Path) -> None:
    if taken("export", told, "export", told.run, "--threads", "1", "--out", tmp_path / "out"):
        parity = RunFolder(tmp_path / "out").record["export"]["parity"]
        assert parity["graph"]["rows"] > 2
        assert parity["graph"]["same"] == parity["graph"]["rows"]


def test_benchmark_times_it(told: Told, tmp_path: Path) -> None:
    words = ("benchmark", told.run, "--threads", "1", "--seconds", "0.01", "--out", tmp_path / "table")
    taken("benchmark", told, *words)


def test_the_service_answers_as_its_schema_says(told: Told) -> None:
    if why := told.kind.lacks.get("serve"):
        refused(call("serve", told.run, "--port", "0"), why.split()[-1])
        return
    place = told.row
    held = {".png": "image", ".wav": "audio"}.get(place.suffix)
    row = {held: base64.b64encode(place.read_bytes()).decode()} if held else json.loads(place.read_text())
    run, settings = RunFolder(told.run), ServeSettings(run=str(told.run), threads=1)
    served = served_run(run, load_proven(run, settings), learned_by(run, settings), Limits(), 0)
    with asked(served) as (client, _):
        description, said = client.get("/openapi.json").json(), client.post("/predict", json={"rows": [row]})
    assert said.status_code == 200, said.text
    reply = description["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert misfit(said.json(), reply) == ""


def test_explain(told: Told, tmp_path: Path) -> None:
    place = told.row
    example = json.loads(place.read_text()).get("text", "what?") if place.suffix == ".jsonl" else str(place)
    if taken("explain", told, "explain", told.run, example, "--threads", "1", "--out", tmp_path / "why.html"):
        assert "Traceback" not in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_a_page_of_it(told: Told, tmp_path: Path) -> None:
    if taken("report", told, "report", told.run, "--out", tmp_path / "page.html"):
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "Traceback" not in page
        assert "never learned from" in page or "test" in page


def test_probe(told: Told) -> None:
    words = ("probe", told.world.model, *told.world.fresh, "--data", told.data, *told.world.columns, *QUICK)
    taken("probe", told, *words)


def test_drift_of_rows_that_were_not_learned_from(told: Told, tmp_path: Path) -> None:
    words = ("drift", told.run, told.data, *told.world.columns, "--split", "train", *QUICK)
    if taken("drift", told, *words, "--permutations", "99", "--resamples", "100", "--out", tmp_path / "page.html"):
        assert "Traceback" not in (tmp_path / "page.html").read_text(encoding="utf-8")
