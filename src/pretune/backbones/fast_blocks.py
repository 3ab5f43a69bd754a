"""The two blocks of a BERT layer with their backward pass written out: attention, and the feed-forward block.

Each is one node of autograd in place of some thirty: an activation is cast to bf16 once and not for every product that
reads it, query, key and value are one product, and no intermediate is kept twice. Sums, norms and the residual stay fp32.

Shapes: B rows, T tokens, N = B * T, H width, A heads, D = H / A, F inner width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from pretune.backbones.dropout import keep_mask, kept_scale, random_keep_mask

__all__ = ["AttentionBlock", "BlockPlan", "FeedForwardBlock"]

Tensor = torch.Tensor


class BlockPlan(NamedTuple):
    """What a block does beside its weights. ``dtype`` is that of the matrix products; dropouts are probabilities, 0 for none."""

    dtype: torch.dtype
    eps: float
    dropout: float
    heads: int = 1
    scale: float = 1.0
    attention_dropout: float = 0.0


class AttentionBlock(torch.autograd.Function):
    """LayerNorm(x + dropout(attention(x))) (Vaswani et al. 2017, section 3.2; post-norm, as in BERT)."""

    @staticmethod
    def forward(ctx: Any, plan: BlockPlan, x_BTH: Tensor, mask: Tensor | None, *weights: Tensor) -> Tensor:
        """``mask`` is added to the scores (B, A, T, T) in fp32; ``weights``: query, key, value (weight, bias), output, norm."""
        b, t, h = x_BTH.shape
        with torch.autocast("cpu", enabled=False):
            x_NH = x_BTH.reshape(b * t, h)
            x = x_NH.to(plan.dtype)
            qkv_w = torch.cat([w.to(plan.dtype) for w in weights[0:6:2]])
            qkv_b = torch.cat([w.to(plan.dtype) for w in weights[1:6:2]])
            heads = _split(functional.linear(x, qkv_w, qkv_b), 3, b, plan.heads)
            chances, keep, mixed = _attend(plan, heads, mask, b)
            merged_NH = _merge(mixed[None], b)
            out_w = weights[6].to(plan.dtype)
            y_NH = functional.linear(merged_NH, out_w, weights[7].to(plan.dtype))
            out_NH, norm = _add_and_norm(plan, x_NH, y_NH, weights[8], weights[9])
        ctx.plan, ctx.rows = plan, b
        ctx.save_for_backward(x, qkv_w, heads, chances, keep, merged_NH, out_w, weights[8], weights[9], *norm)
        return out_NH.view(b, t, h)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients in the order of :meth:`forward`'s arguments, in fp32."""
        x, qkv_w, heads, chances, keep, merged_NH, out_w, norm_w, norm_b, *norm = ctx.saved_tensors
        needs = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            residual_NH, d_y, d_norm = _norm_backward(ctx.plan, grad_BTH, norm_w, norm_b, norm)
            d_out = _linear_backward(d_y, merged_NH, needs[9], needs[10])
            d_heads = _attend_backward(
                ctx.plan, heads, chances, keep, _split(d_y @ out_w, 1, ctx.rows, ctx.plan.heads)[0]
            )
            d_qkv = _merge(d_heads, ctx.rows)
            d_w, d_b = _linear_backward(d_qkv, x, any(needs[3:9:2]), any(needs[4:9:2]))
            d_x = residual_NH.add_(d_qkv @ qkv_w).view(grad_BTH.shape) if needs[1] else None
        ws = (None,) * 3 if d_w is None else d_w.chunk(3)
        bs = (None,) * 3 if d_b is None else d_b.chunk(3)
        return None, d_x, None, ws[0], bs[0], ws[1], bs[1], ws[2], bs[2], *d_out, *d_norm


