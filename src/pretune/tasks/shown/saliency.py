"""Where an image model looks: Grad-CAM for convolutional nets, attention rollout for vision transformers.

Shapes: B pictures, H and W their sides, K channels of h x w feature maps, T tokens, P patches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pretune.backbones.adaptation.modes import attending_plainly, evaluating
from pretune.backbones.places.stages import StagedTrunk
from pretune.modalities.image.transform import ImageTransform, centre_crop, collate_pixels
from pretune.tasks.shown.thumbnails import SIDE, picture_address

__all__ = ["grad_cam", "map_activation", "overlay", "saliency"]


def saliency(
    model: torch.nn.Module, pixels: list[np.ndarray], geometry: ImageTransform
) -> tuple[list[np.ndarray], str] | None:
    """A map in 0..1 of each picture uint8 (H, W, 3), of its crop's size, and the name of the method; None where neither works
    (a graph of another engine gives no gradients)."""
    if not hasattr(model, "base_model"):
        return None
    inputs = collate_pixels(pixels, geometry).to(next(model.parameters()).device)
    with evaluating(model):
        maps = grad_cam(model, inputs, lambda logits_BC: logits_BC.max(dim=-1).values)
        method = "Grad-CAM"
        if maps is None:
            maps, method = _rollout(model, inputs), "attention rollout"
    return None if maps is None else ([_scaled(one, geometry.crop) for one in maps], method)


def grad_cam(
    model: torch.nn.Module, inputs: torch.Tensor, explained: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray | None:
    """(B, h, w): last feature maps weighted by the mean gradient of what is explained (Selvaraju et al. 2017, equations 1 and 2).

    ``explained`` makes one figure a picture (B,) of the logits (B, C). None for a model without feature maps.
    """
    kept: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        hidden = output.get("last_hidden_state") if hasattr(output, "get") else None
        if isinstance(hidden, torch.Tensor) and hidden.ndim == 4:
            kept.append(hidden)
            hidden.retain_grad()

    handle = model.base_model.register_forward_hook(keep)  # type: ignore[union-attr]
    wanted = [p.requires_grad for p in model.parameters()]
    try:
        with torch.enable_grad():
            inputs = inputs.clone().requires_grad_()
            logits_BC = model(pixel_values=inputs).logits
            if not kept:
                return None
            (gradient,) = torch.autograd.grad(explained(logits_BC).sum(), kept[0])
    finally:
        handle.remove()
        for parameter, was in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(was)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * kept[0]).sum(dim=1)).detach().float().cpu().numpy()


def map_activation(model: torch.nn.Module, run: Callable[[], torch.Tensor]) -> np.ndarray | None:
    """(B, h, w) of a model that reads its trunk's maps at several strides, over the finest: each map times the gradient of what is
    explained, place by place, summed over channels, what is above 0 added up over the maps.

    Unlike Grad-CAM's mean gradient of a whole map this stays where the answer is made (HiResCAM: Draelos & Carin 2020, arXiv 2011.08891).
    ``run`` runs the model and gives one figure a picture (B,). None for a model without such maps.
    """
    staged = next((module for module in model.modules() if isinstance(module, StagedTrunk)), None)
    if staged is None:
        return None
    kept: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: Any, maps: Any) -> None:
        kept.extend(maps)

    handle = staged.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            gradients = torch.autograd.grad(run().sum(), kept, allow_unused=True)
    finally:
        handle.remove()
    heat = torch.zeros(len(kept[0]), 1, *kept[0].shape[-2:], device=kept[0].device)
    for one, gradient in zip(kept, gradients, strict=True):
        if gradient is not None:
            own = torch.relu((one * gradient).sum(dim=1, keepdim=True)).float()
            heat = heat + torch.nn.functional.interpolate(own, size=heat.shape[-2:], mode="bilinear")
    return heat[:, 0].detach().cpu().numpy()


def _rollout(model: torch.nn.Module, inputs: torch.Tensor) -> np.ndarray | None:
    """(B, h, w): attention of the first token to the patches through all layers, with the residual path (Abnar & Zuidema 2020,
    section 3.2).
    """
    with attending_plainly(model), torch.no_grad():
        attentions = model(pixel_values=inputs, output_attentions=True).attentions
    if not attentions:
        return None
    tokens = attentions[0].shape[-1]
    rolled = torch.eye(tokens).expand(len(inputs), -1, -1)
    for layer in attentions:
        mixed = 0.5 * layer.float().cpu().mean(dim=1) + 0.5 * torch.eye(tokens)
        rolled = (mixed / mixed.sum(dim=-1, keepdim=True)) @ rolled
    patches = rolled[:, 0, 1:]
    side = round(patches.shape[1] ** 0.5)
    return patches.reshape(len(inputs), side, side).numpy() if side * side == patches.shape[1] else None


def _scaled(values: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    even = (values - low) / (high - low) if high > low else np.zeros_like(values)
    tensor = torch.from_numpy(np.ascontiguousarray(even, dtype=np.float32))[None, None]
    return torch.nn.functional.interpolate(tensor, size=crop, mode="bilinear")[0, 0].numpy()


def overlay(pixels: np.ndarray, heat: np.ndarray, side: int = SIDE) -> str:
    """The crop of a picture with warm colours where ``heat`` (0..1) is high, ``side`` pixels wide, as a ``data:image/jpeg`` address."""
    from PIL import Image

    crop = centre_crop(pixels, heat.shape).astype(np.float32)  # type: ignore[arg-type]
    warm = np.stack([np.full_like(heat, 255.0), 190.0 * (1 - heat), 40.0 * (1 - heat)], axis=-1)
    share = (0.65 * heat**0.8)[..., None]
    mixed = Image.fromarray((crop * (0.85 - 0.25 * share) * (1 - share) + warm * share).clip(0, 255).astype(np.uint8))
    mixed = mixed.resize((side, round(side * mixed.height / mixed.width)))
    return picture_address(np.asarray(mixed), side)
