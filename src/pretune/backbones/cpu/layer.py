"""BERT's layer (and RoBERTa's, ELECTRA's, ERNIE's: the same names and mathematics) run by two blocks while it learns.

A layer is taken over only when its parts have the expected names and types *and* both ways give equal results on a probe;
all others stay as they are. Weights and their names do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import torch
from torch import nn

from pretune.backbones.adaptation.lora import is_low_rank
from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.cpu.blocks import AttentionBlock, BlockPlan, FeedForwardBlock, FirstAttentionBlock
from pretune.backbones.cpu.dropout import FastDropout

__all__ = ["LONGEST", "shorten_last_layer", "take_over_layers"]

LONGEST = 512
"""Above this length the quadratic score matrix costs more than the fused kernel's slow backward pass."""

_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_DROPOUTS = ("attention.self.dropout", "attention.output.dropout", "output.dropout")
_INNER = ("attention", "attention.self", "attention.output", "intermediate", "output", *_LINEARS, *_NORMS)
_CLOSE = 1e-4
_FIRST_ONLY = "pretune_first_only"
_CLOSE_LOGITS = 2e-2
"""Largest difference of logits, over their spread: bf16 sums of another order stay well below."""


def take_over_layers(model: nn.Module) -> int:
    """Let every layer of the known kind run by the blocks; returns how many do. Dropouts must be fast ones already."""
    layers = [module for module in model.modules() if _has_parts(module) and _agrees(module)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def shorten_last_layer(model: nn.Module, forward: Callable[[], torch.Tensor]) -> bool:
    """Where the answer reads the last layer's first position alone (BERT's pooler), let that layer learn by it alone.

    The other positions of its output have no gradient; what they cost is saved: a part of one layer's attention and all
    but 1/T of its feed-forward block. ``forward()`` gives the logits (B, C) of some rows without dropout, in the model's
    way to learn (with gradients); it is called three times. Returns whether the layer was changed.
    """
    layers = [module for module in model.modules() if getattr(module.forward, "__func__", None) is _forward]
    if not layers:
        return False
    plain, last = forward(), layers[-1]

    def spoil(_layer: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.cat((output[:, :1], torch.full_like(output[:, 1:], float("nan"))), dim=1)

    handle = last.register_forward_hook(spoil)
    try:
        read = bool(forward().isnan().any())
    finally:
        handle.remove()
    if read or plain.isnan().any():
        return False
    setattr(last, _FIRST_ONLY, True)
    spread = max(float(plain.abs().max()), 1e-6)
    if float((forward() - plain).abs().max()) / spread < _CLOSE_LOGITS:
        return True
    delattr(last, _FIRST_ONLY)
    return False


def _part(layer: nn.Module, name: str) -> Any:
    for step in name.split("."):
        layer = cast(nn.Module, getattr(layer, step, None))
    return layer


def _has_parts(layer: nn.Module) -> bool:
    """Are all parts there, of the very types that the blocks compute, and is nobody listening inside?"""
    kinds = {**dict.fromkeys(_LINEARS, nn.Linear), **dict.fromkeys(_NORMS, nn.LayerNorm), **dict.fromkeys(_DROPOUTS, FastDropout)}  # fmt: skip
    if any(not _is_a(_part(layer, name), kind) for name, kind in kinds.items()):
        return False
    inner = [_part(layer, name) for name in _INNER]
    heard = any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in inner)
    told = [
        getattr(_part(layer, "attention.self"), "num_attention_heads", None),
        _part(layer, "intermediate.dense").bias,
    ]
    return not heard and None not in told and not getattr(layer, "is_decoder", False)


def _is_a(part: Any, kind: type[nn.Module]) -> bool:
    """Of this very type, or with weights that are adapted by low rank: a block reads the adapted ones, and gives them their gradients."""
    return type(part) is kind or (isinstance(part, kind) and is_low_rank(part))


def _agrees(layer: nn.Module) -> bool:
    """Do the blocks give what the layer's own code gives, on a small batch with a masked token?"""
    width = _part(layer, "attention.output.LayerNorm").normalized_shape[0]
    x_BTH = torch.sin(torch.arange(2 * 3 * width, dtype=torch.float32).square()).view(2, 3, width)
    mask = torch.zeros(2, 1, 3, 3)
    mask[1, ..., 2] = torch.finfo(torch.float32).min
    try:
        with evaluating(layer), torch.no_grad():
            plain, ours = type(layer).forward(layer, x_BTH, mask), _run(layer, x_BTH, mask)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        return False
    return isinstance(plain, torch.Tensor) and torch.allclose(plain, ours, atol=_CLOSE, rtol=_CLOSE) and _is_gelu(layer)


def _is_gelu(layer: nn.Module) -> bool:
    """The exact function, not one of its approximations, which a layer's output hardly shows."""
    points = torch.linspace(-4, 4, 65)
    return torch.allclose(layer.intermediate.intermediate_act_fn(points), nn.functional.gelu(points), atol=1e-6)  # type: ignore[union-attr,operator]


def _forward(
    layer: nn.Module,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *rest: Any,
    **options: Any,
) -> Any:
    """The layer's forward. Without gradients, for long rows or unknown arguments its own code runs."""
    masked = attention_mask is None or (attention_mask.ndim == 4 and attention_mask.dtype == torch.float32)
    alone = all(value is None for value in rest) and options.get("past_key_values") is None
    short = hidden_states.shape[1] <= LONGEST and hidden_states.device.type == "cpu"
    if torch.is_grad_enabled() and masked and alone and short and _has_parts(layer):
        return _run(layer, hidden_states.float(), attention_mask)
    return type(layer).forward(layer, hidden_states, attention_mask, *rest, **options)


def _run(layer: nn.Module, x_BTH: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    attention, size = _part(layer, "attention.self"), _part(layer, "attention.output.LayerNorm").normalized_shape[0]
    heads = attention.num_attention_heads
    first = BlockPlan(
        dtype=dtype,
        eps=_part(layer, "attention.output.LayerNorm").eps,
        dropout=_part(layer, "attention.output.dropout").rate,
        heads=heads,
        scale=getattr(attention, "scaling", None) or (size // heads) ** -0.5,
        attention_dropout=attention.dropout.rate,
    )
    second = BlockPlan(dtype, _part(layer, "output.LayerNorm").eps, _part(layer, "output.dropout").rate)
    block = FirstAttentionBlock if getattr(layer, _FIRST_ONLY, False) else AttentionBlock
    middle = block.apply(first, x_BTH, mask, *_weights(layer, *_LINEARS[:4], _NORMS[0]))
    return FeedForwardBlock.apply(second, middle, *_weights(layer, *_LINEARS[4:], _NORMS[1]))  # type: ignore[return-value]


def _weights(layer: nn.Module, *names: str) -> list[torch.Tensor]:
    parts = [_part(layer, name) for name in names]
    return [tensor for part in parts for tensor in (part.weight, part.bias)]
