"""Tasks of a number a row: their scale, loss, answers, what they are held against, what they show and refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from conftest import make_rows
from pretune.answers import Value
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.errors import DataError, ModelError, UsageError
from pretune.explain.attributions import explain_example
from pretune.metrics.base import values_of
from pretune.metrics.regression import RegressionMetric
from pretune.modalities.image.transform import image_transform_of
from pretune.report.blocks import render_block
from pretune.tasks import AudioRegression, ImageRegression, TextClassification, TextRegression, find_task
from pretune.tasks.blocks.regression import MAX_POINTS, MAX_WORST
from pretune.tasks.predicting import predict_rows
from pretune.types import Encoded, Example, Prediction
from pretune.wording import figure
from tiny import (
    CPU,
    LABELS,
    Rig,
    dataset_of,
    numbered,
    tiny_backbone,
    tiny_encoder,
    tiny_image_backbone,
    tiny_sound_task,
    uneven_rows,
)

SCALE = {"mean": 10.0, "spread": 4.0}
HOSTILE = '<script>alert("x")</script>'


def task(**options: Any) -> TextRegression:
    return TextRegression((), tiny_encoder(tiny_backbone(), **options), **SCALE)


def splits(**columns: list[Any]) -> Splits:
    rows = len(next(iter(columns.values())))
    return Splits({"train": Dataset.from_dict({"id": [str(i) for i in range(rows)], **columns})}, {})


# --- which task, and its scale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind"), [("text", TextRegression), ("image", ImageRegression), ("audio", AudioRegression)]
)
def test_the_task_is_found_where_rows_have_numbers(column: str, kind: type) -> None:
    assert find_task(splits(**{column: ["x", "y"], "value": [1.0, 2.5]})) is kind


def test_the_scale_is_the_mean_and_spread_of_the_training_rows() -> None:
    data = splits(text=["x"] * 4, value=[1.0, None, 4.0, 7.0])
    made = TextRegression.start(data, tiny_backbone(), TaskSettings())
    assert made.mean == 4.0
    assert made.spread == pytest.approx(np.std([1, 4, 7]))
    assert made.labels == ()
    assert made.num_outputs == 1


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"value": [3.0, 3.0, 3.0]}, "the training rows have 1 number,"),
        ({"value": [3.0, None, None]}, "the training rows have 1 number,"),
        ({"value": [None, None, None]}, "the training rows have 0 numbers,"),
        ({"label": ["a", "b", "a"]}, "the training rows have no numbers"),
    ],
)
def test_rows_that_teach_nothing_are_refused(columns: dict[str, list[Any]], told: str) -> None:
    with pytest.raises(DataError) as error:
        TextRegression.check(splits(text=["x"] * 3, **columns))
    assert told in error.value.problem
    assert "--column value=" in error.value.fix


def test_a_row_without_a_number_stays_without_one() -> None:
    rows = dataset_of([{"id": "1", "text": "x", "value": None}, {"id": "2", "text": "y", "value": 14.0}])
    assert task().targets_by_row(rows) == [None, 1.0]
    assert task().truths(rows) == [None, 14.0]
    assert task().targets_by_row(dataset_of([{"id": "1", "text": "x"}])) == [None]
    with pytest.raises(DataError, match="value=NAME"):
        task().truths(dataset_of([{"id": "1", "text": "x"}]))
    stored = task().encode_rows(rows, fingerprint="some numbers")
    batch = task().collate([stored[0], stored[1]])
    assert task().is_labelled(batch).tolist() == [False, True]
    assert batch.num_items == 1


# --- what is learned --------------------------------------------------------------------------------------------------


def test_the_loss_is_the_squared_error_in_units_of_the_spread() -> None:
    rig = Rig("numbers")
    batch = rig.batch(range(9))
    rig.model.eval()
    made = rig.objective.task
    with torch.no_grad():
        said = rig.model(**batch.inputs).logits[:, 0].double()
        truth = torch.tensor([row["value"] for row in numbered(uneven_rows(24))[:9]], dtype=torch.float64)
        wanted = ((said - (truth - made.mean) / made.spread) ** 2).sum()
        assert rig.loss(batch).total.item() == pytest.approx(wanted.item(), rel=1e-5)
        answers = [one.answer for one in made.predict(rig.model, batch)]
    assert answers == pytest.approx((made.mean + made.spread * said).tolist(), abs=1e-4)


def test_numbers_are_learned() -> None:
    rig = Rig("numbers", rows=16, steps=120, learning_rate=5e-3)
    losses = [step.loss for step in rig.train()]
    assert losses[-1] < 0.1 * losses[0]
    made, rows = rig.objective.task, dataset_of(numbered(uneven_rows(16)))
    predictions = predict_rows(made, rig.model, made.encode_rows(rows, fingerprint="learned-numbers"), CPU)
    records = [made.record(*pair) for pair in zip(predictions, made.truths(rows), strict=True)]
    assert made.metric.measure(records).scores()["pearson"] > 0.9


def test_windows_are_averaged() -> None:
    made = task()
    first, second = (Prediction("1", made.answer_of((value,)), (value,)) for value in (1.0, -0.5))
    assert made.merge([first, second]) == [Prediction("1", 11.0, (0.25,))]


def test_pictures_are_mixed_with_their_numbers() -> None:
    geometry = image_transform_of(tiny_image_backbone("resnet-10").processor)
    made = ImageRegression((), geometry, augment="strong", **SCALE)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    one, other = (Encoded(str(i), {"pixels": pixels[i]}, 4, target) for i, target in enumerate([2.0, -1.0]))
    mixed = made.mixed(one, [other], np.random.default_rng(3))
    assert -1 < float(mixed.target[0]) < 2
    batch = made.collate([mixed, one, other])
    assert batch.targets is not None
    assert batch.targets.tolist() == pytest.approx([float(mixed.target[0]), 2.0, -1.0])


# --- teachers and students --------------------------------------------------------------------------------------------


def test_a_student_keeps_the_scale_of_its_teacher() -> None:
    teacher, data = task(), splits(text=["x"] * 3, value=[100.0, 200.0, 300.0])
    student = teacher.student(data, tiny_backbone(), TaskSettings())
    assert (student.mean, student.spread) == (teacher.mean, teacher.spread)
    assert student.tolerance == teacher.tolerance, "answers are the same within the same distance"
    student.check_teacher(teacher)


@pytest.mark.parametrize("other", [{"mean": 10.0, "spread": 5.0}, {"mean": 9.0, "spread": 4.0}])
def test_a_teacher_of_another_scale_is_refused(other: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="another scale"):
        task().check_teacher(TextRegression((), tiny_encoder(tiny_backbone()), **other))


def test_a_teacher_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="text-classification"):
        task().check_teacher(TextClassification(LABELS, tiny_encoder(tiny_backbone())))


def test_the_distance_from_a_teacher_is_squared_whatever_the_temperature() -> None:
    own_BC, teachers_BC = torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.5], [1.0]])
    for temperature in (1.0, 4.0):
        assert task().divergences(own_BC, teachers_BC, temperature).tolist() == [0.25, 9.0]


# --- what is kept, what is the same -----------------------------------------------------------------------------------


def test_a_task_comes_back_as_it_was_kept() -> None:
    made = task(max_length=24, long_text="windows")
    about = json.loads(json.dumps(made.to_dict()))
    TextRegression.saved_fields()(about)
    again = TextRegression.restore(about, tiny_backbone())
    assert again.to_dict() == made.to_dict()
    assert (again.mean, again.spread, again.tolerance) == (made.mean, made.spread, made.tolerance)
    assert again.answer_of((0.5,)) == 12.0


def test_answers_are_the_same_within_a_hundredth_of_the_spread() -> None:
    assert task().same_answer({"value": 10.0}, {"value": 10.03})
    assert not task().same_answer({"value": 10.0}, {"value": 10.05})


def test_a_target_of_another_kind_is_a_defect() -> None:
    assert task().target_of(Value(14.0)) == 1.0
    assert task().target_of(None) is None


# --- simple methods ---------------------------------------------------------------------------------------------------


def test_baselines_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    rows = numbered(make_rows(120))
    train, held = rows[:90], rows[90:]
    found, notes = task().baselines(dataset_of(train), dataset_of(held))
    assert notes == []
    assert set(found) == {"mean", "tfidf-ridge"}
    truth_N, train_M = (np.array([row["value"] for row in part]) for part in (held, train))
    mean = values_of(found["mean"])
    assert mean["mae"] == pytest.approx(np.abs(truth_N - train_M.mean()).mean())
    assert mean["rmse"] == pytest.approx(np.sqrt(np.square(truth_N - train_M.mean()).mean()))
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
    ridge = Ridge(alpha=1.0, solver="lsqr", tol=1e-10).fit(words.fit_transform([row["text"] for row in train]), train_M)
    said_N = ridge.predict(words.transform([row["text"] for row in held]))
    wanted = values_of(RegressionMetric().of_numbers(truth_N, said_N))
    assert values_of(found["tfidf-ridge"]) == pytest.approx(wanted, rel=1e-2)
    assert wanted["rmse"] < mean["rmse"]


# --- what is said and shown -------------------------------------------------------------------------------------------


def records_of(truths: list[float], answers: list[float]) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "value": answer, "truth": truth}
        for i, (truth, answer) in enumerate(zip(truths, answers, strict=True))
    ]


def test_a_model_that_says_one_number_of_all_is_named() -> None:
    truths = [float(number) for number in range(12)]
    (said,) = task().warnings(records_of(truths, [9.0 + 0.0001 * one for one in truths]))
    assert "All 12 rows are given about the same number, 9:" in said
    assert not task().warnings(records_of(truths, truths))
    assert not task().warnings(records_of([5.0] * 12, [5.0] * 12)), "of one truth"
    assert not task().warnings(records_of(truths[:3], [9.0] * 3)), "three rows show nothing"


def test_blocks_show_what_is_far_off_as_text() -> None:
    truths = [0.0, 1.0, 2.0, 3.0, 4.0, 250_000.0]
    answers = [0.5, 1.0, 2.0, 3.0, 4.0, 240_000.0]
    rows = [{"id": str(i), "text": f"{HOSTILE} {i}"} for i in range(6)]
    points, table, worst = task().blocks(records_of(truths, answers), rows)
    assert points["x"] == truths
    assert points["y"] == answers
    assert sum(row[1] for row in table["rows"]) == 6
    assert [row["id"] for row in worst["rows"][:2]] == ["5", "0"]
    assert worst["rows"][0]["truth"] == "250,000"
    assert worst["rows"][0]["predicted"] == "240,000"
    page = "".join(str(render_block(block)) for block in (points, table, worst))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "e+05" not in page
    assert page.count("<circle") >= 6


def test_many_points_are_sampled_and_that_is_said() -> None:
    truth_N = np.random.default_rng(0).normal(size=3 * MAX_POINTS)
    records = records_of(truth_N.tolist(), truth_N.tolist())
    made, rows = task(), [{"id": str(i), "text": "x"} for i in range(len(truth_N))]
    points, table, worst = made.blocks(records, rows)
    assert len(points["x"]) == len(points["y"]) == MAX_POINTS
    assert points == made.blocks(records, rows)[0], "the same ones each time"
    assert "2,000 of 6,000 rows are drawn" in points["note"]
    assert sum(row[1] for row in table["rows"]) == len(truth_N)
    assert len(worst["rows"]) == MAX_WORST


@pytest.mark.parametrize("count", [0, 1, 3])
def test_blocks_of_few_rows_and_of_one_truth(count: int) -> None:
    rows = [{"id": str(i), "text": "x"} for i in range(count)]
    points, table, worst = task().blocks(records_of([2.0] * count, [1.0] * count), rows)
    assert len(points["x"]) == len(worst["rows"]) == count
    assert [row[:3] for row in table["rows"]] == ([["2 to 2", count, -1.0]] if count else [])
    assert "Answers beside truths" in "".join(str(render_block(block)) for block in (points, table, worst))


# --- why --------------------------------------------------------------------------------------------------------------


def test_a_number_is_explained_by_its_place_among_the_training_numbers() -> None:
    backbone = tiny_backbone()
    made = TextRegression((), tiny_encoder(backbone), **SCALE)
    model = made.build(backbone, seed=0)[0].eval()
    example = Example("0", {"text": make_rows(1)[0]["text"]})
    found = explain_example(made, model, example, CPU, orders=0)
    (said,) = made.predict(model, made.collate(made.encode(example)))
    assert found.answer == found.explained == f"{said.answer:.6g}", "few digits before the point"
    from scipy.stats import norm

    assert found.probability == pytest.approx(norm.cdf(said.answer, made.mean, made.spread), abs=1e-6)
    assert found.figure == "place among the training numbers"
    assert len(found.scores) == len(found.pieces) > 3
    with pytest.raises(UsageError, match="gives no label to choose"):
        explain_example(made, model, example, CPU, label="money", orders=0)


def test_a_clip_is_answered_by_a_number() -> None:
    made, backbone = tiny_sound_task("sound-number", **SCALE)
    assert made.name == "audio-regression"
    assert made.build(backbone, seed=0)[0].config.num_labels == 1


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [(0.0, 6, "0"), (2.5, 6, "2.5"), (-1234.5678, 6, "-1,234.57"), (1_234_567.8, 6, "1,234,568"), (9999.6, 4, "10,000"), (1.5e-7, 4, "1.5e-07")],
)  # fmt: skip
def test_figures_are_written_without_exponents(value: float, digits: int, written: str) -> None:
    assert figure(value, digits) == written
    assert figure(value, digits, grouped=False) == written.replace(",", "")
