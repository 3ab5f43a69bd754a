"""Detectors on any trunk, in the form of transformers: config.json with the trunk's config in it, weights as safetensors.

Their config and class are made known to its Auto classes by :func:`known_detector`, so that they are saved, loaded and counted as any
model; other programs need pretune to load one, as transformers has no such architecture.
Shapes: B pictures of a batch, A anchors, C classes, K = C + 1 with the background first, h and w sides of a map.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pretune.backbones.detection.sampling import Truth
from pretune.backbones.detection.two_stages import TwoStageHead
from pretune.backbones.places.stages import FeaturePyramid, StagedTrunk, stages_of_dicts

__all__ = ["MODEL_TYPE", "NAMES_OF_CLASSES", "TRUNK", "SsdHead", "known_detector"]

MODEL_TYPE = "pretune_detector"
TRUNK = "trunk"
NAMES_OF_CLASSES = ("id2label", "label2id", "num_labels")


class SsdHead(nn.Module):
    """For each anchor of each map four offsets and a logit a class: a depthwise convolution and one of 1 x 1 each (SSDlite: Sandler
    et al. 2018, arXiv 1801.04381, section 6.2).
    """

    def __init__(self, channels: Sequence[int], shapes: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.places = nn.ModuleList(_lite(depth, 4 * count) for depth, count in zip(channels, shapes, strict=True))
        self.classes = nn.ModuleList(
            _lite(depth, (num_classes + 1) * count) for depth, count in zip(channels, shapes, strict=True)
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, A, 4 + K): offsets, then logits."""
        parts = []
        for one, places, classes in zip(maps, self.places, self.classes, strict=True):
            parts.append(torch.cat([_by_anchor(places(one), 4), _by_anchor(classes(one), self.num_classes + 1)], dim=2))
        return torch.cat(parts, dim=1)


def _lite(depth: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(depth, depth, 3, padding=1, groups=depth, bias=False), nn.BatchNorm2d(depth), nn.ReLU6(), nn.Conv2d(depth, width, 1)
    )  # fmt: skip


def _by_anchor(one_BDhw: torch.Tensor, numbers: int) -> torch.Tensor:
    """(B, h * w * anchors of a cell, numbers)."""
    return one_BDhw.permute(0, 2, 3, 1).reshape(len(one_BDhw), -1, numbers)


@functools.cache
def known_detector() -> Any:
    """The class of the models, after it and their config are known to transformers' Auto classes."""
    import transformers
    from transformers.modeling_outputs import SequenceClassifierOutput

    class DetectorConfig(transformers.PreTrainedConfig):
        model_type = MODEL_TYPE
        sub_configs = {"trunk_config": transformers.AutoConfig}  # type: ignore[assignment]  # noqa: RUF012 - as transformers declares it

        def __init__(
            self, trunk_config: Any = None, stages: Sequence[Mapping[str, int]] = (),
            canvas: Sequence[int] = (320, 320), shapes: Sequence[Any] = (), pyramid_width: int = 0,
            proposals: int = 0, **named: Any,
        ) -> None:  # fmt: skip
            self.stages, self.canvas, self.shapes = [*stages], [*canvas], [*shapes]
            self.pyramid_width, self.proposals = pyramid_width, proposals
            self.trunk_config = _trunk_config(trunk_config)
            super().__init__(**named)

    class Detector(transformers.PreTrainedModel):
        config_class = DetectorConfig
        base_model_prefix = TRUNK
        main_input_name = "pixel_values"
        input_modalities = ("image",)  # type: ignore[assignment]

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.trunk = transformers.AutoModel.from_config(config.trunk_config)
            self.staged = StagedTrunk(stages_of_dicts(config.stages))
            width = config.pyramid_width
            self.pyramid = FeaturePyramid(self.staged.channels, width) if width else None
            channels = [width] * len(config.stages) if width else self.staged.channels
            self.head = _head(config, channels, self.staged.strides)
            self.post_init()

        def _init_weights(self, module: nn.Module) -> None:
            """As SSD's heads begin; a trunk's weights are its own to draw."""
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

        def forward(self, pixel_values: torch.Tensor, truth: Truth | None = None, **_: Any) -> Any:
            """``logits`` (B, A, 4 + K): offsets from the anchors, then a logit for the background and each class; of two stages what
            :class:`TwoStageHead` says, with ``truth`` of what is learned by.
            """
            maps = self.staged(self.trunk, pixel_values)
            maps = maps if self.pyramid is None else self.pyramid(maps)
            if isinstance(self.head, TwoStageHead):
                return self.head(maps, truth)
            return SequenceClassifierOutput(logits=self.head(maps))

    transformers.AutoConfig.register(MODEL_TYPE, DetectorConfig, exist_ok=True)
    transformers.AutoModel.register(DetectorConfig, Detector, exist_ok=True)
    transformers.AutoModelForObjectDetection.register(DetectorConfig, Detector, exist_ok=True)
    return Detector


def _head(config: Any, channels: Sequence[int], strides: Sequence[int]) -> nn.Module:
    """Of two stages where regions are to be proposed, else of one."""
    if not config.proposals:
        return SsdHead(channels, [len(own) for own in config.shapes], config.num_labels)
    return TwoStageHead(
        config.pyramid_width, config.num_labels, proposals=config.proposals, canvas=config.canvas, strides=strides,
        shapes=config.shapes,
    )  # fmt: skip


def _trunk_config(told: Any) -> Any:
    """A trunk's config, from the mapping that config.json holds of it."""
    import transformers

    if not isinstance(told, Mapping):
        return told
    fields = {name: value for name, value in told.items() if name not in ("model_type", *NAMES_OF_CLASSES)}
    return type(transformers.AutoConfig.for_model(told["model_type"])).from_dict(fields)
