"""Probes: neighbours that vote, and the last layer of a model by logistic regression on what it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification, TextClassification, TextMultilabelClassification
from pretune.tasks.baselines.parts import KnownLabels
from pretune.tasks.linear.head import find_linear_head, place, read, solve
from pretune.tasks.predicting import predict_rows
from pretune.tasks.probes import by_row, neighbour_votes
from pretune.tasks.rows.trunk import on_trunk
from tiny import (
    CPU,
    LABELS,
    dataset_of,
    several_labels,
    tiny_backbone,
    tiny_clips,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
    uneven_rows,
)


def _unasked(*_: Any) -> Any:
    raise AssertionError("nothing is scored")


def world(kind: str) -> tuple[Any, torch.nn.Module, Any]:
    """A task, its model and a data set; ``kind`` names what the head reads."""
    if kind == "pictures":
        backbone, data = tiny_image_backbone("resnet-10"), dataset_of(tiny_pictures(24))
        task: Any = ImageClassification(LABELS, image_transform_of(backbone.processor))
    elif kind.startswith("sound"):
        task, backbone = tiny_sound_task("sound", hears="samples" if kind == "sound" else "untold")
        data = dataset_of(tiny_clips(24))
    else:
        backbone, rows = tiny_backbone("roberta" if kind == "roberta" else "bert"), uneven_rows(30)
        several, windows = kind == "labels", kind == "windows"
        made = TextMultilabelClassification if several else TextClassification
        encoder = tiny_encoder(
            backbone, max_length=12 if windows else 64, long_text="windows" if windows else "truncate"
        )
        task = made(LABELS, encoder, pooling=() if kind in ("own", "roberta") else ("mean",))
        data = dataset_of(several_labels(rows) if several else rows)
    model, _ = task.build(backbone, seed=0)
    return task, model.eval(), data


KINDS = ["mean", "own", "roberta", "windows", "labels", "pictures", "sound", "sound not told of padding"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [False, True])
def test_a_solved_head_answers_as_scikit_learn_does_on_what_it_reads(kind: str, kept: bool) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    task, model, data = world(kind)
    rows: Any = task.encode_rows(data, fingerprint=f"solve-{kind}")
    learned: Any = task
    plan = plan_adaptation(model, "head", weight_decay=0.0)
    found = on_trunk(task, model, plan, {"train": rows}, CPU, fingerprint=f"solve-{kind}") if kept else None
    if found is not None:
        learned, rows = found[0], found[1]["train"]
    head = find_linear_head(task, learned, model, rows, CPU)
    assert head is not None
    features_MF = read(head, rows, CPU)
    units = {one: number for number, one in enumerate(data["id"])}
    fit = solve(head, rows, units, CPU, features_MF)
    place(head, fit)
    items = [rows[number] for number in range(len(rows))]
    targets, weights = task.targets_and_weights(items)
    solver = LogisticRegression(C=fit.strength, max_iter=300)
    several = kind == "labels"
    model_of = make_pipeline(StandardScaler(), OneVsRestClassifier(solver) if several else solver)
    name = "onevsrestclassifier" if several else "logisticregression"
    options = {} if several else {f"{name}__sample_weight": weights.numpy()}
    model_of.fit(features_MF, targets.numpy(), **options)
    wanted_MC = model_of.predict_proba(features_MF)
    by_id: dict[str, list[np.ndarray]] = {}
    for item, row_C in zip(items, wanted_MC, strict=True):
        by_id.setdefault(item.id, []).append(row_C)
    answers = predict_rows(learned, model, rows, CPU)
    np.testing.assert_allclose(
        [one.outputs_C for one in answers], [np.mean(by_id[one.id], axis=0) for one in answers], atol=2e-3
    )


def test_a_model_whose_answers_are_changed_behind_its_last_layer_has_no_linear_head() -> None:
    task, model, data = world("mean")
    rows = task.encode_rows(data, fingerprint="solve-changed")
    plain = model.forward

    def forward(**inputs: Any) -> Any:
        found = plain(**inputs)
        found.logits = found.logits + inputs["input_ids"].float().mean(dim=1, keepdim=True) * torch.tensor(
            [1.0, 0.0, 0.0]
        )
        return found

    model.forward = forward  # type: ignore[method-assign]
    assert find_linear_head(task, task, model, rows, CPU) is None


def test_a_pooled_trunk_keeps_one_vector_a_row() -> None:
    task, model, data = world("mean")
    rows = task.encode_rows(data, fingerprint="pooled-trunk")
    plan = plan_adaptation(model, "head", weight_decay=0.0)
    found = on_trunk(task, model, plan, {"train": rows}, CPU, fingerprint="pooled-trunk")
    assert found is not None
    learned, kept = found
    assert kept["train"][0].arrays["trunk"].shape == (1, 32)
    plain = predict_rows(task, model, rows, CPU)
    again = predict_rows(learned, model, kept["train"], CPU)
    np.testing.assert_allclose([one.outputs_C for one in plain], [one.outputs_C for one in again], atol=1e-6)


def test_windows_of_a_row_are_one_row() -> None:
    task, model, data = world("windows")
    rows = task.encode_rows(data, fingerprint="solve-windows")
    assert len(rows) > len(data)
    head = find_linear_head(task, task, model, rows, CPU)
    assert head is not None
    features_MF = read(head, rows, CPU)
    found_NF = by_row(features_MF, rows)
    places = [number for number in range(len(rows)) if rows[number].id == data["id"][0]]
    assert len(found_NF) == len(data)
    np.testing.assert_allclose(found_NF[0], features_MF[places].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 7, 500])
def test_neighbours_tell_clusters_apart_and_noise_not(neighbours: int) -> None:
    rng = np.random.default_rng(0)
    y, truth_N = rng.integers(0, 3, 300), rng.integers(0, 3, 200)
    centres = 4 * rng.standard_normal((3, 8))
    known = KnownLabels(y, truth_N, 3, _unasked)

    def accuracy(train_NF: np.ndarray, rows_NF: np.ndarray) -> float:
        return float((neighbour_votes(train_NF, rows_NF, known, neighbours).argmax(axis=1) == truth_N).mean())

    assert accuracy(centres[y] + rng.standard_normal((300, 8)), centres[truth_N] + rng.standard_normal((200, 8))) > 0.97
    assert accuracy(rng.standard_normal((300, 8)), rng.standard_normal((200, 8))) < 0.48


def test_neighbours_vote_for_each_of_several_labels_by_itself() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(1)
    labels_NC = rng.random((400, 3)) < [0.5, 0.3, 0.1]
    features_NF = labels_NC @ (4 * rng.standard_normal((3, 8))) + rng.standard_normal((400, 8))
    train, held = slice(0, 300), slice(300, 400)
    known = KnownLabels(labels_NC[train], labels_NC[held], 3, _unasked)
    found_NC = neighbour_votes(features_NF[train], features_NF[held], known, 9)
    centred_NF = features_NF - features_NF[train].mean(axis=0)
    turned_NF = centred_NF / np.linalg.norm(centred_NF, axis=1, keepdims=True)
    for c in range(3):
        model = KNeighborsClassifier(9, weights=lambda apart: np.exp(-(apart**2) / 2 / 0.07))  # type: ignore[arg-type]
        model.fit(turned_NF[train], labels_NC[train, c])
        np.testing.assert_allclose(found_NC[:, c], model.predict_proba(turned_NF[held])[:, 1], atol=1e-9)
