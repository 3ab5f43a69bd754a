"""A model that learns as if it computed in 8 bits: weights and activations are rounded, gradients pass straight through
(Jacob et al. 2018, arXiv 1712.05877, section 3; Bengio et al. 2013, arXiv 1308.3432).

Weights are rounded to int8 with a scale for each output channel, as the quantised graph will hold them. What a layer reads is
rounded to uint8: by the range of that batch (``dynamic``), or by a moving average of ranges that is kept and handed to the
graph (``static``). Batch norms are folded into the convolutions before them first, since the graph will have them folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import nn
from torch.nn.utils import parametrize

from pretune.backbones.adaptation.modes import evaluating

__all__ = ["Rounding", "convolves", "fold_norms"]

LARGEST = 127
LEVELS = 255
AVERAGING = 0.01
"""Share of a batch in the moving range. Jacob et al. (section 3.1) average over thousands of steps; there are hundreds here."""


def convolves(model: nn.Module) -> bool:
    """Does most of the model's arithmetic happen in convolutions over pictures?"""
    sizes = {kind: sum(one.weight.numel() for one in _layers(model, kind)) for kind in (nn.Conv2d, nn.Linear)}
    return sizes[nn.Conv2d] > sizes[nn.Linear]


def fold_norms(model: nn.Module, run: Callable[[], Any]) -> int:
    """Fold every batch norm that reads a convolution's output into it, in place; returns how many. ``run`` answers a batch."""
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    made: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []
    held: list[torch.Tensor] = []  # an output that is forgotten could lend its id to another

    def after(module: Any, _inputs: Any, output: torch.Tensor) -> None:
        held.append(output)
        made[id(output)] = module

    def before(module: Any, inputs: Any) -> None:
        if id(inputs[0]) in made and module.running_mean is not None:
            pairs.append((made[id(inputs[0])], module))

    handles = [one.register_forward_hook(after) for one in _layers(model, nn.Conv2d)]
    handles += [one.register_forward_pre_hook(before) for one in model.modules() if isinstance(one, _BatchNorm)]
    try:
        with evaluating(model), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    names = {id(module): name for name, module in model.named_modules()}
    for convolution, norm in pairs:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        convolution.bias.requires_grad_()  # it may not have had one that learned
        holder, _, own = names[id(norm)].rpartition(".")
        setattr(model.get_submodule(holder), own, _what_is_left(norm))
    return len(pairs)


def _what_is_left(norm: nn.Module) -> nn.Module:
    """A norm of timm holds the activation after it too."""
    rest = [getattr(norm, name) for name in ("drop", "act") if isinstance(getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*rest) if rest else nn.Identity()


@final
class Rounding:
    """Rounds the layers of ``model`` (linear ones and convolutions over pictures) while it learns; :meth:`finish` ends that.

    ``keep_float`` names modules that stay as they are. ``static``: ranges of activations are averaged while the model is in
    training mode, kept as buffers (a checkpoint holds them) and read by :meth:`ranges`.
    """

    def __init__(self, model: nn.Module, *, static: bool, keep_float: tuple[str, ...] = ()) -> None:
        self.static = static
        self.layers = {
            name: module
            for kind in (nn.Conv2d, nn.Linear)
            for name, module in model.named_modules()
            if isinstance(module, kind) and not _is_kept(name, keep_float)
        }
        self._handles = []
        for module in self.layers.values():
            device = module.weight.device
            if static:
                module.register_buffer("low", torch.tensor(float("inf"), device=device))
                module.register_buffer("high", torch.tensor(float("-inf"), device=device))
            parametrize.register_parametrization(module, "weight", _RoundedWeight())
            self._handles.append(module.register_forward_pre_hook(self._rounded))

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The kept range of what each layer reads, by the layer's name; of dynamic ones nothing."""
        if not self.static:
            return {}
        return {name: (float(layer.low), float(layer.high)) for name, layer in self.layers.items()}  # type: ignore[arg-type]

    def finish(self) -> None:
        """Leave plain layers whose weights are the rounded ones, as float32."""
        for handle in self._handles:
            handle.remove()
        for module in self.layers.values():
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            if self.static:
                del module.low, module.high

    def _rounded(self, module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        values = inputs[0].float()
        low, high = (one.detach() for one in values.aminmax())
        if self.static:
            if module.training:
                fresh = torch.isinf(module.low)
                for kept, now in ((module.low, low), (module.high, high)):
                    kept.copy_(torch.where(fresh, now, kept + AVERAGING * (now - kept)))
            low, high = module.low, module.high
        return (_round_activation(values, low, high), *inputs[1:])


class _RoundedWeight(nn.Module):
    """Weights (O, ...) on 255 levels around zero, an own scale for each of the O output channels."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        most_O = weight.detach().float().flatten(1).abs().amax(dim=1).clamp(min=1e-12)
        zeros_O = torch.zeros_like(most_O, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight.float(), most_O / LARGEST, zeros_O, 0, -LARGEST, LARGEST)


def _round_activation(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """On 256 levels from ``low`` to ``high``, zero being one of them; beyond them no gradient passes."""
    if torch.isinf(low):
        return values  # nothing was observed yet
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / LEVELS).clamp(min=1e-12)
    zero = (-low / scale).round().clamp(0, LEVELS).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, LEVELS)


def _layers(model: nn.Module, kind: type) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, kind))


def _is_kept(name: str, keep_float: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in keep_float)
