"""A detector with queries from transformers' own folder through every verb."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers
from cli_calls import QUICK, done, refuses
from told_story import Story

from box_files import NAMES, made_rows, voc
from export_cases import run_alone
from pretune.files import read_json
from tiny_detectors import save_tiny_detector

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

LEARNING = ("--image-size", "64", "--batch-size", "8", "--max-steps", "12", "--learning-rate", "1e-3", *QUICK)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("queries")
    told = Story(folder, [])
    told.data = voc(folder / "data", made_rows(pictures=12))
    told.step(
        "finetune", "finetune", save_tiny_detector(folder / "rt"), "--data", told.data, *LEARNING, "--out", told.news
    )
    told.step("evaluate", "evaluate", told.news)
    return told


def test_the_models_folder_is_transformers_own(story: Story) -> None:
    about = read_json(story.news / "model" / "pretune.json")
    assert (about["head"], about["canvas"]) == ("queries", [64, 64])
    assert "shapes" not in about
    model = transformers.AutoModelForObjectDetection.from_pretrained(story.news / "model")
    assert type(model) is transformers.RTDetrForObjectDetection
    assert tuple(model.config.id2label.values()) == NAMES
    assert model.config.num_denoising == 4


def test_a_program_without_pretune_says_the_same(story: Story, tmp_path: Path) -> None:
    parity = done("export", story.news, "--to", "onnx", "--out", tmp_path / "onnx", "--json").facts["artifact"][
        "parity"
    ]
    assert parity["graph"]["same"] == parity["graph"]["rows"] > 8
    assert parity["program"]["same"] == parity["program"]["rows"] > 8
    place = story.data / "JPEGImages" / "test_1.png"
    said = run_alone(tmp_path / "onnx" / "model" / "predict.py", place, needs=("onnxruntime", "numpy", "PIL"))
    assert said.returncode == 0, said.stderr
    (line,) = (json.loads(line) for line in said.stdout.splitlines())
    (row,) = done("predict", story.news, place, *QUICK).rows
    assert [box["label"] for box in line["boxes"]] == [box["label"] for box in row["boxes"]]


def test_it_teaches_a_detector_of_another_family(story: Story, tmp_path: Path) -> None:
    student = save_tiny_detector(tmp_path / "student", "d_fine")
    done(
        "distill",
        story.news,
        "--student",
        student,
        "--batch-size",
        "8",
        "--max-steps",
        "2",
        *QUICK,
        "--out",
        tmp_path / "small",
    )
    assert read_json(tmp_path / "small" / "model" / "config.json")["model_type"] == "d_fine"
    words = ("--student", "scratch:resnet-10", "--max-steps", "2", "--out", tmp_path / "none")
    refuses("the teacher's head, queries, needs a detector", "distill", story.news, *words)


def test_what_it_cannot_be_is_said(story: Story, tmp_path: Path) -> None:
    words = ("--data", story.data, "--out", tmp_path / "none")
    refuses("--head ssd needs a trunk", "finetune", story.folder / "rt", "--head", "ssd", *words)
    refuses("--head queries needs a detector", "finetune", "scratch:resnet-10", "--head", "queries", *words)
    refuses("cannot be pruned", "prune", story.news, "--ratio", "0.5", "--out", tmp_path / "none")
