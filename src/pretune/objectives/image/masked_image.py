"""Masked autoencoders (He et al. 2021, arXiv 2111.06377): a ViT sees a quarter of a picture's patches, a small decoder paints the rest.

The targets are pixels normalised patch by patch (section 3, "Reconstruction target"). Masks are a function of (seed, epoch, row).
Shapes: B rows, L patches, P numbers of a patch (side x side x 3), D features, N rows of a data set.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch

from pretune.engine.devices import Device, inference
from pretune.engine.randomness import torch_generator, uniform
from pretune.errors import ModelError, UsageError
from pretune.metrics.base import ScoreSpec
from pretune.modalities.image.transform import ImageTransform, collate_pixels, patches_of
from pretune.objectives.image.image_pretraining import ImagePretraining, pretraining_transform, told
from pretune.objectives.representation import HEALTH_READING, HEALTH_SPECS, NUM_HEALTH, health_statistics
from pretune.tasks.protocols import EncodedRows
from pretune.types import TERM, Batch, Feed, Loss

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream

__all__ = ["MaskedImage"]

_MASK_FRACTION = 0.75
_MASKS = 7
"""Purpose of the masks' draws; lower numbers are the pictures' variations."""

_FIXED = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")
_CLASS_TOKEN = "vit.embeddings.cls_token"


@final
class MaskedImage(ImagePretraining):
    """Predict the pixels of masked patches. ``mask_fraction`` of a picture's patches are masked, at least one stays."""

    name: ClassVar[str] = "masked-image"
    primary: str = "masked_error"
    specs: Mapping[str, ScoreSpec] = {
        "masked_error": ScoreSpec(rising=False, unit="number", title="error of masked patches"), **HEALTH_SPECS,
    }  # fmt: skip
    reads: ClassVar[tuple[str, ...]] = (*ImagePretraining.reads, "mask_fraction")
    default_epochs: tuple[float, float] = (100.0, 30.0)
    reading: str = f"The error is that of the hidden patches' pixels, each patch scaled to mean 0 and variance 1: flat grey would get about 1. {HEALTH_READING}"
    shown: ClassVar[str] = (
        "Held-out pictures as they are learned from. What is grey is hidden, and has to be painted from the rest."
    )
    log_names: tuple[str, ...] = ()

    def __init__(
        self,
        backbone: Backbone,
        geometry: ImageTransform,
        *,
        mask_fraction: float = _MASK_FRACTION,
        augment: str = "light",
        seed: int = 0,
    ) -> None:
        super().__init__(geometry, augment=augment)
        config = _autoencoder_config(backbone.config, geometry, mask_fraction)
        encoder = dataclasses.replace(backbone, config=config)
        self.model, self.report = encoder.build("AutoModelForPreTraining", seed=seed)
        side = geometry.crop[0] // config.patch_size
        self.num_patches = side * side
        self.num_masked = self.num_patches - int(self.num_patches * (1 - mask_fraction))
        self.interpolates = config.image_size != geometry.crop[0]
        self.mask_fraction = mask_fraction
        _start_tokens(self.model, side, self.report.initialised, seed)

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """A plain vision transformer."""
        return config.model_type in ("vit", "vit_mae")

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> MaskedImage:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        fraction = _MASK_FRACTION if settings.mask_fraction is None else settings.mask_fraction
        augment = "light" if settings.augment == "auto" else settings.augment
        return cls(
            backbone, pretraining_transform(backbone, settings), mask_fraction=fraction, augment=augment, seed=seed
        )

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of pictures."""
        return {"pictures": self.stream(rows, batch_size=batch_size)}

    def collate(self, pictures: Sequence[np.ndarray], keys_B: np.ndarray, ids: Sequence[str]) -> Batch:
        """``pixel_values`` (B, 3, H, W) and ``noise`` (B, L), whose largest places are masked."""
        return self._batch(self.views(pictures, keys_B, 0), keys_B, ids)

    def _batch(self, pixels: torch.Tensor, keys_B: np.ndarray, ids: Sequence[str]) -> Batch:
        noise_BL = torch.from_numpy(uniform(keys_B, self.num_patches, _MASKS))
        cost = patches_of(self.geometry) * len(ids)
        return Batch(
            {"pixel_values": pixels, "noise": noise_BL},
            None,
            {TERM: float(self.num_masked * len(ids))},
            tuple(ids),
            cost,
            cost,
        )

    def learned_pixels(self, batch: Batch) -> torch.Tensor:
        """One variation of each picture, its masked patches at 0."""
        pixels_BCHW = batch.inputs["pixel_values"]
        side = math.isqrt(self.num_patches)
        rank_BL = batch.inputs["noise"].argsort(dim=1).argsort(dim=1)
        is_seen_BHW = (rank_BL < self.num_patches - self.num_masked).view(-1, side, side)
        size = pixels_BCHW.shape[-1] // side
        is_seen_BHW = is_seen_BHW.repeat_interleave(size, dim=1).repeat_interleave(size, dim=2)
        return (pixels_BCHW * is_seen_BHW[:, None])[:, None]

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; positions are fixed (He et al. 2021, section A.1)."""
        super().prepare(model, progress)
        for name in _FIXED:
            model.get_parameter(name).requires_grad_(False)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Squared error of the masked patches' normalised pixels, a mean over a patch's pixels, summed over masked patches."""
        batch = feed["pictures"]
        return Loss.of(self._errors(model, batch.inputs).sum())

    def _errors(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, L) mean squared error of each patch, 0 where it was seen."""
        seen = model.vit(**inputs, interpolate_pos_encoding=self.interpolates)  # type: ignore[operator]
        painted = model.decoder(seen.last_hidden_state, seen.ids_restore)  # type: ignore[operator]
        wanted_BLP = model.patchify(inputs["pixel_values"]).float()  # type: ignore[operator]
        mean, variance = wanted_BLP.mean(-1, keepdim=True), wanted_BLP.var(-1, keepdim=True)
        wanted_BLP = (wanted_BLP - mean) / (variance + 1e-6).sqrt()
        return (painted.logits.float() - wanted_BLP).square().mean(-1) * seen.mask

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 7): masked patches, their summed error, and what :func:`health_statistics` says of whole pictures' features."""
        self.model.eval()
        stats = np.zeros((len(rows), 2 + NUM_HEALTH))
        features, targets = [], []
        for places, keys, pictures, classes in self.held_out_batches(rows):
            batch = self._batch(collate_pixels(pictures, self.geometry), keys, [""] * len(places)).to(device.device)
            with inference(device):
                stats[places, 1] = self._errors(self.model, batch.inputs).sum(-1).cpu().double().numpy()
                features.append(self._features(batch.inputs["pixel_values"]).float().cpu().numpy())
            stats[places, 0] = self.num_masked
            targets.append(classes)
            told(on_batch, places)
        stats[:, 2:] = health_statistics(np.concatenate(features), np.concatenate(targets))
        return self.remember(stats)

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, D): the mean over the patches of whole pictures."""
        order_BL = torch.arange(self.num_patches, device=pixels.device).expand(len(pixels), -1)
        with _nothing_masked(self.model.config):
            seen = self.model.vit(pixels, noise=order_BL, interpolate_pos_encoding=self.interpolates)  # type: ignore[operator]
        return seen.last_hidden_state[:, 1:].mean(dim=1)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """``masked_error`` (about 1 is what flat grey patches would get), and the features' health."""
        return {"masked_error": sums_K[..., 1] / np.maximum(sums_K[..., 0], 1e-12), **self.health(sums_K[..., 2:])}

    def to_dict(self) -> dict[str, Any]:
        """Also the share of masked patches."""
        return {**super().to_dict(), "mask_fraction": self.mask_fraction}


