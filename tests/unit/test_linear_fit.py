"""Logistic regression whose strength is chosen inside the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pretune.tasks.linear.fit import LinearFit, fit_linear, log_losses

N, F = 240, 30


def rows(seed: int, spread: float, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, N)
    centres = np.random.default_rng(99).standard_normal((classes, F))
    return (spread * centres[y] + rng.standard_normal((N, F))).astype(np.float32), y


def fit(features: Any, labels: np.ndarray, classes: int = 3, **options: Any) -> LinearFit:
    told: dict[str, Any] = {"weights_N": np.ones(len(labels)), "units_N": np.arange(len(labels)), **options}
    return fit_linear(features, labels, told["weights_N"], told["units_N"], classes, default=0.01)


def held_out_loss(found: LinearFit, seed: int, spread: float) -> float:
    features, y = rows(seed, spread)
    return float(log_losses(features @ found.weight.T + found.bias, y).mean())


def test_weights_are_those_of_scikit_learn_at_the_chosen_strength() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, y = rows(0, 0.5)
    found = fit(features, y)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=found.strength, max_iter=300)).fit(features, y)
    logits = features @ found.weight.T + found.bias
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chances, model.predict_proba(features), atol=1e-3)
    assert found.rows == found.tried == N


@pytest.mark.parametrize("spread", [0.1, 0.4, 2.0])
def test_the_chosen_strength_is_nearly_the_best_on_new_rows(spread: float) -> None:
    features, y = rows(0, spread)
    found = fit(features, y)
    chosen = held_out_loss(found, 1, spread)
    assert chosen < np.log(3) + 0.02, "never worse than knowing nothing"
    for strength in (1e-3, 1e-2, 1e-1, 1.0, 10.0):
        from pretune.tasks.linear import fit as linear_fit

        weight, bias = linear_fit._solved(features, y, np.ones(N), 3, strength)
        other = held_out_loss(found._replace(weight=weight, bias=bias), 1, spread)
        assert chosen < other + 0.05


def test_copies_of_a_row_do_not_judge_each_other() -> None:
    """Noise with each row four times: held out together it is noise; apart, it would be learned by heart."""
    features, _ = rows(0, 0.0)
    y = np.random.default_rng(5).integers(0, 3, N // 4)
    copies = np.repeat(np.arange(N // 4), 4)
    together = fit(features[: N // 4][copies], y[copies], units_N=copies)
    apart = fit(features[: N // 4][copies], y[copies])
    assert together.strength < apart.strength
    assert min(together.losses.values()) > 1.0 > min(apart.losses.values())


def test_classes_without_a_row_and_two_classes() -> None:
    features, y = rows(0, 2.0, classes=2)
    found = fit(features, 2 * y)  # of three classes the middle one has no row
    logits = features @ found.weight.T + found.bias
    assert set(logits.argmax(axis=1)) == {0, 2}
    assert not found.weight[1].any()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert shares[:, 1].max() < 1e-4


def test_several_labels_a_row_each_by_itself_and_constant_ones() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((N, 4)) < [0.5, 0.2, 0.0, 1.0]).astype(float)
    features = (labels @ (2 * rng.standard_normal((4, F))) + rng.standard_normal((N, F))).astype(np.float32)
    found = fit(features, labels, 4)
    chances = 1 / (1 + np.exp(-(features @ found.weight.T + found.bias)))
    assert ((chances > 0.5) == labels.astype(bool)).mean() > 0.95
    assert chances[:, 2].max() < 0.02
    assert chances[:, 3].min() > 0.98


def test_rows_count_for_their_weight() -> None:
    features, y = rows(0, 0.5)
    doubled = fit(features, y, weights_N=np.where(y == 0, 3.0, 1.0))
    plain = fit(features, y)
    share = [float(((features @ one.weight.T + one.bias).argmax(axis=1) == 0).mean()) for one in (doubled, plain)]
    assert share[0] > share[1]


@pytest.mark.parametrize("y", [np.array([0, 1]), np.array([0, 0, 0]), np.array([0, 0, 1])])
def test_few_rows_are_fitted_without_a_choice_or_with_a_small_one(y: np.ndarray) -> None:
    features = np.random.default_rng(0).standard_normal((len(y), F)).astype(np.float32)
    found = fit(features, y, 2, units_N=np.zeros(len(y), dtype=int))
    assert found.losses == {}
    assert found.strength == 0.01
    assert "too few" in found.sentence()
    assert np.isfinite(found.weight).all()


def test_sparse_features_are_taken_as_they_are() -> None:
    from scipy.sparse import csr_matrix

    features, y = rows(0, 1.0)
    sparse = csr_matrix(np.where(np.abs(features) > 0.7, features, 0.0))
    found = fit(sparse, y)
    assert ((sparse @ found.weight.T + found.bias).argmax(axis=1) == y).mean() > 0.9
