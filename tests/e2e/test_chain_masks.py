"""Masks from a folder to a page: one small set through every verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import QUICK, call, done, refused
from PIL import Image

from export_cases import run_alone
from pretune.answers import Mask
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder
from tiny import LABELS, tiny_masks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_timings")]

NEW = ("scratch:resnet-10", *QUICK)


def write_set(folder: Path, count: int, seed: int = 3) -> Path:
    for row in tiny_masks(count, seed=seed):
        mask = Image.fromarray(Mask.from_json(row["mask"]).pixels(LABELS))
        for place, data in (("images", row["image"]["bytes"]), ("masks", None)):
            path = folder / place / f"{row['id']}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data) if data else mask.save(path)
    (folder / "classes.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("masks") / "set", 48)


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    place = data.parent / "run"
    done("finetune", *NEW, "--data", data, "--max-steps", "24", "--learning-rate", "0.003", "--out", place)
    done("evaluate", place, *QUICK)
    return place


def test_a_run_keeps_its_classes_and_beats_the_baselines(run: Path) -> None:
    about = read_json(run / "model" / "pretune.json")
    assert about["task"] == "semantic-segmentation"
    assert about["labels"] == list(LABELS)
    metrics = RunFolder(run).metrics["test"]
    assert metrics["primary"] == "mean_iou"
    assert set(metrics["baselines"]) == {"majority", "majority-by-place"}
    assert metrics["against"]["majority-by-place"]["better"] == "model"
    for line in read_json_lines(run / "predictions" / "test.jsonl"):
        assert line["mask"]["size"] == line["truth"]["size"]


def test_predict_gives_a_mask_of_the_pictures_own_size_and_writes_it(run: Path, data: Path, tmp_path: Path) -> None:
    picture = data / "images" / "1.png"
    (row,) = done("predict", run, picture, "--save-files", tmp_path / "out", *QUICK).rows
    assert row["mask"]["size"] == [48, 56]
    saved = Image.open(tmp_path / "out" / row["files"][0])
    assert saved.mode == "P"
    assert np.array_equal(np.asarray(saved), Mask.from_json(row["mask"]).pixels(LABELS))


def test_a_program_without_pretune_says_the_same(run: Path, data: Path, tmp_path: Path) -> None:
    parity = done("export", run, "--out", tmp_path / "exported", "--threads", "1", "--json").facts["artifact"]["parity"]
    assert parity["graph"]["same"] == parity["graph"]["rows"] > 2
    assert parity["program"]["same"] == parity["program"]["rows"] > 2
    script, picture = tmp_path / "exported" / "model" / "predict.py", data / "images" / "2.png"
    said = run_alone(script, picture, needs=("onnxruntime", "numpy", "PIL"))
    assert said.returncode == 0, said.stderr
    (own,) = done("predict", run, picture, *QUICK).rows
    (other,) = [json.loads(line) for line in said.stdout.splitlines()]
    assert Mask.from_json(other["mask"]).same(Mask.from_json(own["mask"]), 1e-3)


def test_what_it_does_not_take_is_said(run: Path, data: Path, tmp_path: Path) -> None:
    refused(call("finetune", *NEW, "--data", data, "--head", "unett", "--out", tmp_path / "h"), "--head is 'unett'")


def test_a_report_shows_pictures_with_truth_and_answer(run: Path) -> None:
    done("report", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    for said in ("Each class", "Worst pictures", "Pixels: what is taken for what", "mean IoU"):
        assert said in page
    assert 'class="legend"' in page
    assert "Traceback" not in page


def test_another_set_is_scored_with_the_names_that_were_learned(run: Path, data: Path, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", 20, seed=8)
    (other / "classes.txt").unlink()
    done("evaluate", run, "--data", other, *QUICK)
    assert RunFolder(run).metrics["test-other"]["scores"]["mean_iou"]["value"] > 0.3
