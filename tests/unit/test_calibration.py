"""Temperature scaling finds the temperature that was planted."""

from __future__ import annotations

import numpy as np
import pytest

from pretune.metrics.classification import classification_scores, classification_statistics
from pretune.tasks.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, apply_temperature, fit_temperature


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
