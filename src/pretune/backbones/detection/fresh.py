"""A detector with a fresh head on the trunk of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pretune.backbones.detection.model import MODEL_TYPE, NAMES_OF_CLASSES, TRUNK, known_detector
from pretune.backbones.load import Backbone, LoadReport
from pretune.backbones.places.stages import find_stages, stages_at

__all__ = ["new_detector"]


def new_detector(
    backbone: Backbone, *, seed: int, labels: Sequence[str], strides: Sequence[int], **settings: Any
) -> tuple[Any, LoadReport]:
    """A detector with the backbone's trunk and a fresh head; ``settings`` are those of its config. Raises
    :class:`pretune.errors.ModelError` for a trunk without maps of these strides.
    """
    kind = known_detector()
    bare, report = backbone.build("AutoModel", seed=seed)
    trunk: Any = bare.trunk if backbone.config.model_type == MODEL_TYPE else bare
    stages = stages_at(find_stages(trunk), strides, backbone.name)
    told = {name: value for name, value in trunk.config.to_dict().items() if name not in NAMES_OF_CLASSES}
    config = kind.config_class(
        trunk_config=told, stages=[stage.to_dict() for stage in stages], id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)}, **settings,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind._from_config(config, dtype=torch.float32)
    model.trunk.load_state_dict(trunk.state_dict())
    for mine, theirs in zip(model.trunk.modules(), trunk.modules(), strict=True):
        mine.__class__ = theirs.__class__  # norms that hold no statistics stay still (backbones.norms)
        if isinstance(mine, nn.BatchNorm2d):
            mine.momentum = theirs.momentum  # type: ignore[union-attr]
    own = {f"{TRUNK}.{name}" for name, _ in model.trunk.named_parameters()}
    fresh = [name for name, _ in model.named_parameters() if name not in own]
    drawn = [f"{TRUNK}.{name}" for name in report.missing if f"{TRUNK}.{name}" in own]
    return model, LoadReport((*drawn, *fresh), report.unexpected, report.mismatched, report.fresh)
