"""Few labels: whom a row meets, what its loss is, that the head is solved for the features as they are, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pretune
from conftest import make_rows, write_csv
from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.errors import DataError, UsageError
from pretune.objectives.contrastive_labels import ContrastiveLabels, Partners
from pretune.tasks import TextClassification
from pretune.verbs.finetune.contrastive import contrastive, pair_epochs
from tiny import CPU, LABELS, dataset_of, tiny_backbone, tiny_encoder, uneven_rows


def test_a_row_meets_others_of_its_class_and_of_all_others_by_even_odds() -> None:
    labels_N = np.array([0, 1, 0, 2, 0, 1])
    partners = Partners(labels_N)
    for row in range(6):
        met = [partners.of(row, np.random.default_rng(seed)) for seed in range(400)]
        assert row not in met
        alike = np.mean([labels_N[one] == labels_N[row] for one in met])
        assert alike == pytest.approx(0.0 if labels_N[row] == 2 else 0.5, abs=0.08)
        assert set(met) == set(range(6)) - {row}, "and every other row in time"


def test_pairs_take_memory_by_row_and_not_by_pair() -> None:
    labels_N = np.random.default_rng(0).integers(0, 10, 40_000)
    tracemalloc.start()
    partners = Partners(labels_N)
    found = [partners.of(row, np.random.default_rng(row)) for row in range(200)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 200
    assert peak < 40_000 * 40, "bytes: a few numbers a row"


def made() -> tuple[ContrastiveLabels, torch.nn.Module, Any]:
    backbone = tiny_backbone()
    task = TextClassification(LABELS, tiny_encoder(backbone))
    model, _ = task.build(backbone, seed=0)
    rows = task.encode_rows(dataset_of(uneven_rows(12)), fingerprint="contrastive-labels")
    return contrastive(task, plan_adaptation(model, "contrastive", weight_decay=0.0), model, rows, CPU), model, rows


def test_the_loss_is_that_of_cosines_and_the_head_takes_no_part() -> None:
    objective, model, rows = made()
    stream = objective.streams(rows, batch_size=6, group_by_length=False)["pairs"]
    keys = np.arange(6, dtype=np.uint64)
    batch = stream.collate(np.arange(6), keys)["pairs"]
    assert batch.counts == {"loss": 6.0}
    again = stream.collate(np.arange(6), keys)["pairs"]
    assert batch.ids == again.ids, "a function of the keys alone"
    assert batch.ids != stream.collate(np.arange(6), keys + np.uint64(9))["pairs"].ids
    model.eval()
    loss = objective.loss(model, {"pairs": batch}, torch.Generator())
    logits_PC = objective.task.logits_of(model, batch)
    weight_CF, bias_C = objective.layer.weight, objective.layer.bias
    with torch.no_grad():
        features_PF = objective._features(model, batch)
    assert torch.allclose(features_PF @ weight_CF.T + bias_C, logits_PC, atol=1e-5), "what the head reads"
    unit_PF = torch.nn.functional.normalize(features_PF, dim=1)
    cosines_R = (unit_PF[:6] * unit_PF[6:]).sum(dim=1)
    classes = {row.id: row.target for row in (rows[at] for at in range(12))}
    alike = [float(classes[one] == classes[two]) for one, two in zip(batch.ids[:6], batch.ids[6:], strict=True)]
    assert {0.0, 1.0} >= set(alike)
    assert loss.total.item() == pytest.approx(((cosines_R - torch.tensor(alike)) ** 2).sum().item(), rel=1e-4)
    loss.total.backward()
    assert weight_CF.grad is None
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_csv(tmp_path_factory.mktemp("few") / "rows.csv", make_rows(200)))


def test_a_run_of_few_labels_is_a_run_like_any_other(data: str, tmp_path: Path) -> None:
    told = {"data": data, "max_train_samples": 24, "max_length": 24, "threads": 1, "learning_rate": 1e-3}
    run = pretune.finetune("scratch:bert-tiny", adapt="contrastive", out=str(tmp_path / "run"), epochs=6, **told)  # pyright: ignore[reportArgumentType]
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["training"]["adapt"] == "contrastive"
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = {line["step"]: line["scores"]["accuracy"] for line in lines if line["kind"] == "eval"}
    assert min(scores) == 0, "what frozen features know is the first result"
    assert record["result"]["value"] == max(scores.values())
    assert {"right"} == {name for line in lines if line["kind"] == "step" for name in line["parts"] if name != "loss"}
    found = pretune.evaluate(run.to_dict()["run"], split="validation", baselines=False, resamples=100, threads=1)
    assert found.to_dict()["scores"]["accuracy"]["value"] == pytest.approx(record["result"]["value"], abs=1e-6)
    with pytest.raises(UsageError, match="--dp-epsilon bounds what each row does"):
        pretune.finetune(str(tmp_path / "run"), data=data, adapt="contrastive", dp_epsilon=3.0, out=str(tmp_path / "x"))


def test_passes_are_forty_until_the_pairs_are_enough() -> None:
    assert [pair_epochs(rows) for rows in (8, 100, 40_000)] == [40.0, 15.0, 1.0]


def test_what_has_no_class_of_each_row_is_refused(data: str, tmp_path: Path) -> None:
    numbers = write_csv(
        tmp_path / "numbers.csv", [{"text": f"a text that is long enough {n}", "price": f"{n}.5"} for n in range(40)]
    )
    with pytest.raises(UsageError, match="no class of each row"):
        pretune.finetune("scratch:bert-tiny", data=str(numbers), column=("value=price",), adapt="contrastive", out=str(tmp_path / "x"))  # fmt: skip
    with pytest.raises(UsageError, match="pairs of rows"):
        pretune.finetune("scratch:bert-tiny", data=data, adapt="contrastive", label_smoothing=0.1, out=str(tmp_path / "x"))  # fmt: skip
    with pytest.raises(UsageError, match="linear model"):
        pretune.finetune("linear:tfidf", data=data, adapt="contrastive", out=str(tmp_path / "x"))


def test_one_class_has_no_pair_that_is_apart() -> None:
    objective, model, rows = made()
    same = [row for row in (rows[at] for at in range(12)) if row.target == 0]
    with pytest.raises(DataError, match="one class"):
        contrastive(objective.task, objective.adaptation, model, same, CPU)  # type: ignore[arg-type]
