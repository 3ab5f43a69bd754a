"""Activations that are computed again in the backward pass (``--activation-checkpointing``), wherever the models stand that can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from pretune.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["recompute_activations"]


def recompute_activations(model: nn.Module) -> None:
    """Let all that learns inside ``model`` keep no activations. Raises :class:`UsageError` where nothing of it can."""
    able = [one for one in _outermost(model) if one.supports_gradient_checkpointing]
    learning = [one for one in able if any(weight.requires_grad for weight in one.parameters())]
    if not learning:
        raise UsageError(
            "--activation-checkpointing does nothing for this model: its architecture cannot compute its layers again",
            "leave it out; --micro-batch-size and --max-tokens take less memory too",
        )
    for one in learning:
        one.gradient_checkpointing_enable({"use_reentrant": False})


def _outermost(module: nn.Module) -> list[PreTrainedModel]:
    """Models of transformers that stand in no other."""
    from transformers import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        return [module]
    return [model for child in module.children() for model in _outermost(child)]