def _autoencoder_config(config: Any, geometry: ImageTransform, mask_fraction: float) -> Any:
    """The masked autoencoder of a plain ViT. The decoder is half as wide as the encoder and two layers deep: for
    fine-tuning one layer is as good as eight (He et al. 2021, table 1a), and it is most of the work.
    """
    if not MaskedImage.suits(config):
        raise UsageError(
            f"masked-image needs a vision transformer, and the backbone is of the type {config.model_type}",
            "choose --objective contrastive-image, or a backbone such as scratch:vit-micro",
        )
    height, width = geometry.crop
    if height != width or height % config.patch_size:
        raise ModelError(
            f"pictures of {height} x {width} pixels cannot be cut into patches of {config.patch_size} x {config.patch_size}",
            f"choose --image-size {max(1, height // config.patch_size) * config.patch_size}",
        )
    patches = (height // config.patch_size) ** 2
    if int(patches * (1 - mask_fraction)) < 1 or int(patches * (1 - mask_fraction)) == patches:
        raise UsageError(
            f"--mask-fraction {mask_fraction:g} leaves {int(patches * (1 - mask_fraction))} of {patches} patches",
            "at least one must be masked and one be seen: 0.75 is usual",
        )
    if config.model_type == "vit_mae":
        return type(config).from_dict({**config.to_dict(), "mask_ratio": mask_fraction, "norm_pix_loss": True})
    from transformers import ViTMAEConfig

    kept = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
            "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps", "image_size",
            "patch_size", "num_channels", "qkv_bias")  # fmt: skip
    wide = max(64, config.hidden_size // 64 * 32)
    return ViTMAEConfig(
        **{key: getattr(config, key) for key in kept},
        decoder_hidden_size=wide, decoder_num_hidden_layers=2, decoder_num_attention_heads=wide // 32,
        decoder_intermediate_size=4 * wide, mask_ratio=mask_fraction, norm_pix_loss=True,
    )  # fmt: skip


def _start_tokens(model: torch.nn.Module, side: int, initialised: Sequence[str], seed: int) -> None:
    """Give fresh models the positions and the class token that the library leaves at zero, for ``side`` x ``side`` patches.

    Without positions no patch knows where it is; a class token of zeros has a norm that divides its gradient by 1e-6. The
    decoder's positions are set anew for pictures of another size: the library stretches them as one line of patches.
    """
    seen, painted = (model.get_parameter(name) for name in _FIXED)
    with torch.no_grad():
        if _FIXED[0] in initialised:
            seen[0, 1:] = _waves(round((seen.shape[1] - 1) ** 0.5), seen.shape[2])
        if _FIXED[1] in initialised or painted.shape[1] != side * side + 1:
            waves = _waves(side, painted.shape[2])
            table = torch.cat([torch.zeros(1, waves.shape[1]), waves])[None]
            model.get_submodule("decoder").decoder_pos_embed = torch.nn.Parameter(table, requires_grad=False)
        if _CLASS_TOKEN in initialised:
            token, deviation = model.get_parameter(_CLASS_TOKEN), float(model.config.initializer_range)  # type: ignore[union-attr,arg-type]
            token.copy_(torch.randn(token.shape, generator=torch_generator(seed, "class token")) * deviation)


def _waves(side: int, width: int) -> torch.Tensor:
    """(side * side, width): sines and cosines of the column, then of the row (Vaswani et al. 2017, section 3.5, in two directions)."""
    rate = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    angles = [place.reshape(-1, 1) * rate for place in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()


@contextlib.contextmanager
def _nothing_masked(config: Any) -> Iterator[None]:
    before, config.mask_ratio = config.mask_ratio, 0.0
    try:
        yield
    finally:
        config.mask_ratio = before
