"""Tasks with several labels a row: what they learn, how they decide, what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional

from conftest import make_rows
from pretune.backbones.load import load_backbone, save_model
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.errors import DataError
from pretune.evaluation.compare import compare_records
from pretune.metrics.base import values_of
from pretune.metrics.multilabel import MultilabelMetric
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import (
    AudioMultilabelClassification,
    ImageMultilabelClassification,
    TextClassification,
    TextMultilabelClassification,
    find_task,
)
from pretune.tasks.classes.multilabel_classification import positive_weights
from pretune.tasks.predicting import predict_rows
from pretune.types import Encoded, Prediction
from tiny import (
    CPU,
    LABELS,
    Rig,
    dataset_of,
    several_labels,
    tiny_backbone,
    tiny_encoder,
    tiny_image_backbone,
    uneven_rows,
)


def task(**options: Any) -> TextMultilabelClassification:
    return TextMultilabelClassification(LABELS, tiny_encoder(tiny_backbone()), **options)


def splits(**columns: list[Any]) -> Splits:
    rows = len(next(iter(columns.values())))
    return Splits({"train": Dataset.from_dict({"id": [str(i) for i in range(rows)], **columns})}, {})


@pytest.mark.parametrize(
    ("column", "kind"),
    [("text", TextMultilabelClassification), ("image", ImageMultilabelClassification), ("audio", AudioMultilabelClassification)],
)  # fmt: skip
def test_the_task_is_found_where_rows_have_lists(column: str, kind: type) -> None:
    assert find_task(splits(**{column: ["x", "y"], "labels": [["a"], ["b"]]})) is kind


def test_one_label_a_row_comes_first() -> None:
    both = splits(text=["x", "y"], label=["a", "b"], labels=[["a"], ["b"]])
    assert find_task(both) is TextClassification
    assert find_task(both, "text-multilabel-classification") is TextMultilabelClassification


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([["a"], ["a"], []], "one label only (a)"),
        ([[], [], []], "none of any labels"),
        ([["a", "b"], ["b", "a"]], "all training rows have the same labels (a, b)"),
    ],
)
def test_rows_that_teach_nothing_are_refused(labels: list[list[str]], told: str) -> None:
    with pytest.raises(DataError) as error:
        TextMultilabelClassification.check(splits(text=["x"] * len(labels), labels=labels))
    assert told in error.value.problem


def test_labels_are_those_of_the_training_rows_in_order() -> None:
    data = splits(text=["x"] * 3, labels=[["10", "9"], [], ["2"]])
    assert TextMultilabelClassification.labels_of(data) == ["2", "9", "10"]


@pytest.mark.parametrize("options", [{}, {"positive_weights": (0.5, 2.0, 9.0)}])
def test_the_loss_is_the_librarys_times_the_rows(options: dict[str, Any]) -> None:
    rig = Rig("multilabel", **options)
    batch = rig.batch(range(9))
    weights = torch.tensor(options["positive_weights"]) if options else None
    rig.model.eval()
    with torch.no_grad():
        logits = rig.model(**batch.inputs).logits
        wanted = functional.binary_cross_entropy_with_logits(logits, batch.targets, pos_weight=weights)
        assert rig.loss(batch).total.item() == pytest.approx(9 * wanted.item(), rel=1e-5)
        if not options:
            assert rig.model(**batch.inputs, labels=batch.targets).loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    rows = several_labels(uneven_rows(24))[:9]
    assert batch.targets.tolist() == [[float(label in row["labels"]) for label in LABELS] for row in rows]


def test_smoothing_draws_targets_towards_one_half() -> None:
    logits_BC, targets_BC = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]])
    wanted = functional.binary_cross_entropy_with_logits(logits_BC, torch.tensor([[0.95, 0.05, 0.05]]))
    assert task(label_smoothing=0.1).losses(logits_BC, targets_BC).item() == pytest.approx(wanted.item())


def test_rare_labels_weigh_more() -> None:
    assert positive_weights([50, 10, 1, 0, 1000], 1000) == (19.0, 99.0, 100.0, 1.0, 1.0)
    data = splits(text=["x"] * 4, labels=[["a"], ["a", "b"], [], ["a"]])
    _, options = TextMultilabelClassification.options_of(data, TaskSettings(class_weights="auto", label_smoothing=0.2))
    assert options["positive_weights"] == pytest.approx((1 / 3, 3.0))
    assert options["label_smoothing"] == 0.2
    assert options["odds"] == pytest.approx((1 / 3 * 4 / 2, 3.0 * 2 / 4))


@pytest.mark.parametrize("pooling", [(), ("mean",)])
def test_a_new_classifier_begins_at_the_shares_of_the_labels(pooling: tuple[str, ...]) -> None:
    data = splits(text=["x"] * 98, labels=[["a", "b"] if i < 9 else ["b"] for i in range(98)])
    labels, options = TextMultilabelClassification.options_of(data, TaskSettings())
    backbone = tiny_backbone()
    made = TextMultilabelClassification(labels, tiny_encoder(backbone), pooling=pooling, **options)
    model, _ = made.build(backbone, seed=0)
    head = model.get_submodule("pooled_classifier" if pooling else "classifier")
    assert torch.sigmoid(head.bias).tolist() == pytest.approx([0.1, 0.99])
    rows = dataset_of([{"id": str(i), "text": f"row {i}"} for i in range(9)])
    found = predict_rows(made, model, made.encode_rows(rows, fingerprint="odds"), CPU)
    assert all(0.05 < one.outputs_C[0] < 0.2 for one in found)


def test_a_classifier_that_was_trained_keeps_its_biases(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    model, _ = task().build(backbone, seed=0)
    save_model(model, backbone.processor, tmp_path)
    again, report = task(odds=(0.1, 0.1, 0.1)).build(load_backbone(str(tmp_path)), seed=0)
    assert not report.initialised
    assert torch.equal(again.classifier.bias, model.classifier.bias)


def record(made: TextMultilabelClassification, values: tuple[float, ...], truth: list[str]) -> dict[str, Any]:
    return made.record(Prediction("1", made.answer_of(values), values), truth)


def test_the_threshold_is_fitted_kept_and_used() -> None:
    made = task()
    records = [
        record(made, (0.3, 0.1, 0.02), ["money"]),
        record(made, (0.1, 0.28, 0.2), ["science", "sport"]),
        record(made, (0.1, 0.05, 0.05), []),
    ]
    assert [one["labels"] for one in records] == [[], [], []]
    decided = made.with_fitted_threshold(records)
    assert [one["labels"] for one in decided] == [["money"], ["science", "sport"], []]
    assert made.threshold == 0.5, "to decide about validation rows changes nothing"
    made.calibrate(records)
    assert made.threshold == pytest.approx(0.15)
    again = TextMultilabelClassification.restore(made.to_dict(), tiny_backbone())
    assert record(again, (0.3, 0.1, 0.2), ["money"])["labels"] == ["money", "sport"]
    scores = values_of(made.metric.measure(decided))
    assert scores["f1_micro"] == scores["subset_accuracy"] == 1.0


def test_windows_decide_together() -> None:
    merged = task(threshold=0.5).merge(
        [Prediction("1", ["money"], (0.9, 0.2, 0.4)), Prediction("1", [], (0.3, 0.2, 0.4))]
    )
    assert merged == [Prediction("1", ["money"], pytest.approx((0.6, 0.2, 0.4)))]


def test_truths_stand_in_the_order_of_the_labels() -> None:
    rows = dataset_of([{"id": "1", "text": "x", "labels": ["sport", "money"]}, {"id": "2", "text": "y", "labels": []}])
    assert task().truths(rows) == [["money", "sport"], []]


def test_a_label_that_was_never_learned_is_named() -> None:
    rows = dataset_of([{"id": "1", "text": "x", "labels": ["money", "sports"]}])
    for read in (task().truths, task().targets_by_row):
        with pytest.raises(DataError) as error:
            read(rows)
        assert '"sports"' in error.value.problem
    with pytest.raises(DataError, match="labels=NAME"):
        task().truths(dataset_of([{"id": "1", "text": "x"}]))


def test_unlabelled_rows_stay_so() -> None:
    rows = dataset_of([{"id": "1", "text": "x", "labels": None}, {"id": "2", "text": "y", "labels": ["sport"]}])
    assert task().targets_by_row(rows) == [None, (2,)]
    assert task().targets_by_row(dataset_of([{"id": "1", "text": "x"}])) == [None]


def test_labels_are_learned() -> None:
    rig = Rig("multilabel", rows=16, steps=150, learning_rate=5e-3)
    losses = [step.loss for step in rig.train()]
    assert losses[-1] < 0.2 * losses[0]
    made, rows = rig.objective.task, dataset_of(several_labels(uneven_rows(16)))
    predictions = predict_rows(made, rig.model, made.encode_rows(rows, fingerprint="learned-several"), CPU)
    records = [made.record(*pair) for pair in zip(predictions, made.truths(rows), strict=True)]
    assert made.metric.measure(records).scores()["subset_accuracy"] > 0.9


def test_baselines_are_held_to_the_same_scores() -> None:
    made = task()
    rows = several_labels(make_rows(150))
    found, notes = made.baselines(dataset_of(rows[:120]), dataset_of(rows[120:]))
    scores = {name: values_of(measured) for name, measured in found.items()}
    assert notes == []
    assert scores["tfidf-logistic"]["f1_micro"] > scores["majority"]["f1_micro"] + 0.1
    assert scores["majority"]["f1_micro"] > 0, "it gives a label, or there would be nothing to compare with"
    assert math.isfinite(float(scores["majority"]["log_loss"]))


def test_mcnemar_stands_beside_the_comparison_of_labels() -> None:
    def records(*answers: list[str]) -> list[dict[str, Any]]:
        truths = [["a", "b"], [], ["b"]]
        return [
            {"id": str(i), "labels": answer, "truth": truth, "probabilities": {}}
            for i, (answer, truth) in enumerate(zip(answers, truths, strict=True))
        ]

    found = compare_records(records(["a", "b"], [], ["a"]), records(["a"], [], ["a"]), MultilabelMetric(("a", "b")))
    assert found["mcnemar"]["both_right"] == 1
    assert found["mcnemar"]["only_a"] == 1
    assert found["same_answers"] == 2
    assert found["primary"]["name"] == "f1_micro", "which decides"


def test_a_probability_is_a_sigmoid() -> None:
    logits_BC = torch.tensor([[0.0, 100.0, -100.0]], dtype=torch.float64)
    assert np.allclose(task().outputs_of(logits_BC).numpy(), [[0.5, 1.0, 0.0]])


def test_pictures_are_mixed_with_all_their_labels() -> None:
    geometry = image_transform_of(tiny_image_backbone("resnet-10").processor)
    made = ImageMultilabelClassification(LABELS, geometry, augment="strong")
    assert made.mixes > 0
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    rows = [Encoded(str(i), {"pixels": pixels[i]}, 4, target) for i, target in enumerate([(0, 1), (1,)])]
    mixed = made.mixed(rows[0], [rows[1]], np.random.default_rng(3))
    share = float(mixed.target[0])
    assert 0 < share < 1
    assert mixed.target.tolist() == pytest.approx([share, 1.0, 0.0])
    batch = made.collate([mixed, *rows])
    assert batch.targets is not None
    assert batch.targets.tolist() == [pytest.approx([share, 1, 0]), [1, 1, 0], [0, 1, 0]]
    assert batch.num_items == 3
