"""The fast arrangement is the same mathematics: dropout in distribution, attention in value and gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pretune.backbones.cpu import fast
from pretune.backbones.cpu.fast import ATTENTION, FastDropout, make_fast
from tiny import Rig, largest_difference, tiny_backbone

N = 400_000


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5])
def test_dropout_keeps_the_mean_and_the_asked_share(probability: float) -> None:
    torch.manual_seed(0)
    out = FastDropout(probability)(torch.ones(N))
    rounded = round(probability * 256) / 256
    assert abs(rounded - probability) <= 1 / 512
    assert (out == 0).double().mean().item() == pytest.approx(rounded, abs=4e-3)
    assert out.double().mean().item() == pytest.approx(1.0, abs=4e-3)
    kept = out[out != 0].unique()
    assert kept.tolist() == pytest.approx([1 / (1 - rounded)])


def test_dropout_drops_each_place_apart_from_its_neighbours() -> None:
    torch.manual_seed(0)
    dropped = (FastDropout(0.5)(torch.ones(N // 64, 64)) == 0).double()
    assert (dropped.mean(0) - 0.5).abs().max() < 5 * 0.5 / (N // 64) ** 0.5
    pairs = torch.corrcoef(dropped.T) - torch.eye(64)
    assert pairs.abs().max() < 6 / (N // 64) ** 0.5


def test_dropout_is_torchs_seed_and_nothing_else() -> None:
    layer, x = FastDropout(0.1), torch.randn(7, 33)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_dropout_is_the_identity_where_nothing_is_dropped() -> None:
    x = torch.randn(5, 3)
    assert FastDropout(0.3).eval()(x) is x
    assert FastDropout(0.0)(x) is x
    assert repr(FastDropout(0.3)) == "FastDropout(p=0.3)"


def test_dropouts_gradient_goes_through_what_was_kept() -> None:
    x = torch.randn(1000, requires_grad=True)
    out = FastDropout(0.5)(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(out == 0, 0.0, 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3, 5)])
def test_dropout_keeps_shape_and_number_format(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out = FastDropout(0.2)(torch.ones(shape, dtype=dtype))
    assert (out.shape, out.dtype) == (shape, dtype)


def test_making_fast_keeps_names_and_replaces_every_dropout() -> None:
    backbone = tiny_backbone(dropout=0.1)
    model, _ = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    before = list(model.state_dict())
    assert make_fast(model) is model
    assert list(model.state_dict()) == before
    assert not [m for m in model.modules() if type(m) is nn.Dropout]
    assert [m.p for m in model.modules() if isinstance(m, FastDropout)]
    assert model.config._attn_implementation == ATTENTION


def outputs_and_gradients(
    family: str, kind: str, implementation: str, packed: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    options: dict[str, Any] = {"pack_tokens": 128} if packed else {}
    rig = Rig(kind, family=family, fast=implementation == "fast", **options)
    if implementation != "fast":
        rig.model.set_attn_implementation(implementation)  # type: ignore[operator]
    rig.model.train()
    batch = rig.batch(range(4))
    logits = rig.model(**batch.inputs).logits
    rig.loss(batch).total.backward()
    return logits.detach(), {n: p.grad for n, p in rig.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_attention_equals_the_eager_one_in_outputs_and_gradients(family: str, packed: bool) -> None:
    kind = "pretrain" if packed else "finetune"
    ours, our_grads = outputs_and_gradients(family, kind, "fast", packed)
    eager, eager_grads = outputs_and_gradients(family, kind, "eager", packed)
    torch.testing.assert_close(ours, eager, atol=1e-5, rtol=1e-5)
    scale = max(gradient.abs().max().item() for gradient in eager_grads.values())
    assert largest_difference(our_grads, eager_grads) < 2e-6 * scale


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_predictions_without_gradients_equal_those_of_training(family: str) -> None:
    rig = Rig(family=family)
    batch = rig.batch(range(7))
    with torch.inference_mode():
        plain = rig.model(**batch.inputs).logits
    torch.testing.assert_close(rig.model(**batch.inputs).logits.detach(), plain.clone(), atol=1e-5, rtol=1e-5)


def test_long_rows_go_to_the_fused_kernel_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 30, 8, requires_grad=True) for _ in range(3))
    mask = torch.zeros(2, 1, 30, 30)
    mask[1, :, :, 20:] = torch.finfo(torch.float32).min
    module = nn.Identity().train()
    explicit, _ = fast.attention(module, q, k, v, mask)
    monkeypatch.setattr(fast, "_EXPLICIT_UP_TO_TOKENS", 29)
    fused, _ = fast.attention(module, q, k, v, mask)
    assert explicit.shape == (2, 30, 2, 8)
    torch.testing.assert_close(explicit, fused, atol=1e-5, rtol=1e-5)


def test_dropout_of_attention_falls_on_weights_and_only_in_training() -> None:
    torch.manual_seed(0)
    q = k = torch.zeros(1, 1, 4, 8)
    v = torch.ones(1, 1, 4, 8, requires_grad=True)
    layer = nn.Identity()
    torch.testing.assert_close(fast.attention(layer.eval(), q, k, v, None, dropout=0.5)[0], torch.ones(1, 4, 1, 8))
    many = torch.stack([fast.attention(layer.train(), q, k, v, None, dropout=0.5)[0].detach() for _ in range(600)])
    assert set(many.unique().tolist()) == {0.0, 0.5, 1.0, 1.5, 2.0}
    assert many.mean().item() == pytest.approx(1.0, abs=0.05)
