"""Every classification score against scikit-learn, on random cases with missing classes."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from pretune.errors import DataError
from pretune.metrics.base import Sums
from pretune.metrics.classification import (
    ClassificationMetric,
    classification_scores,
    classification_statistics,
    wilson,
)
from pretune.tasks.blocks.classification import classification_blocks


def random_case(seed: int, num_rows: int, num_classes: int, used: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truths; only the first ``used`` classes occur, sometimes none of a class is predicted."""
    random = np.random.default_rng(seed)
    truth_N = random.integers(0, used, num_rows)
    logits_NC = random.normal(size=(num_rows, num_classes)) * 2
    logits_NC[:, used:] -= 3
    logits_NC[np.arange(num_rows), truth_N] += random.uniform(0, 3)
    exponents = np.exp(logits_NC)
    return exponents / exponents.sum(axis=1, keepdims=True), truth_N


def by_sklearn(probabilities_NC: np.ndarray, truth_N: np.ndarray, bins: int) -> dict[str, float]:
    classes = np.arange(probabilities_NC.shape[1])
    predicted_N = probabilities_NC.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": metrics.accuracy_score(truth_N, predicted_N),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth_N, predicted_N),
            "mcc": metrics.matthews_corrcoef(truth_N, predicted_N),
            "log_loss": metrics.log_loss(truth_N, probabilities_NC, labels=classes),
            "ece": ece_by_sklearn(probabilities_NC, truth_N, bins),
        }
        if len(classes) > 2:
            expected["brier"] = np.square(probabilities_NC - np.eye(len(classes))[truth_N]).sum(axis=1).mean()
        else:
            expected["brier"] = metrics.brier_score_loss(truth_N, probabilities_NC[:, 1], pos_label=1)
        for how in ("macro", "micro", "weighted"):
            three = metrics.precision_recall_fscore_support(
                truth_N, predicted_N, labels=classes, average=how, zero_division=0
            )
            expected |= {
                f"{name}_{how}": value for name, value in zip(("precision", "recall", "f1"), three, strict=False)
            }
    return {name: float(value) for name, value in expected.items()}


def ece_by_sklearn(probabilities_NC: np.ndarray, truth_N: np.ndarray, bins: int) -> float:
    confidence_N = probabilities_NC.max(axis=1)
    correct_N = probabilities_NC.argmax(axis=1) == truth_N
    share, mean = calibration_curve(
        np.r_[correct_N, 0, 1], np.r_[confidence_N, 0, 0], n_bins=bins
    )  # two rows: both kinds
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], np.r_[confidence_N, 0, 0]), minlength=bins)
    counts, share, mean = counts[counts > 0][1:], share[1:], mean[1:]  # and leave their bin out again
    return float((np.abs(share - mean) * counts).sum() / len(truth_N))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num_rows=st.integers(1, 60), num_classes=st.integers(2, 7), data=st.data())
def test_every_score_equals_scikit_learn(seed: int, num_rows: int, num_classes: int, data: st.DataObject) -> None:
    used = data.draw(st.integers(1, num_classes))
    bins = data.draw(st.sampled_from([10, 15]))
    probabilities_NC, truth_N = random_case(seed, num_rows, num_classes, used)
    if probabilities_NC.max(axis=1).min() <= 1 / bins:
        return  # the reference above needs the lowest bin empty
    sums_K = classification_statistics(probabilities_NC, truth_N, bins=bins).sum(axis=0)
    scores = classification_scores(sums_K, num_classes, bins)
    expected = by_sklearn(probabilities_NC, truth_N, bins)
    assert set(scores) == set(expected) == set(ClassificationMetric.specs)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), num_classes=st.integers(2, 6), used=st.integers(1, 2))
def test_the_table_of_classes_equals_scikit_learn(seed: int, num_classes: int, used: int) -> None:
    probabilities_NC, truth_N = random_case(seed, 40, num_classes, used)
    blocks = classification_blocks(probabilities_NC, truth_N, [str(number) for number in range(num_classes)], [{}] * 40)
    rows = [(*(cell["value"] for cell in scores), count) for _, *scores, count in blocks[0]["rows"]]
    ours = np.array(rows).T
    theirs = metrics.precision_recall_fscore_support(
        truth_N, probabilities_NC.argmax(axis=1), labels=np.arange(num_classes), zero_division=0
    )
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference)


def test_statistics_add_up_over_rows_and_leading_dimensions() -> None:
    probabilities_NC, truth_N = random_case(1, 90, 4, 4)
    stats_NK = classification_statistics(probabilities_NC, truth_N)
    halves = np.stack([stats_NK[:50].sum(axis=0), stats_NK[50:].sum(axis=0)])
    together = classification_scores(halves, 4)
    for part, rows in enumerate((slice(50), slice(50, None))):
        alone = classification_scores(classification_statistics(probabilities_NC[rows], truth_N[rows]).sum(axis=0), 4)
        assert {name: value[part] for name, value in together.items()} == pytest.approx(alone)


