"""A model that works in another way for a while, and afterwards as it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["attending_plainly", "evaluating"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within, as a model that learns is asked for answers: no dropout, no statistics of the batch. Afterwards, also after an error, every part has the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def attending_plainly(model: Any) -> Iterator[None]:
    """Attention written out as matrix products within, where the model has a choice; afterwards, also after an error, as it was."""
    config: Any = getattr(model, "config", None)
    before = getattr(config, "_attn_implementation", None)
    if before is None or not hasattr(model, "set_attn_implementation"):
        yield
        return
    parts = {name: getattr(getattr(config, name, None), "_attn_implementation", None) for name in config.sub_configs}
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        named = {name: own for name, own in parts.items() if own is not None}
        model.set_attn_implementation({"": before, **named} if named else before)
