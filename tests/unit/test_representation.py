"""What features say of an encoder: spread, directions, neighbours, and a collapse told in words."""

from __future__ import annotations

import numpy as np
import pytest

from pretune.objectives.representation import collapse_warnings, health_scores, health_statistics

NOBODY = np.full(400, -1)


def scores(features_ND: np.ndarray, targets_N: np.ndarray | None = None) -> dict[str, float]:
    stats = health_statistics(features_ND, NOBODY[: len(features_ND)] if targets_N is None else targets_N)
    return {name: float(value) for name, value in health_scores(stats.sum(axis=0)).items()}


def test_even_features_are_spread_in_all_directions() -> None:
    found = scores(np.random.default_rng(0).normal(size=(400, 16)))
    assert found["spread"] > 0.95
    assert found["effective_rank"] == pytest.approx(16, rel=0.1)
    assert collapse_warnings(found, remedy="do this") == []


def test_figures_are_those_of_the_covariance_by_hand() -> None:
    features = np.random.default_rng(1).normal(size=(50, 8)) * np.arange(1, 9) + 3
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.cov(unit.T, bias=True))
    found = scores(features)
    assert found["spread"] == pytest.approx(np.sqrt(eigenvalues.sum()))
    assert found["effective_rank"] == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def test_a_constant_encoder_is_called_collapsed_with_the_remedy() -> None:
    rng = np.random.default_rng(0)
    found = scores(np.ones((400, 16)) + 1e-4 * rng.normal(size=(400, 16)))
    (said,) = collapse_warnings(found, remedy="lower the rate")
    assert "the same for every picture" in said
    assert said.endswith("lower the rate")
    assert scores(np.ones((10, 4)))["effective_rank"] == 0.0


def test_features_on_one_line_are_called_almost_collapsed() -> None:
    rng = np.random.default_rng(0)
    line = np.ones((400, 16)) + rng.normal(size=(400, 1)) * np.eye(16)[0] + 0.01 * rng.normal(size=(400, 16))
    (said,) = collapse_warnings(scores(line), remedy="x")
    assert "one direction" in said


def test_neighbours_are_counted_for_labelled_rows_only() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2, -1], 30)
    centres = rng.normal(size=(4, 8)) * 5
    features = np.concatenate([centres[number] + rng.normal(size=(30, 8)) for number in range(4)])
    stats = health_statistics(features, targets)
    assert stats[:, 4].tolist() == [1.0] * 90 + [0.0] * 30
    assert health_scores(stats.sum(axis=0))["knn_accuracy"] > 0.95
    shuffled = health_statistics(features, rng.permutation(targets))
    assert health_scores(shuffled.sum(axis=0))["knn_accuracy"] < 0.6


def test_no_row_is_its_own_neighbour() -> None:
    features = np.random.default_rng(0).normal(size=(60, 64))
    found = scores(features, np.arange(60))
    assert found["knn_accuracy"] == 0.0


@pytest.mark.parametrize("targets", [NOBODY[:20], np.zeros(20, dtype=int)])
def test_without_two_classes_there_is_no_accuracy(targets: np.ndarray) -> None:
    assert "knn_accuracy" not in scores(np.random.default_rng(0).normal(size=(20, 4)), targets)


def test_scores_are_functions_of_sums_of_many_draws_at_once() -> None:
    features = np.random.default_rng(0).normal(size=(40, 4))
    stats = health_statistics(features, np.arange(40) % 2)
    sums = np.stack([stats.sum(axis=0), 2 * stats.sum(axis=0)])
    for name, values in health_scores(sums).items():
        assert values.shape == (2,), name
        assert values[0] == pytest.approx(values[1])
