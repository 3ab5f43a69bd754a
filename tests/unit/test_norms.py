"""Norms that were converted from another library: what training mode makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pretune.backbones.load import load_backbone
from pretune.backbones.loading.library import save_model
from pretune.backbones.parts.norms import StillBatchNorm2d, mend_batch_norms
from pretune.compress.pruning.norms import settle_norms
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification
from tiny import CPU, LABELS, dataset_of, tiny_image_backbone, tiny_pictures


def norms_of(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("mean", "var", "bias", "still"),
    [
        (0.0, 0.999, True, True),
        (0.0, 1.0, False, False),  # a fresh norm
        (0.5, 0.999, True, False),
        (0.0, [1.0, 2.0, 3.0, 4.0], True, False),
    ],
)
def test_norms_without_statistics_are_kept_still(mean: float, var: float | list[float], bias: bool, still: bool):
    norm = nn.BatchNorm2d(4)
    norm.running_mean.fill_(mean)  # type: ignore[union-attr]
    norm.running_var.copy_(torch.tensor(var))  # type: ignore[union-attr]
    if bias:
        nn.init.normal_(norm.bias)
    model = nn.Sequential(norm)
    mend_batch_norms(model)
    model.train()
    assert (isinstance(norm, StillBatchNorm2d), norm.training) == (still, not still)


def test_a_momentum_the_wrong_way_round_is_mended():
    model = nn.Sequential(nn.BatchNorm2d(4, momentum=0.997), nn.BatchNorm2d(4, momentum=0.1))
    mend_batch_norms(model)
    assert [norm.momentum for norm in norms_of(model)] == [0.01, 0.1]
    fresh = nn.Sequential(nn.BatchNorm2d(4, momentum=0.997), nn.BatchNorm2d(4, momentum=0.1))
    mend_batch_norms(fresh, fresh=True)
    assert [norm.momentum for norm in norms_of(fresh)] == [0.1, 0.1], "fresh statistics have to follow the weights"


def test_a_model_with_folded_norms_is_the_same_model_while_it_learns(tmp_path: Path):
    backbone = tiny_image_backbone("resnet-10")
    model, _ = backbone.build("AutoModelForImageClassification", seed=0)
    for norm in norms_of(model):
        nn.init.normal_(norm.bias)
        norm.running_var.fill_(0.999)  # type: ignore[union-attr]
    save_model(model, backbone.processor, tmp_path)
    folded = load_backbone(str(tmp_path))
    task = ImageClassification(LABELS, image_transform_of(folded.processor))
    loaded, _ = task.build(folded, seed=0)
    rows = task.encode_rows(dataset_of(tiny_pictures(8)), fingerprint="folded")
    batch = task.collate([rows[i] for i in range(8)])
    plain = task.logits_of(loaded.eval(), batch)
    learning = task.logits_of(loaded.train(), batch)
    torch.testing.assert_close(learning, plain)
    task.loss(loaded, batch).total.backward()
    assert all(norm.bias.grad is not None for norm in norms_of(loaded))
    assert settle_norms(task, loaded, rows, list(range(8)), CPU) == 0
    assert all(bool((norm.running_var == 0.999).all()) for norm in norms_of(loaded))  # type: ignore[union-attr]
