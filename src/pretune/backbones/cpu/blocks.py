"""The blocks of a BERT layer with their backward pass written out: attention (also for the first position alone), and the
feed-forward block.

Each is one node of autograd in place of some thirty: an activation is cast to bf16 once and not for every product that
reads it, query, key and value are one product, and no intermediate is kept twice. Sums, norms and the residual stay fp32.

oneDNN compiles a kernel for each shape of a bf16 product, which takes as long as some runs of it. Products over all tokens
are therefore filled up with rows of zeros to few sizes; nothing of them is left in any sum.

Shapes: B rows, T tokens, N = B * T, M = N filled up, H width, A heads, D = H / A, F inner width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from pretune.backbones.cpu.dropout import keep_mask, surviving_scale

__all__ = ["AttentionBlock", "BlockPlan", "FeedForwardBlock", "FirstAttentionBlock"]

Tensor = torch.Tensor

_STEP, _FEW_ROWS = 128, 64


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
            x_MH = _filled(x_NH, plan.dtype)
            qkv_w, qkv_b = _stacked(weights[0:6:2], plan.dtype), _stacked(weights[1:6:2], plan.dtype)
            heads = _split(functional.linear(x_MH, qkv_w, qkv_b)[: b * t], 3, b, plan.heads)
            query, key, value = heads
            chances, keep, kept, mixed = _attend(plan, query, key, value, mask, b)
            merged_MH = _merge(mixed[None], b)
            out_w = weights[6].to(plan.dtype)
            y_NH = functional.linear(merged_MH, out_w, weights[7].to(plan.dtype))[: b * t]
            out_NH, norm = _add_and_norm(plan, x_NH, y_NH, weights[8], weights[9])
        ctx.plan, ctx.rows = plan, b
        ctx.save_for_backward(x_MH, qkv_w, heads, chances, keep, kept, merged_MH, out_w, weights[8], weights[9], *norm)
        return out_NH.view(b, t, h)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients in the order of :meth:`forward`'s arguments, in fp32."""
        x_MH, qkv_w, heads, chances, keep, kept, merged_MH, out_w, norm_w, norm_b, *norm = ctx.saved_tensors
        needs = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            residual_NH, d_y, d_norm = _norm_backward(ctx.plan, grad_BTH, norm_w, norm_b, norm)
            d_out = _linear_backward(d_y, merged_MH, needs[9], needs[10])
            d_mixed = _split((d_y @ out_w)[: len(residual_NH)], 1, ctx.rows, ctx.plan.heads)[0]
            d_heads = torch.empty_like(heads)
            query, key, value = heads
            _attend_backward(
                ctx.plan, query, key, value, chances, keep, kept, d_mixed, into=(d_heads[0], d_heads[1], d_heads[2])
            )
            d_qkv = _merge(d_heads, ctx.rows)
            d_w, d_b = _linear_backward(d_qkv, x_MH, any(needs[3:9:2]), any(needs[4:9:2]))
            d_x = None
            if needs[1]:
                d_x = residual_NH.add_((d_qkv @ qkv_w)[: len(residual_NH)]).view(grad_BTH.shape)
        ws = (None,) * 3 if d_w is None else d_w.chunk(3)
        bs = (None,) * 3 if d_b is None else d_b.chunk(3)
        return None, d_x, None, ws[0], bs[0], ws[1], bs[1], ws[2], bs[2], *d_out, *d_norm


