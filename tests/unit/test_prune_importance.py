"""What parts are worth: against gates written by hand, and against taking each part out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from conftest import make_rows
from pretune.backbones.parts.units import HEADS, features_of, units_of
from pretune.compress.pruning.importance import part_scores
from pretune.errors import CheckFailed
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification, TextClassification
from tiny import CPU, LABELS, Rig, dataset_of, tiny_backbone, tiny_encoder, tiny_image_backbone, tiny_pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def learned() -> Rig:
    """A classifier of two layers that has learned a part of what there is."""
    rig = Rig("finetune", rows=48, steps=40, batch_size=16, learning_rate=2e-3, fast=False)
    rig.train()
    rig.model.eval()
    return rig


def row_losses(rig: Rig, items: Sequence[Any]) -> np.ndarray:
    """The loss of each row by itself."""
    with torch.inference_mode():
        return np.array(
            [float(rig.objective.task.loss(rig.model, rig.objective.task.collate([item])).total) for item in items]
        )


def stored(rig: Rig, count: int = 24) -> Any:
    return rig.objective.task.encode_rows(dataset_of(make_rows(count, seed=9)), fingerprint="importance")


def test_scores_are_squared_derivatives_of_gates(learned: Rig):
    """Differences of the loss where a head, a neuron, is made a little larger."""
    rows = stored(learned, 6)
    items = [rows[place] for place in range(len(rows))]
    scores = part_scores(learned.objective.task, learned.model, rows, range(len(rows)), CPU, batch_size=4)
    learned.model.double()
    try:
        for unit in units_of(learned.model):
            (reader,) = unit.readers
            for part in range(0, unit.count, 13 if unit.count > 4 else 1):
                places, losses = features_of([part], reader.size), []
                for by in (1 + 1e-2, 1 - 1e-2):
                    kept = reader.module.weight.detach().clone()
                    with torch.no_grad():
                        reader.module.weight[:, places] *= by
                    losses.append(row_losses(learned, items))
                    with torch.no_grad():
                        reader.module.weight.copy_(kept)
                derivative_N = (losses[0] - losses[1]) / 2e-2
                assert scores[unit.name][part] == pytest.approx((derivative_N**2).mean(), rel=2e-2, abs=1e-9)
    finally:
        learned.model.float()


def test_scores_agree_with_taking_heads_out(learned: Rig):
    """A head that costs more when it is gone has a higher score."""
    rig = Rig("finetune", rows=48, steps=60, batch_size=16, learning_rate=2e-3, fast=False, layers=4)
    rig.train()
    rig.model.eval()
    rows = stored(rig)
    items = [rows[place] for place in range(len(rows))]
    scores = part_scores(rig.objective.task, rig.model, rows, range(len(rows)), CPU)
    before_N = row_losses(rig, items)
    costs, told = [], []
    for unit in units_of(rig.model):
        (reader,) = unit.readers
        parts = range(unit.count) if unit.kind == HEADS else range(0, unit.count, 8)
        for part in parts:
            places, kept = features_of([part], reader.size), reader.module.weight.detach().clone()
            with torch.no_grad():
                reader.module.weight[:, places] = 0.0
            costs.append(float(np.mean((row_losses(rig, items) - before_N) ** 2)))
            told.append(float(scores[unit.name][part]))
            with torch.no_grad():
                reader.module.weight.copy_(kept)
    assert len(costs) == 4 * (2 + 8)
    assert spearmanr(costs, told).statistic > 0.8


def test_channels_of_a_sum_have_one_score_each():
    """Blocks of a stage add to the same channels: what all readers of one take in counts together."""
    backbone = tiny_image_backbone("resnet-18")
    task = ImageClassification(LABELS, image_transform_of(backbone.processor))
    model, _ = task.build(backbone, seed=0)
    rows = task.encode_rows(dataset_of(tiny_pictures(9)), fingerprint="importance-pictures")
    scores = part_scores(task, model, rows, range(9), CPU)
    assert {unit.name: unit.count for unit in units_of(model)} == {name: len(found) for name, found in scores.items()}
    assert all((found > 0).all() and np.isfinite(found).all() for found in scores.values())
    sum_of_stage = next(unit for unit in units_of(model) if unit.name == "encoder.stages.1")
    assert len(sum_of_stage.readers) == 3, "its own second block, and the two branches of the next stage"
    last = next(unit for unit in units_of(model) if unit.name == "encoder.stages.3")
    assert last.readers[-1].module is model.classifier[-1]  # type: ignore[index]


def test_parts_that_do_nothing_are_told_apart_by_their_weights(learned: Rig):
    unit = next(unit for unit in units_of(learned.model) if unit.kind != HEADS)
    maker, reader = unit.makers[0].module, unit.readers[0].module
    kept = [values.detach().clone() for values in (maker.weight, maker.bias, reader.weight)]
    with torch.no_grad():
        maker.weight[:3], maker.bias[:3] = 0.0, 0.0  # gelu(0) = 0: the gates' derivatives are 0
        reader.weight[:, 1] = 5.0
    try:
        rows = stored(learned, 6)
        scores = part_scores(learned.objective.task, learned.model, rows, range(6), CPU)[unit.name]
    finally:
        with torch.no_grad():
            for values, before in zip((maker.weight, maker.bias, reader.weight), kept, strict=True):
                values.copy_(before)
    assert 0 < max(scores[0], scores[2]) < scores[1] < scores[3:].min()


def test_a_loss_that_is_not_finite_is_refused():
    backbone = tiny_backbone()
    task = TextClassification(LABELS, tiny_encoder(backbone))
    model, _ = task.build(backbone, seed=0)
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")  # type: ignore[union-attr,index]
    rows = task.encode_rows(dataset_of(make_rows(3)), fingerprint="importance-nan")
    with pytest.raises(CheckFailed, match="not finite"):
        part_scores(task, model, rows, range(3), CPU)
