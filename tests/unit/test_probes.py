"""Probes: features of rows of any length, kept; a linear classifier and neighbours on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretune.backbones.adapt import plan_adaptation
from pretune.metrics.base import Measured, values_of
from pretune.metrics.classification import ClassificationMetric
from pretune.metrics.multilabel import MultilabelMetric
from pretune.tasks import TextClassification
from pretune.tasks.baseline_parts import KnownLabels
from pretune.tasks.probes import features_of, probe_measured
from pretune.tasks.trunk_rows import trunk_of
from tiny import CPU, LABELS, dataset_of, tiny_backbone, tiny_encoder, uneven_rows


def test_features_are_the_mean_over_a_texts_own_tokens_and_its_windows() -> None:
    backbone, data = tiny_backbone("bert"), dataset_of(uneven_rows(12))
    task = TextClassification(LABELS, tiny_encoder(backbone, max_length=12, long_text="windows"))
    model, _ = task.build(backbone, seed=0)
    model.eval()
    rows = task.encode_rows(data, fingerprint="probe-windows")
    assert len(rows) > len(data), "some texts have several windows"
    trunk = trunk_of(task, model, plan_adaptation(model, "head", weight_decay=0.0), rows, CPU)
    assert trunk is not None
    done: list[int] = []
    found_NF = features_of(task, trunk, rows, CPU, fingerprint="probe", on_batch=done.append)
    assert found_NF.shape == (len(data), backbone.config.hidden_size)
    assert sum(done) == len(rows)
    wanted: dict[str, list[np.ndarray]] = {}
    for place in range(len(rows)):
        batch = task.collate([rows[place]])
        with torch.inference_mode():
            hidden = model.base_model(**batch.inputs).last_hidden_state[0]
        wanted.setdefault(rows[place].id, []).append(hidden.mean(dim=0).numpy())
    np.testing.assert_allclose(found_NF, [np.mean(pieces, axis=0) for pieces in wanted.values()], atol=1e-5)
    again_NF = features_of(task, trunk, rows, CPU, fingerprint="probe", on_batch=done.append)
    assert np.array_equal(again_NF, found_NF)
    assert sum(done) == len(rows), "nothing was computed the second time"


@pytest.mark.parametrize("neighbours", [1, 7, 500])
def test_clusters_are_told_apart_and_noise_is_not(neighbours: int) -> None:
    rng = np.random.default_rng(0)
    y, truth_N = rng.integers(0, 3, 300), rng.integers(0, 3, 200)
    centres = 4 * rng.standard_normal((3, 8))

    def accuracy(train_NF: np.ndarray, rows_NF: np.ndarray) -> dict[str, float]:
        known = KnownLabels(y, truth_N, 3, ClassificationMetric(("a", "b", "c")).of_probabilities)
        found = probe_measured(train_NF, rows_NF, known, neighbours=neighbours)
        return {name: values_of(measured)["accuracy"] for name, measured in found.items()}

    clear = accuracy(centres[y] + rng.standard_normal((300, 8)), centres[truth_N] + rng.standard_normal((200, 8)))
    assert min(clear["linear"], clear["neighbours"]) > 0.97
    noise = accuracy(rng.standard_normal((300, 8)), rng.standard_normal((200, 8)))
    assert max(noise["linear"], noise["neighbours"]) < 0.48
    assert clear["majority"] == noise["majority"] == pytest.approx(np.mean(truth_N == np.bincount(y).argmax()))


def test_several_labels_a_row_are_told_apart_each_by_itself() -> None:
    """A direction of the features for each label: the probabilities are those of scikit-learn's classifiers, one a label."""
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(1)
    labels_NC = rng.random((400, 3)) < [0.5, 0.3, 0.1]
    features_NF = labels_NC @ (4 * rng.standard_normal((3, 8))) + rng.standard_normal((400, 8))
    train, held = slice(0, 300), slice(300, 400)
    kept: list[np.ndarray] = []

    def score(probabilities_NC: np.ndarray, truth_NC: np.ndarray) -> Measured:
        kept.append(probabilities_NC)
        return MultilabelMetric(("a", "b", "c")).of_probabilities(probabilities_NC, probabilities_NC >= 0.5, truth_NC)

    known = KnownLabels(labels_NC[train], labels_NC[held], 3, score)
    found = probe_measured(features_NF[train], features_NF[held], known, neighbours=9)
    scores = {name: values_of(measured) for name, measured in found.items()}
    assert scores["linear"]["f1_micro"] > 0.9
    assert scores["neighbours"]["f1_micro"] > 0.9
    assert scores["majority"]["f1_micro"] < 0.7
    centred_NF = features_NF - features_NF[train].mean(axis=0)
    turned_NF = centred_NF / np.linalg.norm(centred_NF, axis=1, keepdims=True)
    for c in range(3):
        model = KNeighborsClassifier(9, weights=lambda apart: np.exp(-(apart**2) / 2 / 0.07))  # type: ignore[arg-type]
        model.fit(turned_NF[train], labels_NC[train, c])
        np.testing.assert_allclose(kept[1][:, c], model.predict_proba(turned_NF[held])[:, 1], atol=1e-9)
