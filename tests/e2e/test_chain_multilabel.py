"""Rows with several labels from a table to a page: look, fine-tune, evaluate, compare, predict, report; whole and with a kept trunk."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused

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


def test_a_probe_says_what_features_know_of_several_labels(runs: Path) -> None:
    words = ("probe", runs / "whole", "--data", runs / "topics.jsonl", "--column", "labels=topics", "--split", "test")
    said = done(*words, "--neighbours", "5")
    assert "linear classifier: F1 (micro)" in said.out
    facts = done(*words, "--neighbours", "5", "--json").facts
    assert facts["primary"] == "f1_micro"
    scores = {name: found["f1_micro"]["value"] for name, found in facts["scores"].items()}
    assert min(scores["linear"], scores["neighbours"]) > scores["majority"]


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


def pictures(folder: Path) -> Path:
    """Sixty pictures of a red left half, a blue right half, both or neither, and a table of columns of 0 and 1."""
    from PIL import Image

    rng, lines = np.random.default_rng(0), ["file,red,blue"]
    for number in range(60):
        pixels = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)
        red, blue = number % 2, number // 2 % 2
        pixels[:, :16, 0] += 150 * red
        pixels[:, 16:, 2] += 150 * blue
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{red},{blue}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


def clips(folder: Path) -> Path:
    """Forty clips of a low tone, a high tone, both or neither, and a manifest with lists."""
    import soundfile

    rng, lines = np.random.default_rng(0), []
    for number in range(40):
        low, high = number % 2, number // 2 % 2
        time_T = np.arange(4_000) / 8_000
        tone = low * np.sin(2 * np.pi * 300 * time_T) + high * np.sin(2 * np.pi * 1500 * time_T)
        soundfile.write(folder / f"{number}.wav", 0.3 * tone + 0.02 * rng.standard_normal(4_000), 8_000)
        labels = ["low"] * low + ["high"] * high
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "labels": labels}))
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("make", "flags", "task", "labels", "shown"),
    [
        (pictures, ("scratch:resnet-10", "--column", "labels=red,blue", "--epochs", "8"), "image", ["blue", "red"], "Where the model looks"),
        (clips, ("scratch:wav2vec2-tiny", "--max-steps", "6"), "audio", ["high", "low"], "Most confident mistakes"),
    ],
)  # fmt: skip
def test_pictures_and_clips(
    make: Callable[[Path], Path], flags: tuple[str, ...], task: str, labels: list[str], shown: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    data, run = make(tmp_path / "data"), tmp_path / "run"
    done("finetune", *flags, "--data", data, "--batch-size", "8", "--class-weights", "auto", *QUICK, "--out", run)
    assert read_json(run / "model" / "pretune.json")["task"] == f"{task}-multilabel-classification"
    assert read_json(run / "model" / "pretune.json")["labels"] == labels
    done("evaluate", run)
    metrics = RunFolder(run).metrics["test"]
    assert len(metrics["baselines"]) == 2
    if task == "image":
        assert metrics["scores"]["f1_micro"]["value"] > 0.8, "colours are easy"
    done("report", run)
    assert shown in (run / "report.html").read_text(encoding="utf-8")
    first = next(data.glob("1.*"))
    (row,) = done("predict", run, first).rows
    assert set(row["labels"]) <= set(labels)
