"""The loss of tokens that are written, with its gradient in one pass over the logits.

Shapes: M target tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["token_losses"]


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
