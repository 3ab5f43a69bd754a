"""Models of transformers as ``torch.func.vmap`` can map them over rows, for gradients of single rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["make_mappable"]

_ATTENTION = "pretune_by_row"


def make_mappable(model: nn.Module) -> nn.Module:
    """Change ``model`` in place: masks of attention are always made, where transformers looks first whether anything is padded, which
    no map over rows can follow. What it computes stays, as do its parameters. Returns it.
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(_ATTENTION, sdpa_attention_forward)
    AttentionMaskInterface.register(_ATTENTION, _whole_mask)
    for inner in model.modules():
        if getattr(inner, "_supports_attention_backend", False) and getattr(inner, "_supports_sdpa", False):
            inner.set_attn_implementation(_ATTENTION)  # type: ignore[operator]
    return model


def _whole_mask(*given: Any, **named: Any) -> torch.Tensor:
    """The mask as numbers that are added to scores, never left out."""
    from transformers.masking_utils import eager_mask

    skips = {"allow_is_bidirectional_skip": False, "allow_is_causal_skip": False}
    mask = eager_mask(*given, **{**named, **skips})
    assert mask is not None, "a mask that may not be skipped was"
    return mask
