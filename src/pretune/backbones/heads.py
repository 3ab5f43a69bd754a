"""The vocabulary head at chosen positions alone, whatever head the architecture has; in pieces where its logits would be large.

Shapes: B rows, T tokens, M chosen positions of the flattened B * T, m of a piece of them, H hidden size, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pretune.types import Batch

__all__ = ["IGNORED", "heads_at", "in_blocks", "token_losses", "uncached"]


@contextmanager
def heads_at(model: torch.nn.Module, positions_M: torch.Tensor) -> Iterator[None]:
    """Within, the encoder's output (B, T, H) reaches the head as (1, M, H): only ``positions_M`` of the flattened B * T."""

    def gather(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0]
        picked = hidden.reshape(-1, hidden.shape[-1])[positions_M][None]
        if isinstance(output, tuple):
            return (picked, *output[1:])
        output["last_hidden_state"] = picked
        return output

    base = getattr(model, model.base_model_prefix)  # type: ignore[arg-type]
    handle = base.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()


IGNORED = -100
"""The target of a place that was filled in."""

_BLOCK = 64


def in_blocks(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Masked positions and targets, filled up to a multiple of 64 with places that are ignored.

    The processor's library compiles and keeps a kernel for each shape it meets: a new number of masked tokens at every
    update would cost time and gigabytes.
    """
    assert batch.targets is not None
    fill = -len(batch.targets) % _BLOCK
    positions_M = functional.pad(batch.extras["positions"], (0, fill))
    return positions_M, functional.pad(batch.targets, (0, fill), value=IGNORED)


_MOST_LOGITS = 1 << 25
"""Numbers of one piece of logits: 128 MiB, and as much again for their gradient."""


def token_losses(
    model: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    positions_M: torch.Tensor,
    targets_M: torch.Tensor,
    *,
    most_logits: int = _MOST_LOGITS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cross entropy (M,) of each target at its position, and whether it was the likeliest token, bool (M,).

    Where M x V numbers would be more than ``most_logits``, the head runs over pieces whose logits are made again in the backward pass.
    A graph has no head of its own: it says all logits of as many rows at once.
    """
    if not hasattr(model, "base_model_prefix"):
        return _graph_losses(model, inputs, positions_M, targets_M, most_logits)
    size = max(_BLOCK, most_logits // int(model.config.vocab_size))  # type: ignore[union-attr, arg-type]
    if len(positions_M) <= size:
        with heads_at(model, positions_M):
            return _scored(model(**inputs, **uncached(model)).logits[0], targets_M)
    states_MH = _body(model)(**inputs, **uncached(model))[0]
    states_MH = states_MH.reshape(-1, states_MH.shape[-1])[positions_M]
    pieces = zip(states_MH.split(size), targets_M.split(size), strict=True)
    found = [
        checkpoint(_head_losses, model, states_mH, targets_m, use_reentrant=False) for states_mH, targets_m in pieces
    ]
    losses, right = zip(*found, strict=True)  # type: ignore[arg-type]
    return torch.cat(losses), torch.cat(right)


def _graph_losses(
    graph: torch.nn.Module, inputs: Mapping[str, torch.Tensor], positions_M: torch.Tensor, targets_M: torch.Tensor, most_logits: int
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    count, width = inputs["input_ids"].shape
    together = max(1, most_logits // (width * int(graph.width or 1)))  # type: ignore[arg-type]
    losses_M, right_M = torch.zeros(len(targets_M)), torch.zeros(len(targets_M), dtype=torch.bool)
    for start in range(0, count, together):
        logits = graph(**{name: value[start : start + together] for name, value in inputs.items()}).logits.flatten(0, 1)
        mine_M = (positions_M >= start * width) & (positions_M < (start + together) * width)
        losses_M[mine_M], right_M[mine_M] = _scored(logits[positions_M[mine_M] - start * width], targets_M[mine_M])
    return losses_M, right_M


def uncached(model: torch.nn.Module) -> dict[str, Any]:
    """The argument that keeps a model from remembering keys and values for the next token, where it has one."""
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def _body(model: torch.nn.Module) -> torch.nn.Module:
    return getattr(model, model.base_model_prefix)  # type: ignore[arg-type]


def _head_losses(
    model: torch.nn.Module, states_mH: torch.Tensor, targets_m: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The model's own head on these states: its body is stood in for by them."""
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    body = _body(model)
    before = body.__dict__.get("forward")
    body.__dict__["forward"] = lambda *_, **__: BaseModelOutputWithPastAndCrossAttentions(
        last_hidden_state=states_mH[None]
    )  # type: ignore[arg-type]
    try:
        return _scored(model(inputs_embeds=states_mH[None], **uncached(model)).logits[0], targets_m)
    finally:
        del body.__dict__["forward"]
        if before is not None:
            body.__dict__["forward"] = before


def _scored(logits_mV: torch.Tensor, targets_m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    losses_m = functional.cross_entropy(logits_mV.float(), targets_m, reduction="none", ignore_index=IGNORED)
    return losses_m, logits_mV.detach().argmax(-1) == targets_m
