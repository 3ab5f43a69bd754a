"""``finetune --dp-epsilon``: what a run keeps of its guarantee, what it refuses, and what a stop does to the count."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import make_rows, write_csv
from pretune.backbones.load import save_model
from pretune.engine.private.accountant import Mechanism, epsilon_of
from pretune.errors import Interrupted, ModelError, PretuneError, UsageError
from pretune.files import read_json
from pretune.interface import Silent
from pretune.report.page import write_report
from pretune.runfolder import RunFolder
from pretune.tasks import TextClassification
from pretune.training.learning import Learning
from pretune.training.settings import FinetuneSettings
from pretune.verbs.evaluate.story import EvaluateSettings, evaluate
from pretune.verbs.finetune.story import finetune
from tiny import LABELS, saved_teacher, tiny_backbone, tiny_encoder, tiny_pictures

ROWS = 120


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT whose tokenizer was trained elsewhere."""
    folder, found = tmp_path_factory.mktemp("backbone"), tiny_backbone()
    model, _ = TextClassification(LABELS, tiny_encoder(found)).build(found, seed=0)
    save_model(model, found.processor, folder)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [{**row, "person": f"p{place % 30}"} for place, row in enumerate(make_rows(ROWS, seed=2))]
    return str(write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", rows))


def private(out: Path, **options: Any) -> tuple[RunFolder, Silent]:
    say = Silent()
    given = {"threads": 1, "test_fraction": 0.0, "max_length": 24, "epochs": 2.0, "dp_epsilon": 8.0, "overwrite": True}
    finetune.run(FinetuneSettings(**{**given, "out": str(out), **options}), say=say)
    return RunFolder(out), say


@pytest.mark.parametrize("adapt", ["head", "full", "lora"])
def test_the_guarantee_stands_where_the_run_is_told_of(adapt: str, backbone: str, data: str, tmp_path: Path) -> None:
    run, say = private(tmp_path / "run", backbone=backbone, data=data, adapt=adapt)
    kept = run.record["privacy"]
    assert kept["epsilon"] <= 8.0
    assert kept["epsilon"] == pytest.approx(8.0, rel=0.02), "no more noise than needed"
    assert kept["epsilon"] == pytest.approx(kept["epsilon_by_fourier"], rel=0.01)
    mechanism = Mechanism(kept["noise_multiplier"], kept["sampling_rate"], kept["steps"])
    assert kept["epsilon"] == pytest.approx(epsilon_of(mechanism, kept["delta"]))
    assert kept["steps"] == kept["planned_steps"] == run.record["training"]["steps"]
    assert kept["unit"] == "row"
    assert kept["delta"] == pytest.approx(1 / (10 * kept["units"]))
    assert not kept["row_by_row"]
    assert [line["epsilon"] for line in run.log_lines() if line["kind"] == "privacy"] == [kept["epsilon"]]
    assert any(note.startswith("Private training: epsilon = ") for note in say.notes)
    for text in ((run.model_dir / "README.md").read_text(), write_report(run).read_text()):
        assert "Private training" in text
        assert "validation and test rows" in text
    evaluate.run(EvaluateSettings(run=str(run.path), split="validation", threads=1), say=Silent())
    assert "Private training" in (run.model_dir / "README.md").read_text()


def test_the_same_seed_gives_other_weights(backbone: str, data: str, tmp_path: Path) -> None:
    runs = [private(tmp_path / name, backbone=backbone, data=data, adapt="head")[0] for name in ("one", "two")]
    weights = [(run.model_dir / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] != weights[1]


def test_rows_of_a_group_count_together(backbone: str, data: str, tmp_path: Path) -> None:
    run, _ = private(tmp_path / "run", backbone=backbone, data=data, adapt="head", group="person", batch_size=9)
    kept = run.record["privacy"]
    assert kept["unit"] == "group"
    assert kept["units"] < 30 < ROWS
    assert kept["sampling_rate"] == pytest.approx(9 / kept["units"])


def test_a_run_that_stops_early_gave_less_away(backbone: str, data: str, tmp_path: Path) -> None:
    run, _ = private(tmp_path / "run", backbone=backbone, data=data, adapt="head", epochs=40, early_stopping_patience=1)
    kept = run.record["privacy"]
    assert kept["steps"] == run.record["training"]["steps"] < kept["planned_steps"]
    assert kept["epsilon"] < 0.9 * kept["asked_epsilon"]


def test_updates_before_a_stop_are_counted_once(
    backbone: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, count = Learning._log, [0]

    def stopping(self: Learning, done: Any) -> None:
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        log(self, done)

    monkeypatch.setattr(Learning, "_log", stopping)
    options = {"backbone": backbone, "data": data, "adapt": "head", "overwrite": False, "epochs": 4.0}
    with pytest.raises(Interrupted):
        private(tmp_path / "run", **options)
    assert "privacy" not in RunFolder(tmp_path / "run").record
    run, _ = private(tmp_path / "run", **options)
    kept = run.record["privacy"]
    assert kept["steps"] == kept["planned_steps"] == count[0]
    assert kept["epsilon"] <= 8.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_weights": "auto"}, "--class-weights"),
        ({"seeds": 2}, "--seeds"),
        ({"folds": 3}, "--folds"),
        ({"find_learning_rate": True}, "--find-learning-rate"),
        ({"minutes": 1.0}, "--minutes"),
        ({"clip": 0.5}, "--dp-clip"),
        ({"activation_checkpointing": True}, "--activation-checkpointing"),
        ({"adapt": "contrastive"}, "several rows at once"),
        ({"adapt": "linear"}, "--adapt head"),
        ({"backbone": "linear:tfidf"}, "--adapt head"),
        ({"backbone": "scratch:bert-tiny"}, "--tokenizer"),
        ({"dp_epsilon": None, "dp_delta": 1e-5}, "without --dp-epsilon"),
        ({"dp_epsilon": None, "dp_clip": 0.5}, "without --dp-epsilon"),
        ({"epochs": 100_000.0, "batch_size": 100, "dp_epsilon": 0.01, "dp_delta": 1e-12}, "--dp-epsilon 0.01"),
    ],
)
def test_what_breaks_privacy_is_refused(
    options: dict[str, Any], said: str, backbone: str, data: str, tmp_path: Path
) -> None:
    with pytest.raises(PretuneError) as caught:
        private(tmp_path / "run", **{"backbone": backbone, "data": data, "adapt": "head", **options})
    assert said in str(caught.value)


def test_numbers_are_refused(backbone: str, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "value": float(place)} for place, row in enumerate(make_rows(60))]
    with pytest.raises(UsageError, match="begins from figures of all training rows"):
        private(tmp_path / "run", backbone=backbone, data=str(write_csv(tmp_path / "rows.csv", rows)), adapt="head")


