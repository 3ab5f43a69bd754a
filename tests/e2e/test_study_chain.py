"""``pretune study``: arms against each other with few and all labels; gone on with, not done again; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_calls import call, done, refused

from conftest import make_rows
from pretune.data.load import load_splits
from pretune.files import read_json
from pretune.runfolder import RunFolder
from pretune.runs.rows import fewer_rows
from pretune.training.settings import FinetuneSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

SHARED = ("--set", "vocab_size=300", "--set", "threads=1", "--set", "precision=fp32", "--set", "max_steps=2")
ARMS = ("plain=scratch:bert-tiny", "late=scratch:bert-tiny,learning-rate=0.001")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study") / "news.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in make_rows(150)), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def studied(data: Path) -> Path:
    out = data.parent / "out"
    done("study", *ARMS, "--data", data, "--budgets", "20,all", "--seeds", "1", *SHARED, "--out", out, "--json")
    return out


def test_a_study_is_curves_and_sentences(studied: Path) -> None:
    found = read_json(studied / "study.json")
    assert [(one["arm"], one["labels"]) for one in found["points"]] == [
        (arm, labels) for arm in ("plain", "late") for labels in (20, found["labels"])
    ]
    assert all(one["low"] <= one["value"] <= one["high"] for one in found["points"])
    assert found["n"] == RunFolder(studied / "plain-20-0").metrics["test"]["n"]
    assert {one["labels"] for one in found["simple"]} == {20, found["labels"]}
    assert "1 seed" in found["text"][0]
    page = (studied / "report.html").read_text(encoding="utf-8")
    for said in ("What labels bring", "Every number of labels", "best simple method", "labels (logarithmic)"):
        assert said in page
    assert "Traceback" not in page


def test_fewer_rows_are_among_more(data: Path) -> None:
    rows = load_splits(FinetuneSettings(backbone="any", data=str(data)))["train"]
    chosen = [set(fewer_rows(rows, most, seed=0)["id"]) for most in (20, 40, 80)]
    assert chosen[0] < chosen[1] < chosen[2]


def test_the_same_command_does_nothing_again_and_more_is_added(studied: Path, data: Path) -> None:
    words = ("study", *ARMS, "--data", data, "--seeds", "1", *SHARED, "--out", studied)
    before = {run: run.stat().st_mtime_ns for run in studied.glob("*-*-0/run.json")}
    assert len(before) == len(ARMS) * 2
    assert "was finished" in done(*words, "--budgets", "20,all").out
    facts = done(*words, "--budgets", "20,40,all", "--json").facts
    assert {one["labels"] for one in facts["points"]} == {20, 40, facts["labels"]}
    assert before == {run: run.stat().st_mtime_ns for run in before}


def test_a_plan_writes_nothing(data: Path, tmp_path: Path) -> None:
    words = ("study", *ARMS, "--data", data, "--budgets", "20,all", *SHARED, "--out", tmp_path / "no", "--dry-run")
    facts = done(*words, "--json").facts
    assert facts["runs"] == len(facts["commands"]) == 12
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("plain=scratch:bert-tiny",), "but one"),
        (("a=scratch:bert-tiny", "b=scratch:bert-tiny,adpat=head"), "arm b(.|\n)*adapt"),
        (("a=scratch:bert-tiny", "b=scratch:bert-tiny", "--budgets", "20,9999"), "--budgets has '9999'"),
        (("a=scratch:bert-tiny", "b=scratch:bert-tiny", "--set", "out=x"), "out"),
    ],
)
def test_wrong_use(words: tuple[str, ...], names: str, data: Path, tmp_path: Path) -> None:
    refused(call("study", *words, "--data", data, "--out", tmp_path / "run"), names)
    assert not (tmp_path / "run").exists()
