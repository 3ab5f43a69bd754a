"""SimCLR (Chen et al. 2020, arXiv 2002.05709): find the other variation of a picture among those of all pictures of the update.

Shapes: B rows, V = 2 B variations, P projected numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import nn
from torch.nn import functional

from pretune.modalities.image.transform import ImageTransform
from pretune.objectives.two_views import Encoder, TwoViews, perceptron, seeded_heads
from pretune.types import Feed, Loss

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["ContrastiveImage", "nt_xent"]

_PROJECTED = 128
_TEMPERATURE = 0.2
"""Between the paper's 0.1 (ImageNet, table 5) and 0.5 (CIFAR-10, appendix B.9)."""


@final
class _Projected(nn.Module):
    """Encoder and projection head; the head stays behind."""

    def __init__(self, encoder: Encoder, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = seeded_heads(seed, lambda: perceptron(encoder.width, encoder.width, _PROJECTED))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, P)."""
        return self.head(self.encoder(pixels))


@final
class ContrastiveImage(TwoViews):
    """Contrast pictures with each other. ``temperature`` sharpens the comparison."""

    name: ClassVar[str] = "contrastive-image"
    log_names: tuple[str, ...] = ("right",)

    def __init__(
        self,
        backbone: Backbone,
        geometry: ImageTransform,
        *,
        temperature: float = _TEMPERATURE,
        augment: str = "strong",
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, geometry, augment=augment, seed=seed)
        self.temperature = temperature
        self.projecting = _Projected(self.encoder, seed)
        self.model = self.projecting

    def projected(self, features_VD: torch.Tensor) -> torch.Tensor:
        """Through the projection head."""
        return self.projecting.head(features_VD)

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """NT-Xent, summed over rows; ``right`` counts rows by the share of their variations that found their twin."""
        batch = feed["pictures"]
        losses_V, right_V = nt_xent(model(**batch.inputs), self.temperature)
        return Loss.of(losses_V.sum() / 2, {"right": float(right_V.sum()) / 2})


def nt_xent(projected_VP: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses (V,) and whether each variation's nearest is its twin (V,): Chen et al. 2020, equation 1.

    A variation's twin is the right answer among all other variations of the update.
    """
    unit_VP = functional.normalize(projected_VP.float(), dim=-1)
    with torch.autocast(unit_VP.device.type, enabled=False):
        likeness_VV = unit_VP @ unit_VP.T / temperature
    count = len(unit_VP)
    likeness_VV = likeness_VV.masked_fill(torch.eye(count, dtype=torch.bool, device=unit_VP.device), -torch.inf)
    twin_V = torch.arange(count, device=unit_VP.device).roll(count // 2)
    losses_V = functional.cross_entropy(likeness_VV, twin_V, reduction="none")
    return losses_V, likeness_VV.detach().argmax(dim=-1) == twin_V