class FirstAttentionBlock(torch.autograd.Function):
    """What :class:`AttentionBlock` gives at the first position of each row: all are attended to, one asks."""

    @staticmethod
    def forward(ctx: Any, plan: BlockPlan, x_BTH: Tensor, mask: Tensor | None, *weights: Tensor) -> Tensor:
        """Arguments as of :class:`AttentionBlock`; returns (B, 1, H)."""
        b, t, h = x_BTH.shape
        with torch.autocast("cpu", enabled=False):
            first_BH = x_BTH[:, 0].contiguous()
            x_MH, first = _filled(x_BTH.reshape(b * t, h), plan.dtype), _filled(first_BH, plan.dtype)
            q_w, k_w, v_w = (w.to(plan.dtype) for w in weights[0:6:2])
            q_b, k_b, v_b = (w.to(plan.dtype) for w in weights[1:6:2])
            query = functional.linear(first, q_w, q_b)[:b].view(b * plan.heads, 1, -1)
            key, value = (
                _split(functional.linear(x_MH, w, bias)[: b * t], 1, b, plan.heads)[0]
                for w, bias in ((k_w, k_b), (v_w, v_b))
            )
            asked = None if mask is None else mask[:, :, :1]
            chances, keep, kept, mixed = _attend(plan, query, key, value, asked, b)
            mixed_first = _filled(mixed.view(b, -1), plan.dtype)
            out_w = weights[6].to(plan.dtype)
            y_BH = functional.linear(mixed_first, out_w, weights[7].to(plan.dtype))[:b]
            out_BH, norm = _add_and_norm(plan, first_BH, y_BH, weights[8], weights[9])
        ctx.plan, ctx.shape = plan, x_BTH.shape
        ctx.save_for_backward(
            x_MH, first, q_w, k_w, v_w, query, key, value, chances, keep, kept, mixed_first, out_w, *weights[8:], *norm
        )  # fmt: skip
        return out_BH.view(b, 1, h)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_B1H: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients in the order of :meth:`forward`'s arguments, in fp32."""
        (
            x_MH, first, q_w, k_w, v_w, query, key, value, chances, keep, kept, mixed_first, out_w, norm_w, norm_b, *norm,
        ) = ctx.saved_tensors  # fmt: skip
        needs, (b, t, h) = ctx.needs_input_grad, ctx.shape
        with torch.autocast("cpu", enabled=False):
            residual_BH, d_y, d_norm = _norm_backward(ctx.plan, grad_B1H, norm_w, norm_b, norm)
            d_out = _linear_backward(d_y, mixed_first, needs[9], needs[10])
            d_query, d_key, d_value = (torch.empty_like(each) for each in (query, key, value))
            _attend_backward(
                ctx.plan, query, key, value, chances, keep, kept, (d_y @ out_w)[:b].view(query.shape),
                into=(d_query, d_key, d_value),
            )  # fmt: skip
            d_first = _filled(d_query.view(b, -1), ctx.plan.dtype)
            d_k_MH, d_v_MH = _merge(d_key[None], b), _merge(d_value[None], b)
            d_q = _linear_backward(d_first, first, needs[3], needs[4])
            d_k = _linear_backward(d_k_MH, x_MH, needs[5], needs[6])
            d_v = _linear_backward(d_v_MH, x_MH, needs[7], needs[8])
            d_x = None
            if needs[1]:
                d_x = (d_k_MH @ k_w)[: b * t].float().add_((d_v_MH @ v_w)[: b * t]).view(b, t, h)
                d_x[:, 0] += residual_BH.add_((d_first @ q_w)[:b])
        return None, d_x, None, *d_q, *d_k, *d_v, *d_out, *d_norm


