"""Channels inside the blocks of a trunk leave a detector or segmenter, which reads the trunk at several depths and sees none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.load import Backbone, load_backbone, save_model
from pretune.backbones.parts.units import units_of
from pretune.backbones.places.dense import build_dense
from pretune.compress.pruning.plan import Shares, apply_plan, choose_parts, plan_of
from pretune.errors import UsageError


def segmenter(preset: str) -> Any:
    return build_dense(trunk_of(preset), "unet", seed=0, num_labels=3)[0].eval()


def trunk_of(preset: str) -> Backbone:
    return load_backbone(f"scratch:{preset}", image_size=64)


@pytest.mark.parametrize("preset", ["resnet-10", "mobilenet-v2"])
def test_what_is_taken_out_inside_is_not_missed_outside(preset: str, tmp_path: Path) -> None:
    model = segmenter(preset)
    units = units_of(model)
    assert units
    pixels = torch.rand(2, 3, 64, 64)
    plan = plan_of(model, model.config, Shares(1.0, 1.0, 0.5), first_counts={unit.name: unit.count for unit in units})
    assert all(plan.counts[unit.name] < unit.count for unit in units if unit.count > 32)
    scores = {unit.name: np.arange(unit.count, dtype=float) for unit in units}
    kept = choose_parts(units, plan, scores)
    with torch.no_grad():
        for unit in units:
            gone = [part for part in range(unit.count) if part not in set(kept[unit.name])]
            for reader in unit.readers:
                reader.module.weight[:, gone] = 0
        silenced = model(pixels).logits
        before = model.config.to_dict()
        apply_plan(model, plan, kept)
        torch.testing.assert_close(model(pixels).logits, silenced, atol=1e-4, rtol=1e-3)
    assert sum(one.numel() for one in model.parameters()) < sum(one.numel() for one in segmenter(preset).parameters())
    assert before != model.config.to_dict()
    save_model(model, trunk_of(preset).processor, tmp_path)
    again = load_backbone(str(tmp_path)).build("AutoModelForSemanticSegmentation", seed=0)[0].eval()
    assert [unit.count for unit in units_of(again)] == [len(kept[unit.name]) for unit in units]
    with torch.no_grad():
        torch.testing.assert_close(again(pixels).logits, model(pixels).logits, atol=1e-5, rtol=1e-4)


def test_a_trunk_without_an_inside_that_is_known_is_refused() -> None:
    model = segmenter("vgg-11")
    assert not units_of(model)
    with pytest.raises(UsageError, match="cannot be pruned inside a decoder or detector"):
        plan_of(model, model.config, Shares(1.0, 1.0, 0.5), first_counts={})
