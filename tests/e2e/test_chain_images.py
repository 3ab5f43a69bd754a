"""Pictures from a folder to a page: pre-train, fine-tune, evaluate, compare, predict, report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_calls import QUICK, call, done, refused
from PIL import Image

from pretune.runfolder import RunFolder

pytestmark = pytest.mark.slow

COLOURS = {"leaf": (30, 140, 40), "sky": (60, 90, 200)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of two classes, told apart by colour; one is broken."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(30):
            noise = rng.integers(-40, 40, (36 + number % 4, 40, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "sky" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    return folder


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``base`` (unlabelled), ``tuned`` (from it) and ``scratch``."""
    folder = tmp_path_factory.mktemp("runs")
    few = ("--data", photos, "--image-size", "32", *QUICK)
    done("pretrain", "scratch:vit-micro", *few, "--out", folder / "base", "--max-steps", "6", "--batch-size", "16")
    done("finetune", folder / "base", *few, "--out", folder / "tuned", "--max-steps", "8", "--batch-size", "8")
    done("finetune", "scratch:resnet-10", *few, "--out", folder / "scratch", "--epochs", "3", "--batch-size", "8")
    for name in ("tuned", "scratch"):
        done("evaluate", folder / name)
    return folder


def test_the_passport_counts_what_was_left_out(photos: Path) -> None:
    facts = done("inspect", photos, "--json").facts
    assert facts["rows"] == 60
    notes = " ".join(facts["facts"]["read"]["notes"])
    assert "broken.jpg" in notes


def test_colours_are_learned_and_shown(runs: Path) -> None:
    metrics = RunFolder(runs / "scratch").metrics["test"]
    assert metrics["scores"]["accuracy"]["value"] > 0.8
    assert set(metrics["baselines"]) == {"majority", "pixels-logistic"}
    looks = next(block for block in metrics["blocks"] if block["title"] == "Where the model looks")
    assert looks["rows"]
    assert all(row["image"].startswith("data:image/jpeg;base64,") for row in looks["rows"])
    assert any(block["title"] == "Varied pictures" for block in metrics["blocks"])
    done("report", runs / "scratch")
    page = (runs / "scratch" / "report.html").read_text(encoding="utf-8")
    assert "Where the model looks" in page
    assert '<img src="data:image/jpeg;base64,' in page


def test_the_pre_trained_encoder_is_what_fine_tuning_starts_from(runs: Path) -> None:
    record = RunFolder(runs / "tuned").record
    assert all("classifier" in name for name in record["model"]["initialised"]), record["model"]["initialised"]
    assert record["parents"]


def test_the_model_folder_loads_without_pretune(runs: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(runs / "scratch" / "model").eval()
    processor = AutoImageProcessor.from_pretrained(runs / "scratch" / "model")
    picture = Image.fromarray(np.full((40, 50, 3), COLOURS["leaf"], dtype=np.uint8))
    logits = model(**processor(picture, return_tensors="pt")).logits[0]
    assert model.config.id2label[int(logits.argmax())] == "leaf"


def test_compare_and_predict(runs: Path, photos: Path) -> None:
    verdict = done("compare", runs / "tuned", runs / "scratch", "--json").facts
    assert verdict["n"] == len((runs / "tuned" / "predictions" / "test.jsonl").read_text().splitlines())
    (row,) = done("predict", runs / "scratch", photos / "sky" / "3.png").rows
    assert row["label"] == "sky"
    rows = done("predict", runs / "scratch", photos / "leaf").rows
    assert len(rows) == 30
    assert sum(row["label"] == "leaf" for row in rows) > 24


def test_predict_of_nothing_that_can_be_read_fails(runs: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    refused(call("predict", runs / "scratch", tmp_path), "nothing to predict: broken.png")
    (tmp_path / "whole.png").write_bytes((photos / "sky" / "3.png").read_bytes())
    said = call("predict", runs / "scratch", tmp_path)
    assert said.code == 1
    assert [row["label"] for row in said.rows] == ["sky"]
    assert "not answered: broken.png" in said.err


def test_a_frozen_trunk_learns_as_much(runs: Path, photos: Path, tmp_path: Path) -> None:
    few = ("--data", photos, "--adapt", "head", "--epochs", "2", *QUICK)
    done("finetune", runs / "scratch", *few, "--out", tmp_path / "kept")
    done("finetune", runs / "scratch", *few, "--no-cache-trunk", "--out", tmp_path / "plain")
    kept, plain = (RunFolder(tmp_path / name).record["result"]["value"] for name in ("kept", "plain"))
    assert kept == pytest.approx(plain, abs=0.2)


def test_a_probe_says_what_features_know_and_takes_kept_ones_the_second_time(runs: Path, photos: Path) -> None:
    words = ("probe", runs / "scratch", "--data", photos, "--neighbours", "5", "--precision", "fp32", "--json")
    found = done(*words).facts
    assert found["scores"]["linear"]["accuracy"]["value"] > 0.9
    assert found["scores"]["neighbours"]["accuracy"]["value"] > 0.9
    assert found["scores"]["majority"]["accuracy"]["value"] < 0.8
    assert found["n"] == found["scores"]["linear"]["accuracy"]["n"]
    assert done(*words).facts == found
    few = done(*words, "--max-train-samples", "4").facts
    assert few["train_rows"] == 4


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("finetune", "scratch:bert-tiny"), "holds pictures"),
        (
            ("finetune", "scratch:resnet-10", "--max-length", "64"),
            "--max-length does nothing for image-classification: it is for text",
        ),
        (
            ("pretrain", "scratch:resnet-10", "--mask-whole-words"),
            "--mask-whole-words does nothing for contrastive-image: it is for masked-text",
        ),
        (("pretrain", "scratch:resnet-10", "--mask-fraction", "0.5"), "it is for masked-text, .*masked-image, contr"),
        (("finetune", "scratch:resnet-10", "--vocab-size", "500"), "--vocab-size"),
        (("finetune", "scratch:resnet-11"), "not a preset"),
        (("finetune", "scratch:resnet-10", "--task", "text-classification"), "needs the columns"),
        (("pretrain", "scratch:resnet-10", "--objective", "masked-text"), "does not fit"),
        (("finetune", "scratch:resnet-10", "--augment", "wild"), "--augment"),
        (("finetune", "scratch:resnet-10", "--image-size", "4"), "--image-size"),
    ],
)
def test_wrong_use(words: tuple[str, ...], names: str, photos: Path, tmp_path: Path) -> None:
    refused(call(*words, "--data", photos, "--out", tmp_path / "run", *QUICK), names)