class FeedForwardBlock(torch.autograd.Function):
    """LayerNorm(x + dropout(W2 gelu(W1 x))), post-norm, as in BERT."""

    @staticmethod
    def forward(ctx: Any, plan: BlockPlan, x_BTH: Tensor, *weights: Tensor) -> Tensor:
        """``weights``: inner (weight, bias), outer, norm."""
        with torch.autocast("cpu", enabled=False):
            x_NH = x_BTH.reshape(-1, x_BTH.shape[-1])
            x_MH = _filled(x_NH, plan.dtype)
            inner_w, outer_w = weights[0].to(plan.dtype), weights[2].to(plan.dtype)
            inner_MF = functional.linear(x_MH, inner_w, weights[1].to(plan.dtype))
            active_MF = functional.gelu(inner_MF)
            y_NH = functional.linear(active_MF, outer_w, weights[3].to(plan.dtype))[: len(x_NH)]
            out_NH, norm = _add_and_norm(plan, x_NH, y_NH, weights[4], weights[5])
        ctx.plan = plan
        ctx.save_for_backward(x_MH, inner_w, outer_w, inner_MF, active_MF, weights[4], weights[5], *norm)
        return out_NH.view(x_BTH.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients in the order of :meth:`forward`'s arguments, in fp32."""
        x_MH, inner_w, outer_w, inner_MF, active_MF, norm_w, norm_b, *norm = ctx.saved_tensors
        needs = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            residual_NH, d_y, d_norm = _norm_backward(ctx.plan, grad_BTH, norm_w, norm_b, norm)
            d_outer = _linear_backward(d_y, active_MF, needs[4], needs[5])
            d_inner_MF = torch.ops.aten.gelu_backward(d_y @ outer_w, inner_MF)
            d_inner = _linear_backward(d_inner_MF, x_MH, needs[2], needs[3])
            d_x = None
            if needs[1]:
                d_x = residual_NH.add_((d_inner_MF @ inner_w)[: len(residual_NH)]).view(grad_BTH.shape)
        return None, d_x, *d_inner, *d_outer, *d_norm


def _filled_size(rows: int, dtype: torch.dtype) -> int:
    """M for N = ``rows``: a multiple of 128 up to 2,048 and of an eighth of the next power of two above."""
    if dtype is torch.float32 or rows < _FEW_ROWS:
        return rows
    step = max(_STEP, 1 << (rows - 1).bit_length() >> 4)
    return -(-rows // step) * step


def _filled(x_NH: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, H) in ``dtype`` with zeros below, (M, H)."""
    n, m = len(x_NH), _filled_size(len(x_NH), dtype)
    if n == m:
        return x_NH.to(dtype)
    out_MH = torch.empty((m, x_NH.shape[1]), dtype=dtype)
    out_MH[:n] = x_NH
    out_MH[n:] = 0
    return out_MH


def _stacked(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Tensors of one shape under one another, in ``dtype``."""
    out = torch.empty((len(parts), *parts[0].shape), dtype=dtype)
    for place, part in zip(out, parts, strict=True):
        place.copy_(part)
    return out.flatten(0, 1)


def _split(flat_N: Tensor, parts: int, rows: int, heads: int) -> Tensor:
    """(N, parts * H) to (parts, B * A, T, D)."""
    tokens, size = len(flat_N) // rows, flat_N.shape[1] // (parts * heads)
    return flat_N.view(rows, tokens, parts, heads, size).permute(2, 0, 3, 1, 4).reshape(parts, -1, tokens, size)


def _merge(split: Tensor, rows: int) -> Tensor:
    """The way back from :func:`_split`, filled up: (parts, B * A, T, D) to (M, parts * H)."""
    parts, both, tokens, size = split.shape
    heads, n = both // rows, rows * tokens
    m = _filled_size(n, split.dtype)
    flat_M = split.new_empty((m, parts * heads * size))
    flat_M[:n].view(rows, tokens, parts, heads, size).copy_(
        split.view(parts, rows, heads, tokens, size).permute(1, 3, 0, 2, 4)
    )
    flat_M[n:] = 0
    return flat_M


def _attend(
    plan: BlockPlan, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rows: int
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Attention weights before dropout (B * A, S, T), dropout's mask, the weights it kept, and the values that these mix
    (B * A, S, D); S tokens ask.

    ``query`` is scaled in place. The scale of what dropout kept goes to the mixed values, which are fewer than the weights.
    Sums of a softmax over bf16 scores are fp32 inside torch's kernel.
    """
    scores = torch.bmm(query.mul_(plan.scale), key.transpose(1, 2))
    if mask is not None:
        lowest = torch.finfo(plan.dtype).min  # the lowest fp32 number would become an infinity
        scores.view(rows, -1, *scores.shape[1:]).add_(mask.clamp(min=lowest).to(plan.dtype))
    chances = torch.softmax(scores, dim=-1)
    if not plan.attention_dropout:
        return chances, None, chances, torch.bmm(chances, value)
    keep = keep_mask(chances.shape, plan.attention_dropout, plan.dtype)
    kept = chances * keep
    return chances, keep, kept, torch.bmm(kept, value).mul_(surviving_scale(plan.attention_dropout))


def _attend_backward(
    plan: BlockPlan,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    chances: Tensor,
    keep: Tensor | None,
    kept: Tensor,
    d_mixed: Tensor,
    *,
    into: Sequence[Tensor],
) -> None:
    """Write the gradients of query, key and value into the three tensors of ``into``; ``query`` is the scaled one."""
    d_query, d_key, d_value = into
    if keep is not None:
        d_mixed = d_mixed.mul_(surviving_scale(plan.attention_dropout))
    torch.bmm(kept.transpose(1, 2), d_mixed, out=d_value)
    d_chances = torch.bmm(d_mixed, value.transpose(1, 2))
    if keep is not None:
        d_chances.mul_(keep)
    d_scores = torch.ops.aten._softmax_backward_data(d_chances, chances, -1, chances.dtype)
    torch.bmm(d_scores, key, out=d_query)
    d_query.mul_(plan.scale)
    torch.bmm(d_scores.transpose(1, 2), query, out=d_key)


def _add_and_norm(
    plan: BlockPlan, x_NH: Tensor, y_NH: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """LayerNorm(x + dropout(y)) in fp32, and what its backward pass needs; ``y`` is overwritten."""
    keep = keep_mask(y_NH.shape, plan.dropout, y_NH.dtype) if plan.dropout else None
    kept_NH = y_NH if keep is None else y_NH.mul_(keep)
    summed = torch.add(x_NH, kept_NH.float(), alpha=1 if keep is None else surviving_scale(plan.dropout))
    out, mean, spread = torch.native_layer_norm(summed, [summed.shape[1]], weight, bias, plan.eps)
    return out, (summed, mean, spread, keep)


def _norm_backward(
    plan: BlockPlan, grad_BTH: Tensor, weight: Tensor, bias: Tensor, saved: list[Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Gradients of x (fp32, to be added to), of y (in the products' dtype, filled up) and of the norm's weight and bias."""
    summed, mean, spread, keep = saved
    grad_NH = grad_BTH.reshape(summed.shape)
    d_sum, d_weight, d_bias = torch.ops.aten.native_layer_norm_backward(
        grad_NH, summed, [summed.shape[1]], mean, spread, weight, bias, [True, True, True]
    )
    d_y = _filled(d_sum, plan.dtype)
    if keep is not None:
        d_y = d_y.clone() if d_y is d_sum else d_y  # the residual's gradient stays whole
        d_y[: len(keep)].mul_(keep).mul_(surviving_scale(plan.dropout))
    return d_sum, d_y, (d_weight, d_bias)


def _linear_backward(
    grad_NO: Tensor, x_NI: Tensor, needs_weight: bool, needs_bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a linear layer's weight and bias, in fp32; None for what does not learn."""
    weight = (grad_NO.t() @ x_NI).float() if needs_weight else None
    return weight, grad_NO.sum(0).float() if needs_bias else None
