"""Numbers from a table to a page: one small set through every verb; pictures and clips that are answered by a number."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused
from told_story import Story, write_rows

from export_cases import run_alone
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

WORTH = {word: float(place) for place, word in enumerate(("poor", "weak", "fair", "good", "great", "superb"))}
COLUMN = ("--column", "value=stars")


def reviews(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows whose number is the mean worth of three words; one in twenty has none."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        words = rng.choices(list(WORTH), k=3)
        text = f"the food was {words[0]}, the room {words[1]} and the view {words[2]} ({number})"
        stars = f"{sum(map(WORTH.__getitem__, words)) / 3:.3f}" if number % 20 != 7 else ""
        rows.append({"id": f"row-{number}", "text": text, "stars": stars})
    return rows


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("numbers")
    told = Story(folder, reviews(200))
    data = ("--data", write_rows(told.data, list(told.rows.values())), *COLUMN)
    told.step("inspect", "inspect", told.data, *COLUMN)
    few = ("--max-steps", "40", "--learning-rate", "0.001")
    told.step("finetune", "finetune", *TINY, *data, *few, "--out", told.news)
    told.go_on()
    return told


def test_inspect_tells_of_numbers(story: Story) -> None:
    facts = story.facts("inspect")
    assert facts["facts"]["read"]["files"][0]["columns"]["value"] == "stars"
    figures = facts["splits"]["train"]["answers"]["value"]
    assert 0 <= figures["min"] < figures["median"] < figures["max"] <= 5
    assert facts["splits"]["train"]["labels"] is None
    assert facts["splits"]["unlabelled"]["rows"] == 10, "rows without a number are kept apart and told"


def test_a_run_keeps_its_scale_and_its_scores(story: Story) -> None:
    about, record = read_json(story.news / "model" / "pretune.json"), read_json(story.news / "run.json")
    assert about["task"] == record["model"]["task"] == "text-regression"
    train = [float(row["stars"]) for row in story.rows.values() if row["stars"]]
    assert about["mean"] == pytest.approx(np.mean(train), abs=0.3)
    assert about["spread"] == pytest.approx(np.std(train), abs=0.3)
    assert record["result"]["metric"] == "pearson"
    metrics = RunFolder(story.news).metrics["test"]
    assert metrics["primary"] == "pearson"
    assert set(metrics["scores"]) == {"pearson", "spearman", "mae", "rmse", "r2"}
    assert set(metrics["baselines"]) == {"mean", "tfidf-ridge"}
    score = metrics["scores"]["pearson"]
    assert score["low"] <= score["value"] <= score["high"]
    assert score["value"] > 0.7, "the words say it"
    assert metrics["scores"]["rmse"]["value"] < metrics["baselines"]["mean"]["rmse"]["value"]
    records = list(read_json_lines(story.news / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"]
    for line in records:
        assert line["truth"] == pytest.approx(float(story.rows[line["id"]]["stars"]))
        assert set(line) == {"id", "value", "truth"}


ROWS = [
    {"id": "low", "text": "the food was poor, the room poor and the view weak"},
    {"id": "high", "text": "the food was superb, the room great and the view superb"},
]


def given(folder: Path) -> Path:
    place = folder / "rows.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return place


def test_predict_gives_numbers_in_the_unit_of_the_data(story: Story, tmp_path: Path) -> None:
    low, high = done("predict", story.news, given(tmp_path), *QUICK).rows
    assert set(low) == {"id", "value"}
    assert low["value"] < high["value"]
    facts = done("predict", story.news, given(tmp_path), "--out", tmp_path / "out.csv", *QUICK, "--json").facts
    assert facts["rows"] == 2
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ["low", "high"]
    assert [float(row["value"]) for row in table] == pytest.approx([low["value"], high["value"]], abs=1e-5)


def test_a_program_without_pretune_says_the_same(story: Story, tmp_path: Path) -> None:
    facts = story.facts("export")
    parity = facts["artifact"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"] == 20
    assert parity["program"]["same"] == parity["program"]["rows"] == 20
    script = story.folder / "exported" / "model" / "predict.py"
    said = run_alone(script, given(tmp_path), needs=("onnxruntime", "numpy", "tokenizers"))
    assert said.returncode == 0, said.stderr
    wanted = done("predict", story.news, given(tmp_path), *QUICK).rows
    for one, other in zip(map(json.loads, said.stdout.splitlines()), wanted, strict=True):
        assert one["id"] == other["id"]
        assert one["value"] == pytest.approx(other["value"], abs=1e-3)


def test_students_and_comparisons(story: Story) -> None:
    teacher, student = (read_json(run / "model" / "pretune.json") for run in (story.news, story.weak))
    assert (student["mean"], student["spread"]) == (teacher["mean"], teacher["spread"])
    assert story.facts("distill")["compression"]["smaller"] > 1
    facts = done("compare", story.news, story.weak, "--json").facts
    assert facts["primary"]["name"] == "pearson"
    assert facts["n"] == RunFolder(story.news).metrics["test"]["n"]
    assert facts["primary"]["low"] <= facts["primary"]["difference"] <= facts["primary"]["high"]


def test_a_report_shows_answers_beside_truths(story: Story) -> None:
    done("report", story.news)
    page = (story.news / "report.html").read_text(encoding="utf-8")
    for said in ("Answers beside truths", "Errors by the size of the truth", "Worst rows", "Pearson correlation", "TF-IDF with ridge regression"):  # fmt: skip
        assert said in page
    assert "Traceback" not in page
    assert page.count("<circle") >= RunFolder(story.news).metrics["test"]["n"]


def test_a_number_is_explained(story: Story, tmp_path: Path) -> None:
    facts = done(
        "explain", story.news, ROWS[0]["text"], "--threads", "1", "--out", tmp_path / "why.html", "--json"
    ).facts
    found = facts["attribution"]
    assert found["figure"] == "place among the training numbers"
    assert 0 < found["probability"] < 1
    assert float(found["answer"]) < 3
    assert "place among the training numbers" in (tmp_path / "why.html").read_text(encoding="utf-8")
    refused(call("explain", story.news, "fair", "--label", "5", "--out", tmp_path / "no.html"), "gives no label")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--column", "value=text", "--column", "text=id"), "number is needed"),
        ((*COLUMN, "--task", "text-classification"), "label"),
        ((*COLUMN, "--metric", "accuracy"), "--metric"),
        (("--column", "value=star"), "no column 'star'"),
    ],
)
def test_wrong_use(words: tuple[str, ...], names: str, story: Story, tmp_path: Path) -> None:
    refused(call("finetune", *TINY, "--data", story.data, *words, "--out", tmp_path / "run"), names)


# --- pictures and clips -----------------------------------------------------------------------------------------------


def pictures(folder: Path) -> Path:
    """Sixty pictures and how bright they are."""
    from PIL import Image

    rng, lines = np.random.default_rng(0), ["file,brightness"]
    for number in range(60):
        bright = number * 3
        Image.fromarray(rng.integers(bright, bright + 60, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{bright / 10}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


def clips(folder: Path) -> Path:
    """Forty clips and how loud they are."""
    import soundfile

    rng, lines = np.random.default_rng(0), []
    for number in range(40):
        samples = 0.02 * (number + 1) * np.sin(2 * np.pi * 300 * np.arange(4_000) / 8_000)
        soundfile.write(folder / f"{number}.wav", samples + 0.01 * rng.standard_normal(4_000), 8_000)
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "loudness": number / 4}))
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("make", "flags", "task", "method"),
    [
        (pictures, ("scratch:resnet-10", "--column", "value=brightness", "--epochs", "8"), "image", "pixels-ridge"),
        (clips, ("scratch:wav2vec2-tiny", "--column", "value=loudness", "--max-steps", "4"), "audio", "mel-ridge"),
    ],
)  # fmt: skip
def test_pictures_and_clips(
    make: Callable[[Path], Path], flags: tuple[str, ...], task: str, method: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    data, run = make(tmp_path / "data"), tmp_path / "run"
    done("finetune", *flags, "--data", data, "--batch-size", "8", *QUICK, "--out", run)
    assert read_json(run / "model" / "pretune.json")["task"] == f"{task}-regression"
    done("evaluate", run, *QUICK)
    metrics = RunFolder(run).metrics["test"]
    assert set(metrics["baselines"]) == {"mean", method}
    facts: Any = done("export", run, "--threads", "1", "--out", tmp_path / "out", "--json").facts
    parity = facts["artifact"]["parity"]
    for side in ("graph", "program"):
        assert parity[side]["same"] == parity[side]["rows"] > 2
    first = next(data.glob("1.*"))
    (row,) = done("predict", run, first, *QUICK).rows
    assert isinstance(row["value"], float)
    (same,) = done("predict", tmp_path / "out", first, "--threads", "1").rows
    assert same["value"] == pytest.approx(row["value"], abs=0.05)
    done("report", run)
    assert "Answers beside truths" in (run / "report.html").read_text(encoding="utf-8")
