"""What every task promises: encoding is pure and the same everywhere, the best prediction scores best, no row gets lost."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import TASK_CASES, TaskCase, as_arrays, every_window

from pretune.errors import DataError
from pretune.metrics.base import values_of
from pretune.tasks import TASKS
from pretune.tasks.predicting import predict_items, predict_rows
from pretune.types import Example
from tiny import CPU

BEST = {"perplexity": 1.0}
"""Scores that fall, and do not fall to 0."""


@pytest.fixture(params=list(TASK_CASES), scope="module")
def case(request: pytest.FixtureRequest) -> TaskCase:
    return TASK_CASES[request.param][1]()


def test_the_table_holds_every_task() -> None:
    assert {task for task, _ in TASK_CASES.values()} == set(TASKS)


def test_encode_is_pure(case: TaskCase) -> None:
    before = copy.deepcopy(case.examples)
    first = [[as_arrays(item) for item in items] for items in every_window(case)]
    again = [[as_arrays(item) for item in items] for items in every_window(case)]
    assert first == again
    assert case.examples == before


def test_a_row_gives_at_least_one_item_and_its_items_share_its_weight(case: TaskCase) -> None:
    for example, items in zip(case.examples, every_window(case), strict=True):
        assert items
        assert {item.id for item in items} == {example.id}
        assert sum(item.weight for item in items) == pytest.approx(example.weight)
        assert len({item.weight for item in items}) == 1
        of_windows = {"tags", "span"} & {*case.task.columns}  # each window has the part of the answer that it shows
        assert of_windows or len({repr(item.target) for item in items}) == 1


def test_a_case_of_windows_has_rows_of_several_items() -> None:
    windows = every_window(TASK_CASES["text-classification windows"][1]())
    assert max(map(len, windows)) > 2
    assert min(map(len, windows)) == 1


def test_encode_rows_is_encode_of_each_row(case: TaskCase) -> None:
    stored = case.task.encode_rows(case.dataset, fingerprint=case.fingerprint)
    one_by_one = [item for items in every_window(case) for item in items]
    assert len(stored) == len(one_by_one) == len(stored.lengths_N)
    assert [as_arrays(stored[i]) for i in range(len(stored))] == [as_arrays(item) for item in one_by_one]
    assert stored.ledger["rows"] == len(case.examples)


def test_examples_that_are_encoded_together_give_the_items_of_each(case: TaskCase) -> None:
    for examples in (case.examples, [case.unlabelled], [replace(one, target=None) for one in case.examples]):
        found = [
            None if isinstance(one, DataError) else [as_arrays(item) for item in one]
            for one in case.task.encode_each(examples)
        ]
        assert found == [one_or_none(case, example) for example in examples]


def one_or_none(case: TaskCase, example: Example) -> list[Any] | None:
    try:
        return [as_arrays(item) for item in case.task.encode(example)]
    except DataError:
        return None


def test_rows_without_a_target_stop_learning_with_the_tasks_name(case: TaskCase) -> None:
    mixed = [*case.task.encode(case.examples[0]), *case.task.encode(case.unlabelled)]
    with pytest.raises(DataError) as error:
        case.task.loss(case.model, case.task.collate(mixed))
    assert case.task.name in error.value.problem
    assert case.unlabelled.id in error.value.problem


def test_rows_without_a_target_can_be_predicted(case: TaskCase) -> None:
    found = predict_items(case.task, case.model, case.task.encode(case.unlabelled), CPU)
    assert [prediction.id for prediction in found] == [case.unlabelled.id]


def test_collate_keeps_the_order_and_leaves_its_items_alone(case: TaskCase) -> None:
    items = [item for items in every_window(case) for item in items]
    before = [as_arrays(item) for item in items]
    batch = case.task.collate(items)
    assert batch.ids == tuple(item.id for item in items)
    assert [as_arrays(item) for item in items] == before


def test_one_prediction_a_row_in_the_rows_order_whatever_the_batches(case: TaskCase) -> None:
    stored = case.task.encode_rows(case.dataset, fingerprint=case.fingerprint)
    whole = predict_rows(case.task, case.model, stored, CPU)
    single = predict_rows(case.task, case.model, stored, CPU, budget_tokens=1)
    assert [p.id for p in whole] == [example.id for example in case.examples]
    for one, other in zip(whole, single, strict=True):
        assert case.task.same_answer(case.task.record(one), case.task.record(other))
        assert one.outputs_C == pytest.approx(other.outputs_C, abs=1e-6)
        if not {"label", "labels"} & {*case.task.columns}:
            continue
        assert len(one.outputs_C) == len(case.task.labels)
        assert all(0 <= value <= 1 for value in one.outputs_C)
        if "label" in case.task.columns:
            assert sum(one.outputs_C) == pytest.approx(1.0)


def test_items_of_a_row_merge_into_one_prediction_that_does_not_depend_on_their_order(case: TaskCase) -> None:
    items = max(every_window(case), key=len)
    with torch.inference_mode():
        parts = case.task.predict(case.model, case.task.collate(items))
    (merged,) = case.task.merge(parts)
    (turned,) = case.task.merge(parts[::-1])
    assert merged.id == turned.id == items[0].id
    assert merged.outputs_C == pytest.approx(turned.outputs_C)
    assert merged.outputs_C == pytest.approx(np.mean([p.outputs_C for p in parts], axis=0))


def test_perfect_predictions_score_best(case: TaskCase) -> None:
    records = [case.perfect(example) for example in case.examples]
    metric = case.task.metric
    measured = metric.measure(records)
    assert measured.num_rows == len(records)
    assert measured.right_N is None or measured.right_N.all()
    scores = values_of(measured)
    assert set(scores) == set(metric.specs)
    assert metric.primary in scores
    assert metric.tie_breaker is None or metric.tie_breaker in scores
    for name, spec in metric.specs.items():
        if spec.limits:
            worst, best = spec.limits
            assert scores[name] == pytest.approx(best), name
            assert (worst < best) == spec.rising
        if not spec.rising:
            assert scores[name] == pytest.approx(BEST.get(name, 0.0), abs=1e-9), name


def test_scores_are_functions_of_row_weights(case: TaskCase) -> None:
    stored = case.task.encode_rows(case.dataset, fingerprint=case.fingerprint)
    predictions = predict_rows(case.task, case.model, stored, CPU)
    records = [
        case.task.record(prediction, case.perfect(example)["truth"])
        for example, prediction in zip(case.examples, predictions, strict=True)
    ]
    metric, n = case.task.metric_type.of(json.loads(json.dumps(case.task.to_dict()))), len(records)
    whole, half = metric.measure(records), metric.measure(records[:5])
    first_N, twice_N = (np.arange(n) < 5).astype(float), np.where(np.arange(n) == 2, 2.0, 1.0)
    again = metric.measure([*records, records[2]])
    weighted = whole.scores(np.stack([np.ones(n), first_N, twice_N]))
    unit_N = np.arange(n) % 3
    by_unit = whole.in_units(unit_N, 3).scores(np.array([[1.0, 0.0, 2.0]]))
    by_row = whole.scores(np.array([1.0, 0.0, 2.0])[unit_N][None])
    for name, value in values_of(whole).items():
        assert weighted[name] == pytest.approx([value, half.scores()[name], again.scores()[name]], nan_ok=True), name
        assert whole.take(first_N > 0).scores()[name] == pytest.approx(half.scores()[name], nan_ok=True)
        assert by_unit[name] == pytest.approx(by_row[name], nan_ok=True)


def test_a_saved_and_loaded_model_predicts_the_same(case: TaskCase, tmp_path: Path) -> None:
    stored = case.task.encode_rows(case.dataset, fingerprint=case.fingerprint)
    before = predict_rows(case.task, case.model, stored, CPU)
    case.model.save_pretrained(tmp_path)  # type: ignore[operator]
    after = predict_rows(case.task, case.load(tmp_path), stored, CPU)
    assert [p.id for p in before] == [p.id for p in after]
    assert all(
        case.task.same_answer(case.task.record(one), case.task.record(other))
        for one, other in zip(before, after, strict=True)
    )
    np.testing.assert_allclose([p.outputs_C for p in before], [p.outputs_C for p in after], rtol=1e-6, atol=1e-7)


def test_a_restored_task_encodes_and_predicts_the_same(case: TaskCase) -> None:
    about = json.loads(json.dumps(case.task.to_dict()))
    again = type(case.task).restore(about, case.backbone)
    assert again.to_dict() == about
    assert again.labels == case.task.labels
    items = [item for items in every_window(case) for item in items]
    encoded = [item for example in case.examples for item in again.encode(example)]
    assert [as_arrays(item) for item in encoded] == [as_arrays(item) for item in items]
    assert predict_items(again, case.model, encoded, CPU) == predict_items(case.task, case.model, items, CPU)


def test_predicting_leaves_the_models_mode_and_weights_alone(case: TaskCase) -> None:
    weights = {name: value.clone() for name, value in case.model.state_dict().items()}
    case.model.train()
    predict_items(case.task, case.model, case.task.encode(case.examples[0]), CPU)
    assert case.model.training
    case.model.eval()
    assert all(torch.equal(weights[name], value) for name, value in case.model.state_dict().items())
