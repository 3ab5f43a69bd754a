"""BYOL (Grill et al. 2020, arXiv 2006.07733): predict what a slow copy of the encoder says of a picture's other variation.

The copy (teacher) is an exponential mean of the learner. It lies in the model as buffers, so checkpoints hold it and it
takes no gradient, no weight decay and no optimizer state. Shapes: B rows, V = 2 B variations, P projected numbers.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import nn
from torch.nn import functional

from pretune.modalities.image.transform import ImageTransform
from pretune.objectives.two_views import Encoder, TwoViews, perceptron, seeded_heads
from pretune.types import Feed, Loss

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["SelfDistilImage", "momentum_at"]

_PROJECTED, _HIDDEN = 128, 512
_FIRST_MOMENTUM = 0.99
"""The paper's 0.996 is for hundreds of thousands of updates; runs here have thousands."""


def momentum_at(progress: float) -> float:
    """How much of the teacher stays at an update: rises to 1 along a cosine (Grill et al. 2020, section 3.3)."""
    return 1.0 - (1.0 - _FIRST_MOMENTUM) * (math.cos(math.pi * progress) + 1.0) / 2.0


@final
class _LearnerAndTeacher(nn.Module):
    """``student`` is encoder and projection, ``teacher`` its mean over time, ``predictor`` the student's alone."""

    def __init__(self, encoder: Encoder, seed: int) -> None:
        super().__init__()
        projection = seeded_heads(seed, lambda: perceptron(encoder.width, _HIDDEN, _PROJECTED))
        self.student = nn.Sequential(encoder, projection)
        self.predictor = seeded_heads(seed + 1, lambda: perceptron(_PROJECTED, _HIDDEN, _PROJECTED))
        self.teacher = _as_buffers(copy.deepcopy(self.student))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the student predicts of each variation and what the teacher says of it, (V, P) each."""
        predicted_VP = self.predictor(self.student(pixels))
        with torch.no_grad():
            said_VP = self.teacher(pixels)
        return predicted_VP, said_VP

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """The teacher moves towards the student; batch norm's running sums are its own."""
        teacher = dict(self.teacher.named_buffers())
        for name, learned in self.student.named_parameters():
            teacher[name].lerp_(learned, 1.0 - momentum)


def _as_buffers(module: nn.Module) -> nn.Module:
    """The same module with its parameters turned into buffers of the same names."""
    for inner in module.modules():
        for name, parameter in list(inner.named_parameters(recurse=False)):
            delattr(inner, name)
            inner.register_buffer(name, parameter.detach())
    return module


@final
class SelfDistilImage(TwoViews):
    """Learn from a slow copy of oneself; no picture is contrasted with another."""

    name: ClassVar[str] = "self-distillation-image"
    log_names: tuple[str, ...] = ("spread",)

    def __init__(self, backbone: Backbone, geometry: ImageTransform, *, augment: str = "strong", seed: int = 0) -> None:
        super().__init__(backbone, geometry, augment=augment, seed=seed)
        self.pair = _LearnerAndTeacher(self.encoder, seed)
        self.model = self.pair

    def projected(self, features_VD: torch.Tensor) -> torch.Tensor:
        """Through the student's projection and its predictor."""
        return self.pair.predictor(self.pair.student[1](features_VD))

    def prepare(self, model: nn.Module, progress: float) -> None:
        """Training mode; the teacher takes in the update before. A resumed run does what the unbroken one would have done."""
        super().prepare(model, progress)
        self.pair.follow(momentum_at(progress))

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """2 - 2 cos of prediction and teacher, in both directions, summed over rows (Grill et al. 2020, equation 2).

        ``spread`` is that of the predictions within the update, times rows: it goes to 0 in a collapse.
        """
        batch = feed["pictures"]
        predicted_VP, said_VP = (functional.normalize(out.float(), dim=-1) for out in model(**batch.inputs))
        other_VP = said_VP.roll(len(said_VP) // 2, dims=0)
        losses_V = 2 - 2 * (predicted_VP * other_VP).sum(dim=-1)
        spread = (1 - predicted_VP.detach().mean(dim=0).square().sum()).clamp(min=0).sqrt()
        return Loss.of(losses_V.sum(), {"spread": float(spread) * batch.num_items})
