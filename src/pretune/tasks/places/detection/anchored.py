"""Heads on the maps of a trunk that begin from anchors.

Shapes: A anchors of the canvas, C classes, K = C + 1 with the background first.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from pretune.backbones.detection.anchors import anchors_on
from pretune.backbones.detection.fresh import new_detector
from pretune.backbones.detection.model import MODEL_TYPE
from pretune.backbones.places.stages import resting_part
from pretune.tasks.places.detection.head import DetectionHead
from pretune.tasks.protocols import PartsPace
from pretune.types import in_double

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["STRIDES", "AnchoredHead", "scores_of"]

STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class AnchoredHead(DetectionHead, ABC):
    """``shapes`` are those of the anchors on the maps of each stride; ``pyramid_width`` and ``proposals`` as the model's config has them."""

    shapes: Sequence[Sequence[Sequence[float]]]
    pyramid_width: int
    proposals: int

    @cached_property
    def anchors(self) -> torch.Tensor:
        """(A, 4) those of the canvas."""
        return anchors_on(self.sides, STRIDES, self.shapes)

    def kept(self) -> dict[str, Any]:
        """The anchors' shapes."""
        return {"shapes": self.shapes}

    def portable(self) -> dict[str, Any]:
        """The anchors."""
        return {"strides": [*STRIDES], "shapes": self.shapes, "proposals": self.proposals}

    def build(self, backbone: Backbone, labels: Sequence[str], *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The detector of a folder that holds one for these classes and anchors, else one with a fresh head on the backbone."""
        told: Any = backbone.config
        if told.model_type == MODEL_TYPE:
            names = [told.id2label[number] for number in range(len(told.id2label))]
            held = ([*told.canvas], told.shapes, told.pyramid_width, told.proposals)
            if names == [*labels] and held == ([*self.sides], self.shapes, self.pyramid_width, self.proposals):
                return backbone.build("AutoModelForObjectDetection", seed=seed)
        return new_detector(
            backbone, seed=seed, labels=labels, strides=STRIDES, canvas=[*self.sides], shapes=self.shapes,
            pyramid_width=self.pyramid_width, proposals=self.proposals,
        )  # fmt: skip

    def parts_pace(self, model: Any, backbone: Backbone) -> PartsPace:
        """A trained trunk keeps its first layers (up to stride 4) and learns at a third of the head's rate."""
        if backbone.kind == "scratch":
            return PartsPace(learning_rate=2e-3)
        return PartsPace(learning_rate=2e-3, trunk_scale=0.3, resting=tuple(resting_part(model.trunk, stride=4)))

    def processor(self, own: Any, settings: Mapping[str, Any]) -> Any:
        """One that normalises as this model wants it; the canvas is its own."""
        from transformers import ViTImageProcessor

        return ViTImageProcessor(**settings)


def scores_of(logits_BPK: torch.Tensor) -> torch.Tensor:
    """(B, P, C) the probability of each class, float64."""
    return torch.softmax(in_double(logits_BPK), dim=-1)[..., 1:]
