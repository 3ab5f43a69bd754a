"""What objectives share that compare two variations of each picture, and the small networks they put on an encoder.

Shapes: B rows of a batch, V = 2 B variations (first all first ones, then all second ones), D features, P projected numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import nn

from pretune.backbones.load import without_pooler
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import seed_of
from pretune.errors import UsageError
from pretune.metrics.base import ScoreSpec
from pretune.modalities.image.transform import ImageTransform, collate_pixels, interpolate_positions, patches_of
from pretune.objectives.image.image_pretraining import ImagePretraining, pretraining_transform, told
from pretune.objectives.representation import HEALTH_READING, HEALTH_SPECS, NUM_HEALTH, distances, health_statistics
from pretune.tasks.protocols import EncodedRows
from pretune.types import TERM, Batch

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream

__all__ = ["Encoder", "TwoViews", "perceptron", "seeded_heads", "twins_found"]


class Encoder(nn.Module):
    """A bare encoder whose ``forward`` gives pooled features (B, D). ``body`` is the model of transformers."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body = body
        self.width = width

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """What a classifier of this architecture reads: pooled maps of a convolutional net, the class token of a ViT."""
        output = self.body(pixel_values=pixels)
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        hidden = output.last_hidden_state
        return hidden[:, 0] if hidden.ndim == 3 else hidden.mean(dim=(2, 3))


def perceptron(wide_in: int, wide: int, wide_out: int) -> nn.Sequential:
    """Two layers with batch norm between: the heads of SimCLR and BYOL."""
    return nn.Sequential(
        nn.Linear(wide_in, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(inplace=True), nn.Linear(wide, wide_out)
    )


def seeded_heads(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """Heads whose first weights are a function of the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "heads"))
        return make()


def _views_of(settings: PretrainingSettings, objective: str) -> str:
    """How pictures are varied. Raises :class:`UsageError` where they would not be: two equal pictures teach nothing."""
    if settings.augment == "none":
        raise UsageError(
            f"--augment none does not fit --objective {objective}, which compares two variations of each picture",
            "use --augment strong (the default here) or light",
        )
    return "strong" if settings.augment == "auto" else settings.augment


class TwoViews(ImagePretraining):
    """An encoder learns to give two variations of a picture like features. A paradigm adds heads and loss.

    Batch norm in the heads (and in convolutional encoders) and the loss itself tie the rows of an update together, so no
    update is cut into micro-batches: a cut would be another loss.
    """

    primary: str = "twin_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "twin_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of finding the other view"),
        "projected_spread": ScoreSpec(rising=True, unit="number", title="spread of what the loss compares"),
        **HEALTH_SPECS,
    }
    default_epochs: tuple[float, float] = (60.0, 20.0)
    default_batch_size: int = 256
    reading: str = f"Two views of a picture are found where each is the other's nearest among the views of 256 pictures. {HEALTH_READING}"
    shown: ClassVar[str] = (
        "Held-out pictures as they are learned from, two by two: both are variations of one picture, and the model has to find that out."
    )
    encoder: Encoder

    def __init__(self, backbone: Backbone, geometry: ImageTransform, *, augment: str, seed: int) -> None:
        super().__init__(geometry, augment=augment)
        body, self.report = backbone.build("AutoModel", seed=seed)
        body, self.report = without_pooler(body, self.report)  # no classifier reads a ViT's
        interpolate_positions(body, backbone.config, geometry)
        self.encoder = Encoder(body, _width_of(body, geometry))

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> Self:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return cls(
            backbone, pretraining_transform(backbone, settings), augment=_views_of(settings, cls.name), seed=seed
        )

    @abstractmethod
    def projected(self, features_VD: torch.Tensor) -> torch.Tensor:
        """(V, P): what the loss compares, of the encoder's features."""

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of pictures, its updates whole."""
        return {"pictures": self.stream(rows, batch_size=batch_size, is_whole=True, cost=2)}

    def learned_pixels(self, batch: Batch) -> torch.Tensor:
        """Both variations of each picture."""
        return torch.stack(batch.inputs["pixels"].chunk(2), dim=1)

    def collate(self, pictures: Sequence[np.ndarray], keys_B: np.ndarray, ids: Sequence[str]) -> Batch:
        """``pixels`` (V, 3, H, W): the first variation of every picture, then the second of every picture."""
        pixels = torch.cat([self.views(pictures, keys_B, number) for number in (0, 1)])
        cost = 2 * patches_of(self.geometry) * len(ids)
        return Batch({"pixels": pixels}, None, {TERM: float(len(ids))}, tuple(ids), cost, cost)

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 7): share of a row's variations whose twin is nearest, squared distance of its first variation's projection from
        their mean, and what :func:`health_statistics` says of whole pictures' features."""
        self.model.eval()
        stats = np.zeros((len(rows), 2 + NUM_HEALTH))
        features, projected, targets = [], [], []
        for places, keys, pictures, classes in self.held_out_batches(rows):
            pixels = self.collate(pictures, keys, [""] * len(places)).inputs["pixels"]
            with inference(device):
                varied_VD = self.encoder(pixels.to(device.device))
                projected.append(self.projected(varied_VD[: len(places)]).float().cpu().numpy())
                whole = collate_pixels(pictures, self.geometry).to(device.device)
                features.append(self.encoder(whole).float().cpu().numpy())
            stats[places, 0] = twins_found(varied_VD)
            targets.append(classes)
            told(on_batch, places)
        stats[:, 1] = distances(np.concatenate(projected))
        stats[:, 2:] = health_statistics(np.concatenate(features), np.concatenate(targets))
        return self.remember(stats)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """``twin_accuracy``: how often the nearest of 256 pictures' variations is that of the same picture;
        ``projected_spread``: that of what is compared in the loss; and the features' health."""
        rows = np.maximum(sums_K[..., 2], 1e-12)
        return {
            "twin_accuracy": sums_K[..., 0] / rows,
            "projected_spread": np.sqrt(sums_K[..., 1] / rows),
            **self.health(sums_K[..., 2:]),
        }

    def saved(self) -> nn.Module:
        """The bare encoder."""
        return self.encoder.body


def twins_found(features_VD: torch.Tensor) -> np.ndarray:
    """(B,) share of each row's two variations whose nearest other is its twin."""
    unit_VD = nn.functional.normalize(features_VD.float(), dim=-1)
    likeness_VV = (unit_VD @ unit_VD.T).fill_diagonal_(-torch.inf)
    count = len(unit_VD) // 2
    twin_V = torch.arange(2 * count, device=unit_VD.device).roll(count)
    found_V = (likeness_VV.argmax(dim=-1) == twin_V).cpu().double()
    return found_V.view(2, count).mean(dim=0).numpy()


def _width_of(body: nn.Module, geometry: ImageTransform) -> int:
    """Features of a picture, by looking at one."""
    body.eval()
    with torch.inference_mode():
        return Encoder(body, 0)(torch.zeros(1, 3, *geometry.crop)).shape[1]
