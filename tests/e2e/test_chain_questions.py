"""Questions from a SQuAD file to a page: one small set through every verb, with and without questions that have no answer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, call, done, refused
from told_story import Story

from export_cases import run_alone
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder
from serving import fetched, misfit, running

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

PEOPLE, PLACES = ("Ann", "Bob", "Carla", "Dan"), ("Oslo", "York", "Rio", "Paris")
PASSAGE = "In May Carla went to Oslo. It rained there for days."
QUESTION = "Where did Carla go?"


def articles(count: int, seed: int = 0) -> dict[str, object]:
    """Passages of one sentence that matters; every third question asks for what is not there."""
    rng, found = random.Random(seed), []
    for number in range(count):
        who, where = rng.choice(PEOPLE), rng.choice(PLACES)
        passage = f"In May {who} went to {where}. It rained there for {number} days 🙂."
        qas = [
            {"id": f"{number}-who", "question": f"Who went to {where}?", "answers": [{"text": who, "answer_start": 7}]},
            {"id": f"{number}-where", "question": f"Where did {who} go?", "answers": [{"text": where, "answer_start": passage.index(where)}]},
        ]  # fmt: skip
        if number % 2:
            qas.append({"id": f"{number}-why", "question": "Why did it snow?", "answers": [], "is_impossible": True})  # type: ignore[dict-item]
        found.append({"title": f"Travel {number // 2}", "paragraphs": [{"context": passage, "qas": qas}]})
    return {"version": "v2.0", "data": found}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("questions")
    told = Story(folder, [])
    told.data = folder / "travel.json"
    told.data.write_text(json.dumps(articles(70)), encoding="utf-8")
    told.step("inspect", "inspect", told.data)
    few = ("--max-steps", "40", "--learning-rate", "0.003")
    told.step("finetune", "finetune", *TINY, "--data", told.data, *few, "--out", told.news)
    told.go_on()
    return told


def given(folder: Path) -> Path:
    place = folder / "rows.jsonl"
    row = {"id": "a", "question": QUESTION, "context": PASSAGE}
    place.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return place


def test_inspect_tells_of_answers(story: Story) -> None:
    figures = story.facts("inspect")["splits"]["train"]["answers"]["span"]
    assert figures["impossible"] > 0
    assert figures["not_found"] == 0


def test_a_run_keeps_how_it_answers_and_its_scores(story: Story) -> None:
    about = read_json(story.news / "model" / "pretune.json")
    assert about["task"] == "question-answering"
    assert about["answers_all"] is False
    assert read_json(story.news / "model" / "config.json")["architectures"] == ["BertForQuestionAnswering"]
    metrics = RunFolder(story.news).metrics["test"]
    assert metrics["primary"] == "answer_f1"
    assert set(metrics["baselines"]) == {"nearest-sentence", "nearest-name"}
    assert {"has_answer_f1", "no_answer_accuracy", "exact_match"} <= metrics["scores"].keys()
    records = list(read_json_lines(story.news / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"], "no row is lost"


def test_predict_points_into_the_passage(story: Story, tmp_path: Path) -> None:
    (row,) = done("predict", story.news, given(tmp_path), *QUICK).rows
    span = row["span"]
    assert span["text"] == ("" if span["start"] < 0 else PASSAGE[span["start"] : span["end"]])
    assert 0 <= row["probability"] <= 1
    assert row["best"]["text"] in PASSAGE
    assert done("predict", story.news, given(tmp_path), "--out", tmp_path / "out.csv", *QUICK, "--json").facts["rows"] == 1  # fmt: skip
    lone = call("predict", story.news, "-", *QUICK, stdin=json.dumps({"question": QUESTION}))
    refused(lone, "text_pair|context")
    empty = call("predict", story.news, "-", *QUICK, stdin=json.dumps({"question": QUESTION, "context": " "}))
    assert empty.code != 0
    assert "no text" in empty.err


def test_a_program_without_pretune_says_the_same(story: Story, tmp_path: Path) -> None:
    parity = story.facts("export")["artifact"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"] > 8
    assert parity["program"]["same"] == parity["program"]["rows"] > 8
    script = story.folder / "exported" / "model" / "predict.py"
    said = run_alone(script, given(tmp_path), needs=("onnxruntime", "numpy", "tokenizers"))
    assert said.returncode == 0, said.stderr
    (own,), (theirs,) = [json.loads(line) for line in said.stdout.splitlines()], done("predict", story.news, given(tmp_path), *QUICK).rows  # fmt: skip
    assert own["span"] == theirs["span"]
    assert own["best"] == theirs["best"]
    assert own["probability"] == pytest.approx(theirs["probability"], abs=1e-5)


def test_students_and_comparisons(story: Story) -> None:
    assert story.facts("distill")["compression"]["smaller"] > 1
    facts = done("compare", story.news, story.weak, "--json").facts
    assert facts["primary"]["name"] == "answer_f1"
    assert facts["n"] == RunFolder(story.news).metrics["test"]["n"]


def test_a_report_marks_answers_in_their_passages(story: Story) -> None:
    for run in (story.news, story.weak):
        done("report", run)
    page = (story.weak / "report.html").read_text(encoding="utf-8")
    for said in ("Kinds of questions", "Worst rows", "answer F1"):
        assert said in page
    assert "<mark" in page, "a student of six steps is wrong"
    assert "the sentence with most words of the question" in (story.news / "report.html").read_text(encoding="utf-8")


def test_explain_says_why_not_and_what_to_do(story: Story, tmp_path: Path) -> None:
    refused(call("explain", story.news, QUESTION, "--out", tmp_path / "why.html"), "points at the words")


def test_serve_answers_as_its_schema_says(story: Story) -> None:
    row = {"id": "a", "text": QUESTION, "text_pair": PASSAGE}
    with running(story.news) as service:
        page = fetched(service.address)
        description = json.loads(fetched(f"{service.address}openapi.json"))
        said = json.loads(fetched(f"{service.address}predict", {"rows": [row]}))
    assert ">Question</label>" in page
    assert ">Passage</label>" in page
    reply = description["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert misfit(said, reply) == ""
    assert said["rows"][0]["span"] == done("predict", story.news, "-", *QUICK, stdin=json.dumps(row)).rows[0]["span"]


def test_answers_that_stand_nowhere_are_told_and_not_lost(tmp_path: Path) -> None:
    data = articles(40)
    for one in data["data"][::3]:  # type: ignore[index]
        one["paragraphs"][0]["qas"][0]["answers"][0]["text"] = "Nobody"
    (tmp_path / "own.json").write_text(json.dumps(data), encoding="utf-8")
    said = done("finetune", *TINY, "--data", tmp_path / "own.json", "--max-steps", "3", "--out", tmp_path / "run")
    assert "stand in their passage" in said.out + said.err
    done("evaluate", tmp_path / "run", *QUICK)
    metrics = RunFolder(tmp_path / "run").metrics["test"]
    assert metrics["n"] == len(list(read_json_lines(tmp_path / "run" / "predictions" / "test.jsonl")))


def test_wrong_use(story: Story, tmp_path: Path) -> None:
    words = ("finetune", *TINY, "--data", story.data, "--out", tmp_path / "run")
    refused(call(*words, "--augment", "strong"), "--augment")
    refused(call(*words, "--long-text", "windows"), "long-text")
    nowhere = articles(20)
    for one in nowhere["data"]:  # type: ignore[attr-defined]
        for question in one["paragraphs"][0]["qas"]:
            question["answers"] = [{"text": "Nobody", "answer_start": 3}]
    (tmp_path / "nowhere.json").write_text(json.dumps(nowhere), encoding="utf-8")
    refused(call("finetune", *TINY, "--data", tmp_path / "nowhere.json", "--out", tmp_path / "run"), "stands in its passage")  # fmt: skip
