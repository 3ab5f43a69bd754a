"""Every score of several labels a row against scikit-learn, and the thresholds against trying them all."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pretune.errors import DataError
from pretune.metrics.base import Sums
from pretune.metrics.multilabel import (
    MultilabelMetric,
    best_threshold,
    label_matrix,
    multilabel_scores,
    multilabel_statistics,
    threshold_of_cardinality,
)
from pretune.tasks.blocks.multilabel import NOTHING, multilabel_blocks


def random_case(seed: int, num_rows: int, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, predictions and truths; rows without a label and classes without a row occur."""
    random = np.random.default_rng(seed)
    truth_NC = random.random((num_rows, num_classes)) < random.choice([0.05, 0.3, 0.7], num_classes)
    probabilities_NC = np.clip(0.35 * truth_NC + 0.65 * random.random((num_rows, num_classes)), 0, 1)
    return probabilities_NC, probabilities_NC >= random.choice([0.2, 0.5, 0.99]), truth_NC


def by_sklearn(probabilities_NC: np.ndarray, predicted_NC: np.ndarray, truth_NC: np.ndarray) -> dict[str, float]:
    truth, predicted = truth_NC.astype(int), predicted_NC.astype(int)
    expected = {
        "subset_accuracy": metrics.accuracy_score(truth, predicted),
        "hamming_loss": metrics.hamming_loss(truth, predicted),
        "log_loss": np.mean(
            [metrics.log_loss(truth[:, c], probabilities_NC[:, c], labels=[0, 1]) for c in range(truth.shape[1])]
        ),
    }
    for how in ("micro", "macro", "weighted"):
        three = metrics.precision_recall_fscore_support(truth, predicted, average=how, zero_division=0)
        expected |= {f"{name}_{how}": value for name, value in zip(("precision", "recall", "f1"), three, strict=False)}
    expected["f1_samples"] = np.mean(
        [metrics.f1_score(truth[i], predicted[i], zero_division=1) for i in range(len(truth))]
    )
    return {name: float(value) for name, value in expected.items()}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num_rows=st.integers(1, 50), num_classes=st.integers(2, 7))
