"""Rows with several labels from a table to a page: look, fine-tune, evaluate, compare, predict, report; whole and with a kept trunk."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from cli_calls import TINY, call, done, refused

from conftest import TOPICS
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder

pytestmark = pytest.mark.slow


def mixed(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows that speak of none, one or two of three topics."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        topics = rng.sample(sorted(TOPICS), number % 3)
        parts = [" ".join(rng.choice(part) for part in TOPICS[topic]) for topic in topics] or ["nothing happened here"]
        rows.append({"id": f"row-{number}", "text": f"{'; '.join(parts)} ({number})", "topics": "|".join(topics)})
    return rows


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``whole`` and ``head`` (from it) on ``topics.jsonl``, both evaluated."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "topics.jsonl").write_text("\n".join(map(json.dumps, mixed(400))) + "\n")
    few = ("--data", folder / "topics.jsonl", "--column", "labels=topics")
    done("finetune", *TINY, *few, "--epochs", "6", "--class-weights", "auto", "--out", folder / "whole")
    done("finetune", folder / "whole", *TINY[3:], *few, "--adapt", "head", "--epochs", "2", "--metric", "f1_macro",
         "--out", folder / "head")  # fmt: skip
    for name in ("whole", "head"):
        done("evaluate", folder / name)
    return folder


def test_inspect_counts_the_labels(runs: Path) -> None:
    facts = done("inspect", runs / "topics.jsonl", "--column", "labels=topics", "--json").facts
    balance = facts["splits"]["train"]["labels"]
    assert set(balance["counts"]) == {"money", "science", "sport"}
    assert balance["bare_rows"] > 0
    assert set(facts["splits"]) == {"train", "validation", "test"}


def test_a_run_keeps_its_threshold_and_scores(runs: Path) -> None:
    about = read_json(runs / "whole" / "model" / "pretune.json")
    assert about["task"] == "text-multilabel-classification"
    assert about["labels"] == ["money", "science", "sport"]
    assert 0 < about["threshold"] < 1
    metrics = RunFolder(runs / "whole").metrics["test"]
    assert metrics["primary"] == "f1_micro"
    assert {"subset_accuracy", "hamming_loss", "f1_samples", "f1_macro"} <= set(metrics["scores"])
    assert set(metrics["baselines"]) == {"majority", "tfidf-logistic"}
    assert metrics["scores"]["f1_micro"]["value"] > metrics["baselines"]["majority"]["f1_micro"]["value"]
    records = list(read_json_lines(runs / "whole" / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"]
    for record in records:
        above = [name for name, value in record["probabilities"].items() if value >= about["threshold"]]
        assert record["labels"] == above
        assert set(record["truth"]) <= set(about["labels"])
    assert any(record["truth"] == [] for record in records)


def test_the_metric_that_was_chosen_decides(runs: Path) -> None:
    assert RunFolder(runs / "head").record["result"]["metric"] == "f1_macro"


def test_the_model_folder_says_that_rows_have_several_labels(runs: Path) -> None:
    assert read_json(runs / "whole" / "model" / "config.json")["problem_type"] == "multi_label_classification"


def test_predict_gives_lists(runs: Path) -> None:
    rows = (
        '{"id": "a", "text": "the striker scored twice against the league champions"}\n{"id": "b", "text": "nothing"}\n'
    )
    found = done("predict", runs / "whole", "-", stdin=rows).rows
    assert [row["id"] for row in found] == ["a", "b"]
    for row in found:
        assert set(row) == {"id", "labels", "probabilities"}
        assert isinstance(row["labels"], list)


def test_compare_and_report(runs: Path) -> None:
    facts = done("compare", runs / "whole", runs / "head", "--json").facts
    assert facts["n"] == RunFolder(runs / "whole").metrics["test"]["n"]
    assert "f1_micro" in facts["scores"]
    done("report", runs / "whole")
    page = (runs / "whole" / "report.html").read_text(encoding="utf-8")
    for said in ("Scores of each class", "Had another threshold been taken", "Most confident mistakes", "F1 (samples)"):
        assert said in page
    assert "Traceback" not in page


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--column", "labels=topics", "--task", "text-classification"), "the rows lack label"),
        (("--column", "labels=topics", "--metric", "accuracy"), "did you mean|--metric"),
        (("--column", "labels=topic"), "no column 'topic'"),
    ],
)
def test_wrong_use(words: tuple[str, ...], names: str, runs: Path, tmp_path: Path) -> None:
    refused(call("finetune", *TINY, "--data", runs / "topics.jsonl", *words, "--out", tmp_path / "run"), names)
