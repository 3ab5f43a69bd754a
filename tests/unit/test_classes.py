"""Classes are strings in one order, which is kept, and a classifier that is taken over is joined to them by name."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from conftest import make_rows, write_csv
from pretune.backbones.load import load_backbone, save_model
from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.engine.parallel import Cluster
from pretune.errors import RunError
from pretune.files import write_json
from pretune.interface.outcome import Silent
from pretune.runfolder import RunFolder
from pretune.tasks import TextClassification, TextMultilabelClassification
from pretune.tasks.classes.labelling import in_order
from pretune.training.labelled import as_begun
from pretune.training.record import carry_out
from tiny import tiny_audio_backbone, tiny_backbone, tiny_encoder, tiny_image_backbone

CODES = ("1", "01", "１", "①", "²", "--1", "-1", "", "9" * 5000)
HEADS = {
    "bert": ("AutoModelForSequenceClassification", tiny_backbone),
    "roberta": ("AutoModelForSequenceClassification", lambda: tiny_backbone("roberta")),
    "vit": ("AutoModelForImageClassification", tiny_image_backbone),
    "resnet": ("AutoModelForImageClassification", lambda: tiny_image_backbone("resnet-10")),
    "wav2vec2": ("AutoModelForAudioClassification", tiny_audio_backbone),
}


@pytest.mark.parametrize("names", [CODES, CODES[:2], ("10", "9", "1", "01"), ("b", "a", "１")])
def test_the_order_of_classes_is_total(names: tuple[str, ...]) -> None:
    orders = {tuple(in_order(some)) for some in itertools.islice(itertools.permutations(names), 0, 5000, 7)}
    assert len(orders) == 1
    assert sorted(orders.pop()) == sorted(names)


def test_numbers_go_by_number_and_what_the_data_orders_stays() -> None:
    assert in_order(["10", "9", "-2", "01", "1"]) == ["-2", "01", "1", "9", "10"]
    assert in_order(["b", "a", "c"], ["world", "c", "a"]) == ["c", "a", "b"]


def test_the_order_does_not_hang_on_the_process() -> None:
    """Labels equal as numbers were sorted in the order of a set, which the hash seed of a process decides."""
    told = "from pretune.tasks.classes.labelling import in_order; print(in_order({'1', '01', '001', '2'}))"
    said = {
        subprocess.run(
            [sys.executable, "-c", told], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "5", "7")
    }  # fmt: skip
    assert said == {"['001', '01', '1', '2']\n"}


def labels_of(data: Path, task: Any = TextClassification) -> list[str]:
    return task.labels_of(load_splits(DataSettings(data=str(data))))


def test_names_beside_the_data_keep_its_order(tmp_path: Path) -> None:
    names = ("world", "sport", "business", "science")
    rows = [
        {"text": f"{row['text']} number {place}", "label": str(place % 4)} for place, row in enumerate(make_rows(40))
    ]
    write_csv(tmp_path / "news.csv", rows)
    (tmp_path / "classes.txt").write_text("\n".join(names) + "\n")
    assert labels_of(tmp_path / "news.csv") == list(names)
    several = [{**row, "label": f"{place % 4},{(place + 1) % 4}"} for place, row in enumerate(rows)]
    write_csv(tmp_path / "news.csv", several)
    assert labels_of(tmp_path / "news.csv", TextMultilabelClassification) == list(names)


def test_features_of_a_table_keep_their_order(tmp_path: Path) -> None:
    names = ["zebra", "ant", "mole"]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    columns = {"text": [row["text"] for row in make_rows(30)], "label": [place % 3 for place in range(30)]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "train.parquet")
    assert labels_of(tmp_path / "train.parquet") == names
    other = datasets.ClassLabel(names=["ant", "zebra", "mole"])
    datasets.Dataset.from_dict(columns, features=datasets.Features({**features, "label": other})).to_parquet(
        tmp_path / "test.parquet"
    )
    found = load_splits(DataSettings(data=str(tmp_path)))
    assert TextClassification.labels_of(found) == sorted(names)
    assert any("different numbers" in note for note in found.facts["read"]["notes"])


def saved(place: Path, kind: str, labels: list[str]) -> tuple[torch.nn.Module, str]:
    auto, backbone_of = HEADS[kind]
    backbone = backbone_of()
    told = {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}
    model, _ = backbone.build(auto, seed=1, num_labels=len(labels), **told)
    save_model(model, backbone.processor, place)
    return model.eval(), auto


def loaded(place: Path, auto: str, labels: list[str], seed: int = 3) -> tuple[torch.nn.Module, Any]:
    told = {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}
    model, report = load_backbone(str(place)).build(auto, seed=seed, num_labels=len(labels), **told)
    return model.eval(), report


def answers(model: torch.nn.Module) -> np.ndarray:
    torch.manual_seed(0)
    name = {"bert": "input_ids", "roberta": "input_ids"}.get(model.config.model_type, "")  # type: ignore[union-attr]
    if name:
        inputs = {name: torch.arange(5, 25)[None]}
    elif model.config.model_type == "wav2vec2":  # type: ignore[union-attr]
        inputs = {"input_values": torch.randn(1, 8_000)}
    else:
        inputs = {"pixel_values": torch.randn(1, 3, 32, 32)}
    with torch.no_grad():
        return model(**inputs).logits[0].numpy()


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding, which hangs on where a tensor lies in memory."""
    return bool(np.abs(one - other).max() < 1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_a_classifier_is_joined_by_name(tmp_path: Path, kind: str) -> None:
    before, auto = saved(tmp_path / "model", kind, ["c", "a", "b"])
    after, report = loaded(tmp_path / "model", auto, ["a", "b", "c"])
    assert alike(answers(after), answers(before)[[1, 2, 0]])
    assert "joined by name" in report.classes
    assert not report.initialised
    same, quiet = loaded(tmp_path / "model", auto, ["c", "a", "b"])
    assert alike(answers(same), answers(before))
    assert quiet.classes == ""


@pytest.mark.parametrize("kind", HEADS)
def test_other_classes_get_a_new_classifier_and_that_is_told(tmp_path: Path, kind: str) -> None:
    before, auto = saved(tmp_path / "model", kind, ["neg", "pos"])
    first, report = loaded(tmp_path / "model", auto, ["aaa", "zzz"])
    again, _ = loaded(tmp_path / "model", auto, ["aaa", "zzz"])
    other, _ = loaded(tmp_path / "model", auto, ["aaa", "zzz"], seed=4)
    assert alike(answers(first), answers(again)), "the draws are the seed's"
    assert not alike(answers(first), answers(other))
    assert not alike(answers(first), answers(before))
    assert "tells neg, pos apart, and these rows aaa, zzz: a new classifier was made" in report.classes
    body = dict(before.named_parameters())
    changed = {name for name, weight in first.named_parameters() if not torch.equal(weight, body[name])}
    assert 1 <= len(report.initialised) <= 2
    assert changed <= {*report.initialised}, "the rest is what was loaded"


def test_classes_without_names_are_joined_to_numbers_alone(tmp_path: Path) -> None:
    before, auto = saved(tmp_path / "model", "bert", ["LABEL_0", "LABEL_1"])
    same, report = loaded(tmp_path / "model", auto, ["0", "1"])
    assert alike(answers(same), answers(before))
    assert report.classes == ""
    named, report = loaded(tmp_path / "model", auto, ["neg", "pos"])
    assert not alike(answers(named), answers(before))
    assert "a new classifier was made" in report.classes


def test_a_base_model_without_a_classifier_has_nothing_to_join(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    model, _ = backbone.build("AutoModelForMaskedLM", seed=1)
    save_model(model, backbone.processor, tmp_path / "model")
    _, report = loaded(tmp_path / "model", HEADS["bert"][0], ["neg", "pos"])
    assert report.classes == ""
    assert {"classifier.weight", "classifier.bias"} <= {*report.missing}


def test_a_student_keeps_its_teachers_order(tmp_path: Path) -> None:
    from pretune.config import TaskSettings

    write_csv(tmp_path / "news.csv", make_rows(60))
    data = load_splits(DataSettings(data=str(tmp_path / "news.csv")))
    backbone = tiny_backbone()
    teacher = TextClassification(("sport", "money", "science"), tiny_encoder(backbone))
    assert TextClassification.labels_of(data) == ["money", "science", "sport"]
    assert teacher.student(data, backbone, TaskSettings()).labels == teacher.labels


def test_a_run_goes_on_with_the_classes_it_began_with(tmp_path: Path) -> None:
    write_csv(tmp_path / "news.csv", make_rows(60))
    data = load_splits(DataSettings(data=str(tmp_path / "news.csv")))
    assert TextClassification.labels_of(as_begun(data, RunFolder(tmp_path))) == ["money", "science", "sport"]
    write_json(tmp_path / "run.json", {"model": {"labels": ["sport", "science", "money"]}})
    assert TextClassification.labels_of(as_begun(data, RunFolder(tmp_path))) == ["sport", "science", "money"]


class _Apart(Cluster):
    """Two processes, the other of which holds something else."""

    def sum(self, values: Any) -> list[float]:
        return [2 * value + 1 for value in values]


def test_processes_that_read_other_classes_stop() -> None:
    from types import SimpleNamespace

    assert Cluster().agree("a")
    assert not _Apart(world=2).agree("a")
    setup: Any = SimpleNamespace(task=SimpleNamespace(labels=("a", "b")), fingerprint="f")
    learning: Any = SimpleNamespace(cluster=_Apart(world=2), say=Silent())
    nothing: Any = None
    with pytest.raises(RunError, match="other classes than the first"):
        carry_out(nothing, nothing, nothing, setup, learning, began=0.0, resumed=False, close=lambda: None)


def test_saved_labels_are_strings_in_order(tmp_path: Path) -> None:
    saved(tmp_path / "model", "bert", ["1", "01"])
    told = json.loads((tmp_path / "model" / "config.json").read_text())["id2label"]
    assert told == {"0": "1", "1": "01"}
