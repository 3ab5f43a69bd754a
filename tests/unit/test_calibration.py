"""Temperature scaling finds the temperature that was planted."""

from __future__ import annotations

import numpy as np
import pytest

from pretune.metrics.classification import classification_scores, classification_statistics
from pretune.tasks import TextClassification
from pretune.tasks.classes.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    apply_temperature,
    choose_temperature,
    fit_temperature,
)
from pretune.verbs.evaluate.story import _calibration_note
from tiny import tiny_backbone, tiny_encoder


def drawn_from_softmax(seed: int, num_rows: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and truths drawn from their softmax: honest at temperature 1."""
    random = np.random.default_rng(seed)
    logits_NC = random.normal(size=(num_rows, 4)) * 2
    truth_N = (logits_NC + random.gumbel(size=logits_NC.shape)).argmax(axis=1)
    return logits_NC, truth_N


def log_softmax(logits_NC: np.ndarray) -> np.ndarray:
    return logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_planted_temperature_is_found_and_undone(planted: float) -> None:
    logits_NC, truth_N = drawn_from_softmax(0)
    log_probabilities = log_softmax(logits_NC * planted)
    found = fit_temperature(log_probabilities, truth_N)
    assert found == pytest.approx(planted, rel=0.05)
    assert fit_temperature(logits_NC * planted, truth_N) == pytest.approx(found, rel=1e-3)
    after = apply_temperature(np.exp(log_probabilities), found)
    scores = classification_scores(classification_statistics(after, truth_N).sum(axis=0), 4)
    assert scores["ece"] < 0.02
    before = classification_scores(classification_statistics(np.exp(log_probabilities), truth_N).sum(axis=0), 4)
    assert scores["log_loss"] <= before["log_loss"] + 1e-9
    assert scores["accuracy"] == before["accuracy"]


def test_the_optimum_is_a_minimum_of_the_log_loss() -> None:
    logits_NC, truth_N = drawn_from_softmax(1, 500)
    found = fit_temperature(log_softmax(logits_NC * 2), truth_N)

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits_NC * 2 / temperature)[np.arange(500), truth_N].mean())

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


def test_nothing_to_learn_from_changes_nothing() -> None:
    right = np.log(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert fit_temperature(right, np.array([0, 1])) == 1.0
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0)) == 1.0


def test_impossible_probabilities_stay_finite() -> None:
    probabilities_NC = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    with np.errstate(divide="ignore"):
        found = fit_temperature(np.log(probabilities_NC), np.array([0, 1, 1]))
    assert MIN_TEMPERATURE <= found <= MAX_TEMPERATURE
    after = apply_temperature(probabilities_NC, found)
    assert np.isfinite(after).all()
    assert after.sum(axis=1) == pytest.approx(1)


def test_temperature_one_is_the_identity() -> None:
    probabilities_NC = np.exp(log_softmax(np.random.default_rng(2).normal(size=(50, 5))))
    np.testing.assert_allclose(apply_temperature(probabilities_NC, 1.0), probabilities_NC, rtol=1e-12)


@pytest.mark.parametrize("planted", [0.4, 3.0])
def test_a_temperature_that_helps_other_rows_is_used(planted: float) -> None:
    logits_NC, truth_N = drawn_from_softmax(3, 600)
    found = choose_temperature(log_softmax(logits_NC * planted), truth_N)
    assert found.is_used
    assert found.temperature == pytest.approx(fit_temperature(log_softmax(logits_NC * planted), truth_N))
    assert found.after < found.before


def test_on_few_rows_of_a_calibrated_model_none_is_used_where_it_would_not_help() -> None:
    """Twelve rows at a time of a model whose probabilities are right: what is fitted to them is mostly noise."""
    logits_NC, truth_N = drawn_from_softmax(5, 2400)
    honest = log_softmax(logits_NC)
    chosen, always = [], []
    for start in range(0, 2400, 12):
        rows = slice(start, start + 12)
        chosen.append(choose_temperature(honest[rows], truth_N[rows]).temperature)
        always.append(fit_temperature(honest[rows], truth_N[rows]))

    def loss(temperatures: list[float]) -> float:
        return float(np.mean([-log_softmax(honest / scale)[np.arange(2400), truth_N].mean() for scale in temperatures]))

    assert 1.0 in chosen
    assert loss(chosen) < loss(always)
    assert loss([1.0]) <= loss(chosen)


def test_hardly_any_rows_change_nothing() -> None:
    assert choose_temperature(np.zeros((0, 2)), np.zeros(0)).temperature == 1.0
    assert choose_temperature(np.log(np.array([[0.9, 0.1]])), np.array([1])).temperature == 1.0
    right = np.log(np.array([[0.9, 0.1], [0.2, 0.8]] * 5))
    assert choose_temperature(right, np.array([0, 1] * 5)) == (
        1.0,
        pytest.approx(0.16425, abs=1e-4),
        pytest.approx(0.16425, abs=1e-4),
    )


def records(probabilities: np.ndarray, truths: np.ndarray) -> list[dict[str, object]]:
    return [
        {
            "id": str(n),
            "label": "ab"[int(row.argmax())],
            "probabilities": dict(zip("ab", row.tolist(), strict=True)),
            "truth": "ab"[truth],
        }
        for n, (row, truth) in enumerate(zip(probabilities, truths, strict=True))
    ]


def task_of(temperature: float = 1.0) -> TextClassification:
    task = TextClassification(["a", "b"], tiny_encoder(tiny_backbone()))
    task.temperature = temperature
    return task


def test_what_makes_it_worse_is_left_out_and_told() -> None:
    """A row in five is wrong where the model is sure; the parts that it is fitted on have none of them, or too many."""
    rng = np.random.default_rng(2)
    sure = rng.uniform(0.55, 0.75, 10)
    task = task_of()
    found = task.calibrate(records(np.stack([sure, 1 - sure], axis=1), np.array([0, 0, 0, 0, 1, 0, 1, 0, 0, 0])))
    if task.temperature == 1.0:
        assert "Temperature scaling is not used" in found[0]
        assert "10 rows" in found[0]
    (block,) = [
        one
        for one in task.blocks(records(np.stack([sure, 1 - sure], axis=1), np.zeros(10, dtype=int)), _Rows())
        if one["type"] == "reliability"
    ]
    assert task.temperature == 1.0
    assert len(block["series"]) == 1
    assert "which stays" in block["note"]


class _Rows:
    def __getitem__(self, _at: int) -> dict[str, str]:
        return {"text": "words"}


def test_an_evaluation_says_which_probabilities_are_where_and_whether_scaling_hurts() -> None:
    right = np.array([[0.9, 0.1]] * 9 + [[0.1, 0.9]] * 9 + [[0.9, 0.1], [0.1, 0.9]])
    truths = np.array([0] * 9 + [1] * 9 + [1, 0])
    assert task_of().calibration_on(records(right, truths)) is None
    worse = task_of(4.0).calibration_on(records(right, truths))
    assert worse is not None
    assert worse["temperature"] == 4.0
    assert worse["calibrated_log_loss"] > worse["log_loss"] == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))
    assert "Scaling makes these worse: predict --no-calibrated" in _calibration_note(worse)
    better = {"temperature": 1.5, "log_loss": 0.5, "calibrated_log_loss": 0.4}
    said = _calibration_note(better)
    assert "are as trained; predict, serve and exports give them at temperature 1.5" in said
    assert "worse" not in said
    (block,) = [one for one in task_of(4.0).blocks(records(right, truths), _Rows()) if one["type"] == "reliability"]
    assert "on these rows that is worse" in block["note"]