class FeedForwardBlock(torch.autograd.Function):
    """LayerNorm(x + dropout(W2 gelu(W1 x))), post-norm, as in BERT."""

    @staticmethod
    def forward(ctx: Any, plan: BlockPlan, x_BTH: Tensor, *weights: Tensor) -> Tensor:
        """``weights``: inner (weight, bias), outer, norm."""
        with torch.autocast("cpu", enabled=False):
            x_NH = x_BTH.reshape(-1, x_BTH.shape[-1])
            x = x_NH.to(plan.dtype)
            inner_w, outer_w = weights[0].to(plan.dtype), weights[2].to(plan.dtype)
            inner_NF = functional.linear(x, inner_w, weights[1].to(plan.dtype))
            active_NF = functional.gelu(inner_NF)
            y_NH = functional.linear(active_NF, outer_w, weights[3].to(plan.dtype))
            out_NH, norm = _add_and_norm(plan, x_NH, y_NH, weights[4], weights[5])
        ctx.plan = plan
        ctx.save_for_backward(x, inner_w, outer_w, inner_NF, active_NF, weights[4], weights[5], *norm)
        return out_NH.view(x_BTH.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients in the order of :meth:`forward`'s arguments, in fp32."""
        x, inner_w, outer_w, inner_NF, active_NF, norm_w, norm_b, *norm = ctx.saved_tensors
        needs = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            residual_NH, d_y, d_norm = _norm_backward(ctx.plan, grad_BTH, norm_w, norm_b, norm)
            d_outer = _linear_backward(d_y, active_NF, needs[4], needs[5])
            d_inner_NF = torch.ops.aten.gelu_backward(d_y @ outer_w, inner_NF)
            d_inner = _linear_backward(d_inner_NF, x, needs[2], needs[3])
            d_x = residual_NH.add_(d_inner_NF @ inner_w).view(grad_BTH.shape) if needs[1] else None
        return None, d_x, *d_inner, *d_outer, *d_norm


def _split(flat_N: Tensor, parts: int, rows: int, heads: int) -> Tensor:
    """(N, parts * H) to (parts, B * A, T, D)."""
    tokens, size = len(flat_N) // rows, flat_N.shape[1] // (parts * heads)
    return flat_N.view(rows, tokens, parts, heads, size).permute(2, 0, 3, 1, 4).reshape(parts, -1, tokens, size)


def _merge(split: Tensor, rows: int) -> Tensor:
    """The way back from :func:`_split`: (parts, B * A, T, D) to (N, parts * H)."""
    parts, both, tokens, size = split.shape
    heads = both // rows
    return split.view(parts, rows, heads, tokens, size).permute(1, 3, 0, 2, 4).reshape(rows * tokens, -1)


def _attend(plan: BlockPlan, heads: Tensor, mask: Tensor | None, rows: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Attention weights before dropout (B * A, T, T), what dropout kept, and the values they mix (B * A, T, D).

    Scores are scaled, masked and normalised in fp32. The scale of what was kept goes to the mixed values, which are fewer.
    """
    query, key, value = heads
    products = torch.bmm(query, key.transpose(1, 2))
    by_row = products.view(rows, -1, *products.shape[1:])
    scores = by_row.float() * plan.scale if mask is None else torch.add(mask, by_row, alpha=plan.scale)
    chances = torch.softmax(scores, dim=-1).to(plan.dtype).view(products.shape)
    if not plan.attention_dropout:
        return chances, None, torch.bmm(chances, value)
    keep = keep_mask(chances.shape, plan.attention_dropout, plan.dtype)
    return chances, keep, torch.bmm(chances * keep, value).mul_(kept_scale(plan.attention_dropout))


def _attend_backward(plan: BlockPlan, heads: Tensor, chances: Tensor, keep: Tensor | None, d_mixed: Tensor) -> Tensor:
    """Gradients of query, key and value, stacked like ``heads``."""
    query, key, value = heads
    if keep is not None:
        d_mixed = d_mixed.mul_(kept_scale(plan.attention_dropout))
    d_heads = torch.empty_like(heads)
    torch.bmm((chances if keep is None else chances * keep).transpose(1, 2), d_mixed, out=d_heads[2])
    d_chances = torch.bmm(d_mixed, value.transpose(1, 2))
    if keep is not None:
        d_chances.mul_(keep)
    d_scores = torch.ops.aten._softmax_backward_data(d_chances, chances, -1, chances.dtype)
    torch.bmm(d_scores, key, out=d_heads[0])
    torch.bmm(d_scores.transpose(1, 2), query, out=d_heads[1])
    d_heads[:2].mul_(plan.scale)
    return d_heads


def _add_and_norm(
    plan: BlockPlan, x_NH: Tensor, y_NH: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """LayerNorm(x + dropout(y)) in fp32, and what its backward pass needs."""
    keep = random_keep_mask(y_NH.shape, plan.dropout, torch.float32) if plan.dropout else None
    summed = x_NH + y_NH.float() if keep is None else torch.addcmul(x_NH, y_NH.float(), keep)
    out, mean, spread = torch.native_layer_norm(summed, [summed.shape[1]], weight, bias, plan.eps)
    return out, (summed, mean, spread, keep)


def _norm_backward(
    plan: BlockPlan, grad_BTH: Tensor, weight: Tensor, bias: Tensor, saved: list[Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Gradients of x (fp32, to be added to), of y (in the products' dtype) and of the norm's weight and bias."""
    summed, mean, spread, keep = saved
    grad_NH = grad_BTH.reshape(summed.shape)
    d_sum, d_weight, d_bias = torch.ops.aten.native_layer_norm_backward(
        grad_NH, summed, [summed.shape[1]], mean, spread, weight, bias, [True, True, True]
    )
    d_y = d_sum if keep is None else d_sum * keep
    return d_sum, d_y.to(plan.dtype), (d_weight, d_bias)


def _linear_backward(
    grad_NO: Tensor, x_NI: Tensor, needs_weight: bool, needs_bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a linear layer's weight and bias, in fp32; None for what does not learn."""
    weight = (grad_NO.t() @ x_NI).float() if needs_weight else None
    return weight, grad_NO.sum(0).float() if needs_bias else None