def test_without_the_accountant_the_extra_is_named(
    backbone: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(UsageError, match=r"pretune\[privacy\]"):
        private(tmp_path / "run", backbone=backbone, data=data, adapt="head")


def _photos(place: Path) -> str:
    for number, row in enumerate(tiny_pictures(60)):
        folder = place / "photos" / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(row["image"]["bytes"])
    return str(place / "photos")


def test_pictures_learn_in_private_and_batch_norm_is_refused(tmp_path: Path) -> None:
    data = _photos(tmp_path)
    run, _ = private(
        tmp_path / "run", backbone="scratch:vit-micro", image_size=32, data=data, max_length=None, batch_size=16
    )
    assert run.record["privacy"]["epsilon"] <= 8.0
    assert not run.record["privacy"]["row_by_row"]
    assert read_json(run.path / "run.json")["settings"]["dp_epsilon"] == 8.0
    with pytest.raises(ModelError, match="rows mix"):
        private(tmp_path / "other", backbone="scratch:resnet-10", image_size=32, data=data, max_length=None)
    with pytest.raises(UsageError, match="--augment strong"):
        private(
            tmp_path / "other",
            backbone="scratch:vit-micro",
            image_size=32,
            data=data,
            max_length=None,
            augment="strong",
        )
    with pytest.raises(UsageError, match="--image-size"):
        private(tmp_path / "other", backbone="scratch:vit-micro", data=data, max_length=None)


def test_a_new_private_head_reads_the_mean_as_no_row_may_choose(data: str, tmp_path: Path) -> None:
    run, _ = private(tmp_path / "run", backbone=saved_teacher("text"), data=data, adapt="head")
    assert run.record["model"]["pooling"]["modes"] == ["mean"]
    assert run.record["training"]["learning_rate"] == pytest.approx(0.05), "64 features or less"
    assert run.record["model"]["initialised"] == ["pooled_classifier.bias", "pooled_classifier.weight"], (
        "nothing between"
    )
