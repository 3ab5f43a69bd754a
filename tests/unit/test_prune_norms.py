"""Batch norms after a cut: statistics of what the model adds up now, and no others touched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pretune.compress.pruning.norms import follow_closely, settle_norms
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification, TextClassification
from tiny import CPU, LABELS, dataset_of, tiny_backbone, tiny_encoder, tiny_image_backbone, tiny_pictures


def a_net() -> tuple[ImageClassification, Any, Any]:
    backbone = tiny_image_backbone("resnet-18")
    task = ImageClassification(LABELS, image_transform_of(backbone.processor))
    model, _ = task.build(backbone, seed=0)
    return task, model, task.encode_rows(dataset_of(tiny_pictures(20)), fingerprint="norms")


def test_statistics_are_those_of_the_rows():
    task, model, rows = a_net()
    norm: nn.BatchNorm2d = model.resnet.embedder.embedder.normalization
    for wrong in (norm.running_mean, norm.running_var):
        assert wrong is not None
        wrong.fill_(7.0)
    heard = []
    handle = norm.register_forward_pre_hook(lambda _module, inputs: heard.append(inputs[0].detach().clone()))
    assert settle_norms(task, model, rows, list(range(19)), CPU, batch_size=8) == 20
    handle.remove()
    assert [len(one) for one in heard] == [8, 8], "whole batches only"
    together = torch.stack([one.movedim(1, 0).flatten(1) for one in heard])
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, together.mean(dim=2).mean(dim=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, together.var(dim=2).mean(dim=0), atol=1e-5, rtol=1e-4)
    assert not model.training
    assert {one.momentum for one in model.modules() if isinstance(one, nn.BatchNorm2d)} == {0.1}


def test_few_rows_are_one_batch_and_learning_goes_on():
    task, model, rows = a_net()
    settle_norms(task, model, rows, [0, 1, 2], CPU)
    model.train()
    task.loss(model, task.collate([rows[0], rows[1]])).total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_text_model_has_none():
    backbone = tiny_backbone()
    task = TextClassification(LABELS, tiny_encoder(backbone))
    model, _ = task.build(backbone, seed=0)
    assert settle_norms(task, model, [], [], CPU) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("momentum", "after"), [(0.01, 0.1), (0.1, 0.1), (0.3, 0.3)])
def test_slow_statistics_are_made_to_follow(momentum: float, after: float):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=momentum))
    follow_closely(model)
    assert model[1].momentum == after  # type: ignore[comparison-overlap]