def test_every_score_equals_scikit_learn(seed: int, num_rows: int, num_classes: int) -> None:
    case = random_case(seed, num_rows, num_classes)
    scores = multilabel_scores(multilabel_statistics(*case).sum(axis=0), num_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_sklearn(*case)
    assert set(scores) == set(expected) == set(MultilabelMetric.specs)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name


def test_statistics_add_up_over_rows_and_leading_dimensions() -> None:
    case = random_case(1, 90, 4)
    stats_NK = multilabel_statistics(*case)
    together = multilabel_scores(np.stack([stats_NK[:50].sum(axis=0), stats_NK[50:].sum(axis=0)]), 4)
    for part, rows in enumerate((slice(50), slice(50, None))):
        alone = multilabel_scores(multilabel_statistics(*(array[rows] for array in case)).sum(axis=0), 4)
        assert {name: value[part] for name, value in together.items()} == pytest.approx(alone)


def test_limits_are_reached_when_all_is_right_and_when_all_is_wrong() -> None:
    truth_NC = np.array([[1, 0, 1], [0, 1, 0]], dtype=bool)
    for predicted_NC, side in ((truth_NC, 1), (~truth_NC, 0)):
        stats_NK = multilabel_statistics(predicted_NC.astype(float), predicted_NC, truth_NC)
        scores = multilabel_scores(stats_NK.sum(axis=0), 3)
        limits = {name: spec.limits for name, spec in MultilabelMetric.specs.items() if spec.limits}
        assert {name: scores[name] for name in limits} == {name: ends[side] for name, ends in limits.items()}


def test_rows_without_a_label_are_right_when_none_is_given() -> None:
    nothing, something = np.zeros((1, 2), dtype=bool), np.array([[True, False]])
    right, wrong = (
        multilabel_scores(multilabel_statistics(np.zeros((1, 2)), predicted, nothing).sum(axis=0), 2)
        for predicted in (nothing, something)
    )
    assert (right["subset_accuracy"], right["f1_samples"]) == (1, 1)
    assert (wrong["subset_accuracy"], wrong["f1_samples"], wrong["hamming_loss"]) == (0, 0, 0.5)


def test_no_rows_give_zeros_and_no_warning() -> None:
    none = np.zeros((0, 3), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = multilabel_scores(multilabel_statistics(none.astype(float), none, none).sum(axis=0), 3)
    assert set(scores.values()) == {0.0}


def micro_f1(probabilities_NC: np.ndarray, truth_NC: np.ndarray, threshold: float) -> float:
    predicted_NC = probabilities_NC >= threshold
    return float(2 * (predicted_NC & truth_NC).sum() / max(predicted_NC.sum() + truth_NC.sum(), 1))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num_rows=st.integers(1, 30), digits=st.sampled_from([1, 2, 8]))
def test_the_fitted_threshold_is_as_good_as_any(seed: int, num_rows: int, digits: int) -> None:
    probabilities_NC, _, truth_NC = random_case(seed, num_rows, 3)
    probabilities_NC = probabilities_NC.round(digits)  # with one digit, many are equal
    found = best_threshold(probabilities_NC, truth_NC)
    tried = [micro_f1(probabilities_NC, truth_NC, one) for one in np.unique(probabilities_NC) if one > 0]
    assert 0 < found <= 1
    assert micro_f1(probabilities_NC, truth_NC, found) == pytest.approx(max(tried, default=0.0))


def test_without_labels_the_threshold_is_one_half() -> None:
    assert best_threshold(np.array([[0.9, 0.1]]), np.zeros((1, 2), dtype=bool)) == 0.5


@pytest.mark.parametrize(("labels_per_row", "given"), [(0.0, 1), (1.0, 4), (1.5, 6), (9.0, 8)])
def test_a_threshold_gives_as_many_labels_as_are_usual(labels_per_row: float, given: int) -> None:
    probabilities_NC = np.array([[0.9, 0.4], [0.8, 0.3], [0.7, 0.2], [0.6, 0.1]])
    threshold = threshold_of_cardinality(probabilities_NC, labels_per_row)
    assert int((probabilities_NC >= threshold).sum()) == given


def test_records_give_the_same_statistics() -> None:
    probabilities_NC, predicted_NC, truth_NC = random_case(3, 20, 3)
    labels = np.array(["no", "so", "yes"])
    records = [
        {
            "id": str(i),
            "truth": labels[truth_NC[i]].tolist(),
            "labels": labels[predicted_NC[i]].tolist(),
            "probabilities": dict(zip(labels.tolist(), probabilities_NC[i].tolist(), strict=True)),
        }
        for i in range(20)
    ]
    metric = MultilabelMetric(labels.tolist())
    measured = metric.measure(json.loads(json.dumps(records)))
    assert isinstance(measured, Sums)
    np.testing.assert_array_equal(measured.stats_NK, multilabel_statistics(probabilities_NC, predicted_NC, truth_NC))
    with pytest.raises(DataError, match='"perhaps"'):
        metric.measure([{**records[0], "truth": ["perhaps"]}])
    assert metric.measure([]).num_rows == 0


def test_blocks_hold_what_sklearn_counts_and_the_worst_mistakes() -> None:
    labels = ["a", "b", "c"]
    probabilities_NC = np.array([[0.9, 0.2, 0.1], [0.8, 0.7, 0.1], [0.1, 0.2, 0.99], [0.3, 0.1, 0.2]])
    truth_NC = label_matrix([["a"], ["b"], ["a"], []], labels)
    predicted_NC = probabilities_NC >= 0.5
    rows = [{"id": f"row-{i}"} for i in range(4)]
    blocks = multilabel_blocks(probabilities_NC, predicted_NC, truth_NC, labels, rows, threshold=0.5)
    json.dumps(blocks, allow_nan=False)
    assert [block["type"] for block in blocks] == ["table", "table", "curve", "examples"]
    table, pairs, curve, mistakes = blocks
    assert "0.500 or more" in table["note"]
    for c, row in enumerate(table["rows"]):
        assert row[3]["value"] == pytest.approx(metrics.f1_score(truth_NC[:, c], predicted_NC[:, c], zero_division=0))
        assert row[4] == truth_NC[:, c].sum()
    assert pairs["rows"] == [["a", "c", 1]], "row 2 lacks a and has c too many; row 1 lacks nothing"
    half = curve["series"][2]["x"].index(0.5)
    assert curve["series"][2]["y"][half] == pytest.approx(metrics.f1_score(truth_NC, predicted_NC, average="micro"))
    assert [row["id"] for row in mistakes["rows"]] == ["row-2", "row-1"]
    assert mistakes["rows"][0] == {"id": "row-2", "truth": "a (10%)", "predicted": "c (99%)"}
    assert mistakes["rows"][1]["predicted"] == "a (80%), b (70%)"


def test_an_empty_set_is_said_in_words() -> None:
    truth_NC = label_matrix([[], ["a"]], ["a", "b"])
    probabilities_NC = np.array([[0.9, 0.0], [0.1, 0.0]])
    blocks = multilabel_blocks(probabilities_NC, probabilities_NC > 0.5, truth_NC, ["a", "b"], [{}, {}], threshold=0.5)
    assert {(row["truth"], row["predicted"]) for row in blocks[-1]["rows"]} == {
        (NOTHING, "a (90%)"),
        ("a (10%)", NOTHING),
    }
