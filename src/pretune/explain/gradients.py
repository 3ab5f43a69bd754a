"""Attributions by gradients: integrated gradients (Captum) for any model, Grad-CAM for convolutional nets.

Shapes: B rows of a batch, N parts of an item, P positions of the model's input, H and W the sides of a picture in pixels.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pretune.explain.aim import Aim
from pretune.explain.aims import Explainable
from pretune.explain.patience import Patience
from pretune.modalities import Modality
from pretune.tasks.shown.parts import Parts
from pretune.tasks.shown.saliency import grad_cam, map_activation
from pretune.types import Batch

__all__ = ["Completeness", "class_activation", "integrated_gradients"]

FIRST_STEPS, MOST_STEPS = 32, 512
CLOSE = 0.01
"""Steps are doubled until the sum misses the difference by no more than this share of it."""

_BUDGET_COST = 1024
"""Of a batch of the path: nothing can break one off between its way in and its gradients."""
_LEAST_DIFFERENCE = 0.1


@dataclass(frozen=True)
class Completeness:
    """Do integrated gradients add up? Their ``total`` should be ``difference``, what is explained for the item less
    that for the blank item (Sundararajan et al. 2017, section 3: completeness); ``steps`` of the path were taken.
    """

    total: float
    difference: float
    steps: int

    @property
    def error(self) -> float:
        """What is missing, as a share of the difference (of 0.1 at least, as a share of nothing says nothing)."""
        return abs(self.total - self.difference) / max(abs(self.difference), _LEAST_DIFFERENCE)

    def to_dict(self) -> dict[str, float | int]:
        """JSON values."""
        return {"total": self.total, "difference": self.difference, "error": self.error, "steps": self.steps}


def integrated_gradients(
    task: Explainable, model: torch.nn.Module, parts: Parts, aim: Aim, device: torch.device, patience: Patience
) -> tuple[np.ndarray, Completeness] | None:
    """The figure that ``aim`` names, shared among the item's positions, of the shape of ``parts.places``, along the straight
    path from the blank item (Sundararajan et al. 2017, arXiv 1703.01365, equation 1).

    A text's path runs over the word embeddings, a clip's over the frames behind the convolutions, a picture's over the pixels.
    Where ``patience`` does not allow for more steps, those taken are what there is. None for a sound model without a known place
    between both. Hooks are set on the model while it runs: it must not answer
    anything else meanwhile.
    """
    try:
        layer = _LAYERS[task.modality](model)
    except NoLayer:
        return None
    item, blank = (task.collate([one]).to(device) for one in (parts.item, parts.blank_item))
    main = next(name for name in _MAIN_INPUTS if name in item.inputs)
    names = [main, *(name for name in item.inputs if name != main)]

    def score(*tensors: torch.Tensor) -> torch.Tensor:
        batch = _batch_of(item, dict(zip(names, tensors, strict=True)))
        return aim.score(task.logits_of(model, batch).float(), batch)

    with torch.no_grad():
        ends = [score(*(batch.inputs[name] for name in names)) for batch in (item, blank)]
    tensors, steps = [item.inputs[name] for name in names], FIRST_STEPS
    while True:
        began = patience.spent
        with _copied(model):
            values = _path_integral(score, layer, tensors, blank.inputs[main], steps, parts.item.cost)
        found = Completeness(float(values.sum()), float(ends[0] - ends[1]), steps)
        enough = found.error <= CLOSE or steps >= MOST_STEPS
        if enough or not patience.allows(2 * (patience.spent - began)):
            features = -1 if values.ndim == 2 else 0  # (P, features), or channels first
            return values.sum(axis=features)[: len(parts.places)], found
        steps *= 2


_MAIN_INPUTS = ("input_ids", "pixel_values", "input_values", "input_features")


class NoLayer(Exception):
    """A model without a known place where its inputs have become vectors."""


def _frames_of(model: torch.nn.Module) -> torch.nn.Module:
    """Where the models of the wav2vec 2.0 family take the frames of the convolutions or of the filter bank in. Raises :class:`NoLayer`."""
    projection = getattr(getattr(model, "base_model", None), "feature_projection", None)
    found = getattr(projection, "projection", None)
    if not isinstance(found, torch.nn.Linear):
        raise NoLayer
    return found


@contextlib.contextmanager
def _copied(model: Any) -> Iterator[None]:
    """Let a sound model's frames be handed on as copies: it writes into them (masks), which autograd forbids for its leaves."""
    projection = getattr(getattr(model, "base_model", None), "feature_projection", None)
    if projection is None:
        yield
        return

    def copy(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        return tuple(one.clone() for one in output) if isinstance(output, tuple) else output.clone()

    handle = projection.register_forward_hook(copy)
    try:
        yield
    finally:
        handle.remove()


_LAYERS: dict[Modality, Callable[[Any], torch.nn.Module | None]] = {
    Modality.TEXT: lambda model: model.get_input_embeddings(),
    Modality.IMAGE: lambda model: None,
    Modality.AUDIO: _frames_of,
}
"""Where a path begins: a layer whose outputs are walked, or None for the inputs themselves."""


def _batch_of(one: Batch, inputs: dict[str, torch.Tensor]) -> Batch:
    """``inputs`` of B copies of a batch of one row, with its extras."""
    count = len(next(iter(inputs.values())))
    extras = {name: extra.expand(count, *extra.shape[1:]) for name, extra in one.extras.items()}
    return Batch(inputs, None, {}, one.ids * count, extras=extras)


def _path_integral(
    score: Callable[..., torch.Tensor], layer: torch.nn.Module | None, tensors: list[torch.Tensor],
    blank: torch.Tensor, steps: int, cost: int,
) -> np.ndarray:  # fmt: skip
    """Gradients along the path times the way, (P, features) or (3, H, W) float64."""
    from captum.attr import IntegratedGradients, LayerIntegratedGradients

    first, *others = tensors
    method: Any = IntegratedGradients(score) if layer is None else LayerIntegratedGradients(score, layer)
    if layer is None:
        first = first.detach().clone().requires_grad_()
    with torch.enable_grad():
        found = method.attribute(
            first, baselines=blank, additional_forward_args=tuple(others) or None, n_steps=steps,
            internal_batch_size=max(1, _BUDGET_COST // cost),
        )  # fmt: skip
    return found[0].detach().cpu().double().numpy()


def class_activation(
    task: Explainable, model: torch.nn.Module, parts: Parts, aim: Aim, device: torch.device
) -> tuple[str, np.ndarray] | None:
    """Which form of Grad-CAM of what ``aim`` names, and its map: (h, w), the feature maps' size, 0 or more. None for a model without feature
    maps.
    """
    batch = task.collate([parts.item]).to(device)
    pixels = batch.inputs["pixel_values"] = batch.inputs["pixel_values"].clone().requires_grad_()
    found = map_activation(model, lambda: aim.score(task.logits_of(model, batch).float(), batch))
    if found is not None:
        return "HiResCAM", _of_picture(found[0], pixels.shape[-2:], parts.places.shape)
    found = grad_cam(model, pixels.detach(), lambda logits_BC: aim.score(logits_BC, batch))
    return None if found is None else ("Grad-CAM", found[0])


def _of_picture(heat_hw: np.ndarray, canvas: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The part of a canvas's map that lies over the picture of ``size`` (height, width) in its upper left corner."""
    whole = torch.from_numpy(np.ascontiguousarray(heat_hw))[None, None]
    large = torch.nn.functional.interpolate(whole, size=tuple(canvas), mode="bilinear")[..., : size[0], : size[1]]
    rows, columns = (math.ceil(own * cell / side) for own, cell, side in zip(size, heat_hw.shape, canvas, strict=True))
    return torch.nn.functional.adaptive_avg_pool2d(large, (rows, columns))[0, 0].numpy()
