"""The loss of tokens that are written, with its gradient in one pass over the logits, which are made at these tokens alone.

Shapes: M target tokens, P places that the head is run at, V tokens of the vocabulary; B items of a batch, L tokens written, H numbers of
a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["filled", "head_at", "token_losses"]

_BLOCK = 64


def token_losses(logits_MV: torch.Tensor, targets_M: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Cross entropy of each token (M,), a share ``smoothing`` of each target spread over all tokens (Szegedy et al. 2016, section 7):
    what ``torch.nn.functional.cross_entropy`` gives, with one tensor of the logits' size in place of four."""
    return _Smoothed.apply(logits_MV.float(), targets_M, smoothing)  # type: ignore[no-any-return]


class _Smoothed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_MV: torch.Tensor, targets_M: torch.Tensor, smoothing: float) -> torch.Tensor:
        top_M1 = logits_MV.amax(dim=1, keepdim=True)
        shares_MV = torch.sub(logits_MV, top_M1).exp_()
        sums_M1 = shares_MV.sum(dim=1, keepdim=True)
        entropy_M = (sums_M1.log() + top_M1)[:, 0]
        losses_M = entropy_M - (1 - smoothing) * logits_MV.gather(1, targets_M[:, None])[:, 0]
        if smoothing:
            losses_M = losses_M - smoothing * logits_MV.mean(dim=1)
        ctx.save_for_backward(shares_MV, sums_M1, targets_M)
        ctx.smoothing = smoothing
        return losses_M

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        shares_MV, sums_M1, targets_M = ctx.saved_tensors
        grad_M1 = grads[0][:, None]
        found_MV = shares_MV * (grad_M1 / sums_M1)
        if ctx.smoothing:
            found_MV.sub_(grad_M1 * (ctx.smoothing / shares_MV.shape[1]))
        found_MV.scatter_add_(1, targets_M[:, None], -(1 - ctx.smoothing) * grad_M1)
        return found_MV, None, None


@contextmanager
def head_at(model: torch.nn.Module, places_P: torch.Tensor) -> Iterator[None]:
    """Within, the vocabulary head is given the states (B, L, H) at these places of the flattened B * L alone: its logits are (P, V)."""
    head: torch.nn.Module = model.get_output_embeddings()  # type: ignore[operator]
    handle = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, 1)[places_P],))
    try:
        yield
    finally:
        handle.remove()


def filled(places_M: torch.Tensor) -> torch.Tensor:
    """The places, the first again and again behind them up to a multiple of 64: kernels are made for few sizes then (docs/decisions.md, D63)."""
    return torch.cat([places_M, places_M[:1].expand(-len(places_M) % _BLOCK)])
