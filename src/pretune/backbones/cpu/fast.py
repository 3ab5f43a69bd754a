"""The same mathematics, arranged for a processor: dropout masks from random bytes, attention by plain matrix products,
BERT's layers as two blocks.

Measured on two cores (``make bench`` prints them again; docs/decisions.md, D9, D66): torch's Bernoulli mask takes 4 times longer
than ours, and the backward pass of its fused attention on a CPU takes several times longer than two matrix products for
the short rows of text. Both are drawn from, and equal in distribution to, what they replace: dropout's probability is
rounded to 1/256 and the kept values are scaled by the rounded one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from pretune.backbones.cpu.dropout import FastDropout, random_keep_mask
from pretune.backbones.cpu.layer import LONGEST, take_over_layers

__all__ = ["ATTENTION", "FastDropout", "make_fast"]

ATTENTION = "pretune_cpu"
_EXPLICIT_UP_TO_TOKENS = LONGEST
_LARGE_TABLE = 1 << 20


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) with transformers' signature.

    ``query``, ``key``, ``value``: (B, heads, T, size); ``attention_mask`` and ``position_bias`` are added to the scores. Returns (B, T, heads, size).
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    plain = query.shape[1] == key.shape[1] and query.shape[2] <= _EXPLICIT_UP_TO_TOKENS
    if not (plain and torch.is_grad_enabled()):
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            position_bias=position_bias,
            **options,
        )
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scale, key.transpose(2, 3))
    for added in (attention_mask, position_bias):
        scores = scores if added is None else scores + added
    weights = torch.softmax(scores, dim=-1)
    if dropout and module.training:
        weights = weights * random_keep_mask(weights.shape, dropout, weights.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


def make_fast(model: nn.Module, *, dropout: bool = True) -> nn.Module:
    """Change ``model`` in place, on a CPU; its parameters and their names stay. Returns it. ``dropout`` False leaves dropout as it is, which
    functorch can map over rows.
    """
    if dropout:
        _replace_dropout(model)
    _grouped_in_fp32(model)
    _sparse_tables(model)
    for inner in _library_models(model):
        if getattr(inner, "_supports_attention_backend", False) and getattr(inner, "_supports_sdpa", False):
            _register()
            inner.set_attn_implementation(ATTENTION)  # type: ignore[operator]
            take_over_layers(inner)
    return model


def _library_models(module: nn.Module) -> Iterator[nn.Module]:
    """The module if it is a model of transformers, else those outermost in it (an objective's own heads hold one)."""
    if hasattr(module, "set_attn_implementation"):
        yield module
    else:
        for child in module.children():
            yield from _library_models(child)


def _grouped_in_fp32(model: nn.Module) -> None:
    """Grouped convolutions over time leave bf16: torch 2.15's answer on a processor is another one (not rounding), and its
    gradient may be NaN. wav2vec 2.0's positions are such a convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d) and module.groups > 1:
            module.__dict__["forward"] = partial(_in_fp32, module.forward)


def _sparse_tables(model: nn.Module) -> None:
    """Large embedding tables get gradients of the rows that were read. One that is also a layer's weight gets whole ones."""
    holders = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight.numel() >= _LARGE_TABLE:
            module.sparse = holders[id(module.weight)] == 1


def _in_fp32(forward: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    with torch.autocast(values.device.type, enabled=False):
        return forward(values.float())


def _replace_dropout(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, FastDropout(child.p))
        else:
            _replace_dropout(child)


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