def test_certain_and_wrong_is_a_finite_log_loss() -> None:
    stats_NK = classification_statistics(np.array([[1.0, 0.0]]), np.array([1]))
    scores = classification_scores(stats_NK.sum(axis=0), 2)
    assert scores["log_loss"] == pytest.approx(-np.log(np.finfo(np.float64).eps))
    assert scores["brier"] == pytest.approx(1.0)
    assert scores["ece"] == pytest.approx(1.0)


def test_no_rows_give_zeros_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = classification_scores(classification_statistics(np.zeros((0, 3)), np.zeros(0)).sum(axis=0), 3)
    assert set(scores.values()) == {0.0}


def test_many_classes_take_few_columns() -> None:
    probabilities_NC, truth_N = random_case(0, 500, 150, 150)
    stats_NK = classification_statistics(probabilities_NC, truth_N)
    assert stats_NK.shape == (500, 3 * 150 + 2 + 45)
    scores = classification_scores(stats_NK.sum(axis=0), 150)
    assert scores["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth_N, probabilities_NC.argmax(axis=1)))


def test_limits_are_reached_when_all_is_right() -> None:
    truth_N = np.array([0, 1, 2, 1])
    scores = classification_scores(classification_statistics(np.eye(3)[truth_N], truth_N).sum(axis=0), 3)
    limited = [name for name, spec in ClassificationMetric.specs.items() if spec.limits]
    assert {name: scores[name] for name in limited} == pytest.approx(dict.fromkeys(limited, 1.0))
    assert scores["log_loss"] == scores["brier"] == scores["ece"] == 0


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 17), (950, 1000)])
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    from scipy.stats import binomtest

    reference = binomtest(successes, n).proportion_ci(method="wilson")
    ours = wilson(successes, n)
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_records_give_the_same_statistics() -> None:
    probabilities_NC, truth_N = random_case(3, 20, 3, 3)
    labels = ["no", "so", "yes"]
    records = [
        {"id": str(i), "truth": labels[t], "probabilities": dict(zip(labels, map(float, p), strict=True))}
        for i, (p, t) in enumerate(zip(probabilities_NC, truth_N, strict=True))
    ]
    measured = ClassificationMetric(labels).measure(records)
    assert isinstance(measured, Sums)
    np.testing.assert_array_equal(measured.stats_NK, classification_statistics(probabilities_NC, truth_N))
    assert measured.right_N is not None
    assert measured.right_N.mean() == measured.scores()["accuracy"]
    with pytest.raises(DataError, match='"perhaps"'):
        ClassificationMetric(labels).measure([{**records[0], "truth": "perhaps"}])


class CountingRows:
    """Rows that remember which were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, index: int) -> dict[str, object]:
        self.read.append(index)
        return {"id": f"row-{index}", "text": f"text {index}", "label": "unused"}


def test_blocks_hold_what_sklearn_counts_and_the_worst_mistakes() -> None:
    probabilities_NC, truth_N = random_case(5, 300, 3, 3)
    rows = CountingRows()
    blocks = classification_blocks(
        probabilities_NC, truth_N, ["a", "b", "c"], rows, calibrated_NC=probabilities_NC, temperature=1.25
    )
    assert [block["type"] for block in blocks] == ["table", "matrix", "reliability", "examples"]
    json.dumps(blocks, allow_nan=False)
    predicted_N = probabilities_NC.argmax(axis=1)
    assert blocks[1]["values"] == metrics.confusion_matrix(truth_N, predicted_N).tolist()
    assert blocks[0]["rows"][1][3]["value"] == pytest.approx(metrics.f1_score(truth_N == 1, predicted_N == 1))
    for row in blocks[0]["rows"]:
        assert all(0 <= cell["low"] <= cell["value"] <= cell["high"] <= 1 for cell in row[1:4])
    assert sum(part["n"] for part in blocks[2]["series"][0]["bins"]) == 300
    assert "temperature 1.25" in blocks[2]["note"]
    shown = blocks[3]["rows"]
    wrong_N = predicted_N != truth_N
    assert len(shown) == len(rows.read) == 20
    assert shown[0]["probability"] == pytest.approx(probabilities_NC[wrong_N].max())
    assert shown[0]["truth"] == "abc"[truth_N[rows.read[0]]] != shown[0]["predicted"]


def test_many_classes_list_confusions_in_place_of_a_matrix() -> None:
    probabilities_NC, truth_N = random_case(6, 400, 120, 120)
    block = classification_blocks(probabilities_NC, truth_N, [str(c) for c in range(120)], CountingRows())[1]
    matrix = metrics.confusion_matrix(truth_N, probabilities_NC.argmax(axis=1), labels=np.arange(120))
    np.fill_diagonal(matrix, 0)
    assert block["type"] == "table"
    assert block["rows"][0][2] == matrix.max()


def test_a_class_without_rows_is_told_as_unknown() -> None:
    blocks = classification_blocks(np.array([[0.9, 0.1]]), np.array([0]), ["seen", "unseen"], CountingRows())
    assert blocks[0]["rows"][1][2] == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
