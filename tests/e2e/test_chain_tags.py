"""Tags from a CoNLL file to a page: one small set through every verb, parts of speech, a stop and a kill."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, call, done, refused
from told_story import Killed, Story, act_after, weights

from export_cases import run_alone
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

PEOPLE, PLACES = ("Ann Lee", "Bob", "Carla Diaz Mora", "Dan"), ("Oslo", "New York", "Rio de Janeiro", "Paris")
TEXT = "Carla Diaz Mora went to New York with 3 friends."


def sentences(count: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """People who go to places; every fifth row names nobody."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        who, where = (rng.choice(names).split() for names in (PEOPLE, PLACES))
        if number % 5 == 4:
            rows.append([(word, "O") for word in f"nobody went there with {number} friends .".split()])
            continue
        rows.append(
            [
                *((word, "I-PER" if at else "B-PER") for at, word in enumerate(who)),
                ("went", "O"), ("to", "O"),
                *((word, "I-LOC" if at else "B-LOC") for at, word in enumerate(where)),
                *((word, "O") for word in f"with {number} friends .".split()),
            ]
        )  # fmt: skip
    return rows


def write_conll(place: Path, rows: list[list[tuple[str, str]]]) -> Path:
    place.write_text("\n\n".join("\n".join(map(" ".join, row)) for row in rows) + "\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("tags")
    told = Story(folder, [])
    told.data = write_conll(folder / "names.conll", sentences(160))
    told.step("inspect", "inspect", told.data)
    few = ("--max-steps", "24", "--learning-rate", "0.001")
    told.step("finetune", "finetune", *TINY, "--data", told.data, *few, "--out", told.news)
    told.go_on()
    return told


def test_inspect_tells_of_entities(story: Story) -> None:
    facts = story.facts("inspect")
    figures = facts["splits"]["train"]["answers"]["tags"]
    assert set(figures["entities"]) == {"PER", "LOC"}
    assert figures["without_any"] > 0
    assert facts["splits"]["train"]["labels"] is None


def test_a_run_keeps_its_tags_and_its_scores(story: Story) -> None:
    about = read_json(story.news / "model" / "pretune.json")
    assert about["task"] == "token-classification"
    assert about["labels"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    config = read_json(story.news / "model" / "config.json")
    assert config["id2label"]["0"] == "O", "the model is one of transformers"
    metrics = RunFolder(story.news).metrics["test"]
    assert metrics["primary"] == "entity_f1"
    assert set(metrics["baselines"]) == {"most-frequent-tag"}
    score = metrics["scores"]["entity_f1"]
    assert score["low"] <= score["value"] <= score["high"]
    assert score["value"] > 0.5, "few names, and all were seen"
    records = list(read_json_lines(story.news / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"]
    for line in records:
        assert len(line["tags"]) == len(line["truth"]) == len(line["words"])


def given(folder: Path) -> Path:
    place = folder / "rows.jsonl"
    place.write_text(json.dumps({"id": "a", "text": TEXT}) + "\n", encoding="utf-8")
    return place


def test_predict_gives_a_tag_for_each_word_of_a_text(story: Story, tmp_path: Path) -> None:
    (row,) = done("predict", story.news, given(tmp_path), *QUICK).rows
    assert [TEXT[start:end] for start, end in row["words"]] == TEXT.replace(".", " .").split()
    assert len(row["tags"]) == len(row["words"])
    found = {(TEXT[one["start"] : one["end"]], one["type"]) for one in row["entities"]}
    assert ("Carla Diaz Mora", "PER") in found
    assert done("predict", story.news, given(tmp_path), "--out", tmp_path / "out.csv", *QUICK, "--json").facts["rows"] == 1  # fmt: skip
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        (cells,) = csv.DictReader(file)
    assert cells["tags"].split(";") == row["tags"]
    assert json.loads(cells["words"]) == row["words"], "tags without their words say nothing"


def test_a_program_without_pretune_says_the_same(story: Story, tmp_path: Path) -> None:
    parity = story.facts("export")["artifact"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"] > 8
    assert parity["program"]["same"] == parity["program"]["rows"] > 8
    script = story.folder / "exported" / "model" / "predict.py"
    said = run_alone(script, given(tmp_path), needs=("onnxruntime", "numpy", "tokenizers"))
    assert said.returncode == 0, said.stderr
    assert [json.loads(line) for line in said.stdout.splitlines()] == done("predict", story.news, given(tmp_path), *QUICK).rows  # fmt: skip


def test_students_and_comparisons(story: Story) -> None:
    assert read_json(story.weak / "model" / "pretune.json")["labels"][0] == "O"
    assert story.facts("distill")["compression"]["smaller"] > 1
    facts = done("compare", story.news, story.weak, "--json").facts
    assert facts["primary"]["name"] == "entity_f1"
    assert facts["n"] == RunFolder(story.news).metrics["test"]["n"]


def test_a_report_shows_entities_in_their_texts(story: Story) -> None:
    for run in (story.news, story.weak):
        done("report", run)
    page = (story.news / "report.html").read_text(encoding="utf-8")
    for said in ("Entities of each type", "What is taken for what", "Worst rows", "entity F1", "each word&#39;s most frequent tag"):  # fmt: skip
        assert said in page
    assert "Traceback" not in page
    assert "<mark" in (story.weak / "report.html").read_text(encoding="utf-8"), "a student of six steps is wrong"


def test_explain_says_why_not_and_what_to_do(story: Story, tmp_path: Path) -> None:
    words = ("explain", story.news, TEXT, "--out", tmp_path / "why.html")
    refused(call(*words), r"gives an answer for each word(.|\n)*pretune report")
    assert not (tmp_path / "why.html").exists()


def test_a_stopped_and_a_killed_run_end_in_the_bits_of_the_straight_one(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("finetune", *TINY, "--data", story.data, "--max-steps", "8", "--save-every", "2")
    straight, stopped, killed = (tmp_path / name for name in ("straight", "stopped", "killed"))
    done(*words, "--out", straight)
    act_after(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert call(*words, "--out", stopped).code == 143
    done(*words, "--out", stopped)

    def die() -> None:
        raise Killed

    act_after(monkeypatch, 5, die)
    with pytest.raises(Killed):
        call(*words, "--out", killed)
    done(*words, "--out", killed)
    expected = weights(straight)
    for run in (stopped, killed):
        found = weights(run)
        assert found.keys() == expected.keys()
        assert all((found[name] == expected[name]).all() for name in expected)


def test_parts_of_speech(tmp_path: Path) -> None:
    def kinds(row: list[tuple[str, str]]) -> list[tuple[str, str]]:
        known = {"went": "VERB", "to": "ADP", "with": "ADP", ".": "PUNCT"}
        return [(word, known.get(word, "NUM" if word.isdigit() else "NOUN")) for word, _ in row]

    data = write_conll(tmp_path / "words.conll", [kinds(row) for row in sentences(120)])
    done("finetune", *TINY, "--data", data, "--max-steps", "3", "--learning-rate", "0.002", "--out", tmp_path / "run")
    done("evaluate", tmp_path / "run", *QUICK)
    metrics = RunFolder(tmp_path / "run").metrics["test"]
    assert metrics["primary"] == "token_accuracy"
    assert metrics["scores"]["token_accuracy"]["value"] > 0.3
    done("report", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Entities of each type" not in page
    assert "What is taken for what" in page


@pytest.mark.parametrize(
    ("words", "names"),
    [(("--task", "text-classification"), "label"), (("--metric", "accuracy"), "--metric")],
)
def test_wrong_use(words: tuple[str, ...], names: str, story: Story, tmp_path: Path) -> None:
    refused(call("finetune", *TINY, "--data", story.data, *words, "--out", tmp_path / "run"), names)


def test_rows_that_do_not_define_the_score_are_refused_in_words(tmp_path: Path) -> None:
    """Validation rows of one number, or without any entity: no model is the best by a correlation, or by entities."""
    nobody = [row for row in sentences(60) if {tag for _, tag in row} == {"O"}]
    (tmp_path / "data").mkdir()
    write_conll(tmp_path / "data" / "train.conll", sentences(60))
    write_conll(tmp_path / "data" / "validation.conll", nobody)
    words = ("finetune", *TINY, "--data", tmp_path / "data", "--max-steps", "2")
    refused(call(*words, "--out", tmp_path / "tags"), "do not define entity_f1(.|\n)*--metric")
    done(*words, "--metric", "token_accuracy", "--out", tmp_path / "words")
    folder = tmp_path / "numbers"
    folder.mkdir()
    for name, numbers in {"train": range(40), "validation": [3] * 12}.items():
        lines = [f"{name} text {place},{number}" for place, number in enumerate(numbers)]
        (folder / f"{name}.csv").write_text("\n".join(["text,value", *lines]) + "\n", encoding="utf-8")
    refused(
        call(
            "finetune",
            *TINY,
            "--data",
            folder,
            "--column",
            "value=value",
            "--max-steps",
            "2",
            "--out",
            tmp_path / "run",
        ),
        "do not define pearson",
    )
