"""Boxes from a folder to a page: one small set through every verb."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_calls import QUICK, done
from PIL import Image
from told_story import Story

from box_files import NAMES, coco, made_rows, voc
from export_cases import run_alone
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

TINY = ("scratch:resnet-10", "--image-size", "96", *QUICK)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("boxes")
    told = Story(folder, [])
    told.data = voc(folder / "data", made_rows(pictures=16))
    told.step("inspect", "inspect", told.data, "--out", folder / "passport")
    told.step("finetune", "finetune", *TINY, "--data", told.data, "--max-steps", "30", "--out", told.news)
    told.step("evaluate", "evaluate", told.news)
    return told


def test_inspect_tells_of_boxes(story: Story) -> None:
    figures = story.facts("inspect")["splits"]["train"]["answers"]["boxes"]
    assert set(figures["counts"]) == set(NAMES)
    assert figures["without_any"] == 1
    page = (story.folder / "passport" / "passport.html").read_text(encoding="utf-8")
    assert "Sides of boxes in train" in page
    assert "Boxes of each class in train" in page


def test_a_run_keeps_its_anchors_and_its_scores(story: Story) -> None:
    about = read_json(story.news / "model" / "pretune.json")
    assert (about["task"], about["head"], about["labels"]) == ("object-detection", "ssd", sorted(NAMES))
    assert about["canvas"] == [64, 96]
    assert 0 < about["threshold"] < 1
    config = read_json(story.news / "model" / "config.json")
    assert config["trunk_config"]["model_type"] == "resnet"
    assert config["id2label"]["0"] == sorted(NAMES)[0]
    metrics = RunFolder(story.news).metrics["test"]
    assert metrics["primary"] == "ap50_95"
    assert set(metrics["baselines"]) == {"prior-boxes"}
    records = list(read_json_lines(story.news / "predictions" / "test.jsonl"))
    assert len(records) == metrics["n"] == 16
    for line in records:
        assert all(0 <= box["box"][0] < box["box"][2] <= 96 for box in line["boxes"])


def test_predict_tells_boxes_over_the_threshold_and_all_where_asked(story: Story) -> None:
    place = story.data / "JPEGImages" / "test_0.png"
    threshold = read_json(story.news / "model" / "pretune.json")["threshold"]
    (row,) = done("predict", story.news, place, *QUICK).rows
    assert all(box["score"] >= threshold for box in row["boxes"])
    (every,) = done("predict", story.news, place, "--no-calibrated", *QUICK).rows
    assert len(every["boxes"]) >= len(row["boxes"])


def test_what_boxes_hold_is_cut_out_of_their_picture(story: Story, tmp_path: Path) -> None:
    place = story.data / "JPEGImages" / "test_0.png"
    (row,) = done("predict", story.news, place, "--no-calibrated", "--save-files", tmp_path / "cut", *QUICK).rows
    assert len(row["files"]) == len(row["boxes"]) == len(list((tmp_path / "cut").iterdir()))
    with Image.open(tmp_path / "cut" / row["files"][0]) as cut, Image.open(place) as whole:
        left, top, right, bottom = row["boxes"][0]["box"]
        assert cut.width >= min(8, right - left)
        assert right - left <= cut.width + 1 <= whole.width + 1
        assert bottom - top <= cut.height + 1 <= whole.height + 1


def test_other_data_in_another_format_is_scored(story: Story, tmp_path: Path) -> None:
    other = coco(tmp_path / "coco", {"test": made_rows(pictures=6, seed=5)["test"]})
    assert done("evaluate", story.news, "--data", other, "--json").facts["n"] == 6


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


def test_a_report_shows_boxes_on_their_pictures(story: Story) -> None:
    done("report", story.news)
    page = (story.news / "report.html").read_text(encoding="utf-8")
    for said in (
        "Boxes of each class",
        "Precision and recall of each class",
        "Worst pictures",
        "AP50:95",
        "(background)",
    ):
        assert said in page
    assert "Traceback" not in page


def test_explain_draws_what_speaks_for_the_surest_box(story: Story, tmp_path: Path) -> None:
    words = (
        "explain",
        story.news,
        story.data / "JPEGImages" / "test_0.png",
        "--threads",
        "1",
        "--out",
        tmp_path / "why.html",
    )
    facts = done(*words, "--json").facts["attribution"]
    assert facts["explained"] in NAMES
    assert "surest box" in facts["notes"][0]
    assert "HiResCAM" in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_a_graph_with_suppression_inside_finds_the_same_boxes(story: Story, tmp_path: Path) -> None:
    import numpy as np
    import onnxruntime

    done("export", story.news, "--nms", "--out", tmp_path / "onnx")
    told = RunFolder(tmp_path / "onnx").record["export"]["boxes"]
    assert told["rows"] == 16
    assert told["same"] >= 0.99 * told["boxes"] > 50
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model" / "boxes.onnx")
    (found,) = session.run(None, {"pixel_values": np.zeros((3, 3, 64, 96), np.float32)})
    assert found.shape[1] == 7
    assert set(found[:, 0].tolist()) <= {0.0, 1.0, 2.0}
    assert (found[:, 3:5] <= found[:, 5:]).all()
    assert (found[:, 5] <= 96).all()
