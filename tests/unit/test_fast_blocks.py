"""The written-out blocks of a BERT layer are the layer: values and gradients, dropout included, and never taken by mistake."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from pretune.backbones.cpu import blocks as fast_blocks
from pretune.backbones.cpu import fast
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.cpu.layer import shorten_last_layer
from tiny import largest_difference

ROWS, TOKENS, WIDTH = 3, 11, 32

# What fp32 sums in another order differ by, on any processor: either way is up to 3.3e-6 off float64.
ROUNDING = 1e-5


def encoder(family: str = "bert", dropout: float = 0.0, **changes: Any) -> nn.Module:
    import transformers

    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=50,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
        **sizes,
        **changes,
    )
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config, attn_implementation="sdpa")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.train()


def plain(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The same weights by transformers' own layers, with our dropout and attention."""
    with monkeypatch.context() as patch:
        patch.setattr(fast, "take_over_layers", lambda _model: 0)
        return make_fast(copy.deepcopy(model))


def taken(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if "forward" in vars(module)]


def tokens() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask[0, 5:] = 0
    mask[2, 9:] = 0
    return {"input_ids": torch.randint(3, 50, (ROWS, TOKENS)), "attention_mask": mask}


def outcome(model: nn.Module, seed: int = 2) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    out = model(**tokens()).last_hidden_state
    target = torch.sin(torch.arange(out.numel(), dtype=torch.float32)).view_as(out)
    (out.float() * target).sum().backward()
    return out.detach().float(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_same(ours: nn.Module, theirs: nn.Module, tolerance: float) -> None:
    our_out, our_grads = outcome(ours)
    their_out, their_grads = outcome(theirs)
    torch.testing.assert_close(our_out, their_out, atol=tolerance, rtol=tolerance)
    assert our_grads.keys() == their_grads.keys()
    largest = max(g.abs().max().item() for g in their_grads.values())
    for name, gradient in their_grads.items():
        torch.testing.assert_close(our_grads[name], gradient, atol=tolerance * largest, rtol=tolerance, msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_blocks_equal_the_layers_code_with_the_same_draws(
    family: str, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = encoder(family, dropout)
    ours = make_fast(copy.deepcopy(model))
    assert len(taken(ours)) == 2
    assert_same(ours, plain(model, monkeypatch), ROUNDING)


@pytest.mark.parametrize("few_rows", [0, 64], ids=["filled up", "as they are"])
def test_blocks_in_bf16_stay_as_near_to_fp32_as_the_layers_code(few_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_blocks, "_FEW_ROWS", few_rows)
    model = encoder()
    exact, exact_grads = outcome(copy.deepcopy(model))
    errors = {}
    for name, candidate in {"ours": make_fast(copy.deepcopy(model)), "plain": plain(model, monkeypatch)}.items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, grads = outcome(candidate)
        assert out.dtype == torch.float32
        assert all(g.dtype == torch.float32 for g in grads.values())
        wrong = sum((grads[n] - g).square().sum() for n, g in exact_grads.items())
        errors[name] = (float((out - exact).abs().mean()), float(wrong.sqrt()))
    assert errors["ours"][0] < 1.2 * errors["plain"][0]
    assert errors["ours"][1] < 1.2 * errors["plain"][1]


def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder()
    for name, parameter in model.named_parameters():
        if (
            "embeddings" in name
            or "layer.0" in name
            or "layer.1.attention.self.key" in name
            or "1.output.dense.bias" in name
        ):
            parameter.requires_grad_(False)
    ours = make_fast(copy.deepcopy(model))
    assert_same(ours, plain(model, monkeypatch), ROUNDING)
    assert all(p.grad is None for p in ours.parameters() if not p.requires_grad)


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    model = make_fast(encoder(dropout=0.2))
    _, straight = outcome(model)
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    _, recomputed = outcome(model)
    for name, gradient in straight.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-6)


def test_a_copy_learns_by_its_own_weights() -> None:
    model = make_fast(encoder())
    other = copy.deepcopy(model)
    before, _ = outcome(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    assert not torch.allclose(outcome(other)[0], before)
    model.zero_grad()
    assert torch.equal(outcome(model)[0], before)


def test_who_listens_inside_a_layer_is_heard() -> None:
    model = make_fast(encoder())
    heard: list[torch.Size] = []
    inner = model.get_submodule("encoder.layer.1.intermediate.dense")
    inner.register_forward_hook(lambda _module, _inputs, output: heard.append(output.shape))
    outcome(model)
    assert heard == [torch.Size([ROWS, TOKENS, 48])]


def test_a_replaced_part_is_used() -> None:
    class Silent(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 0

    model = make_fast(encoder())
    attention = model.get_submodule("encoder.layer.0.attention.self")
    attention.value = Silent(WIDTH, WIDTH)
    _, grads = outcome(model)
    assert grads["encoder.layer.0.attention.self.value.weight"].abs().max() == 0


@pytest.mark.parametrize("changes", [{"hidden_act": "relu"}, {"is_decoder": True}, {"hidden_act": "gelu_new"}])
def test_a_layer_of_other_mathematics_is_left_alone(changes: dict[str, Any]) -> None:
    model = encoder(**changes)
    make_fast(model)
    assert not taken(model)


def test_hidden_states_and_attentions_are_given_when_asked_for() -> None:
    model = make_fast(encoder())
    out = model(**tokens(), output_hidden_states=True)
    assert [h.shape for h in out.hidden_states] == [torch.Size([ROWS, TOKENS, WIDTH])] * 3
    torch.testing.assert_close(out.hidden_states[-1], out.last_hidden_state)


def test_products_have_few_sizes_and_little_is_filled_up() -> None:
    sizes = {rows: fast_blocks._filled_size(rows, torch.bfloat16) for rows in range(1, 20_000)}
    assert all(rows <= size for rows, size in sizes.items())
    assert all(size == rows for rows, size in sizes.items() if rows < 64)
    assert max(size / rows for rows, size in sizes.items() if rows >= 2048) < 1.13
    assert len({size for rows, size in sizes.items() if 64 <= rows <= 2048}) == 16
    assert len({size for rows, size in sizes.items() if rows > 2048}) < 30
    assert fast_blocks._filled_size(1000, torch.float32) == 1000


def classifier(
    family: str = "bert", dropout: float = 0.0, auto: str = "AutoModelForSequenceClassification"
) -> nn.Module:
    """A small model with a head, in training mode, made fast."""
    import transformers

    body = encoder(family, dropout).config
    body.num_labels = 3
    torch.manual_seed(0)
    model = getattr(transformers, auto).from_config(body, attn_implementation="sdpa")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return make_fast(model.train())


def logits_of(model: nn.Module) -> torch.Tensor:
    model.eval()
    found = model(**tokens()).logits.detach()
    model.train()
    return found


def learned(model: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(2)
    logits = model(**tokens()).logits
    nn.functional.cross_entropy(logits.float(), torch.tensor([0, 2, 1]), reduction="sum").backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", ["nothing", "lower layers", "the last layer's values"])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_a_last_layer_that_is_read_at_its_first_position_learns_the_same_by_it_alone(family: str, frozen: str) -> None:
    plain, short = classifier(family), classifier(family)
    for model in (plain, short):
        for name, parameter in model.named_parameters():
            rests = {
                "nothing": False,
                "lower layers": "embeddings" in name or "layer.0" in name,
                "the last layer's values": "layer.1.attention.self.value" in name,
            }
            parameter.requires_grad_(not rests[frozen])
    assert shorten_last_layer(short, lambda: logits_of(short))
    (logits, gradients), (expected, wanted) = learned(short), learned(plain)
    torch.testing.assert_close(logits, expected, atol=2e-6, rtol=2e-6)
    assert gradients.keys() == wanted.keys()
    largest = max(gradient.abs().max().item() for gradient in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, atol=3e-6 * largest, rtol=1e-5, msg=name)


def test_a_short_last_layer_in_bf16_is_as_near_to_fp32_as_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_blocks, "_FEW_ROWS", 0)
    _, exact = learned(classifier())
    wrong = {}
    for name in ("whole", "short"):
        model = classifier()
        assert name == "whole" or shorten_last_layer(model, lambda model=model: logits_of(model))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, gradients = learned(model)
        wrong[name] = float(sum((gradients[n] - g).square().sum() for n, g in exact.items()) ** 0.5)
    assert 0 < wrong["short"] < 1.2 * wrong["whole"]


def test_a_short_last_layer_drops_out_and_evaluates_as_the_whole_one() -> None:
    whole, short = classifier(dropout=0.3), classifier(dropout=0.3)
    assert shorten_last_layer(short, lambda: logits_of(short))
    rows = tokens()
    torch.manual_seed(3)
    first, second = short(**rows).logits, short(**rows).logits
    torch.manual_seed(3)
    assert torch.equal(short(**rows).logits, first)
    assert not torch.allclose(first, second)
    short.eval()
    whole.eval()
    with torch.no_grad():
        torch.testing.assert_close(short(**tokens()).logits, whole(**tokens()).logits)
        assert short.bert(**tokens()).last_hidden_state.shape == (ROWS, TOKENS, WIDTH)  # type: ignore[operator]


def test_a_last_layer_that_is_read_elsewhere_stays_whole() -> None:
    tagger = classifier(auto="AutoModelForTokenClassification")
    assert not shorten_last_layer(tagger, lambda: logits_of(tagger))
    assert logits_of(tagger).shape == (ROWS, TOKENS, 3)
    unknown = nn.Linear(3, 3)
    assert not shorten_last_layer(unknown, lambda: unknown(torch.ones(2, 3)))


def test_a_model_that_answers_no_number_stays_whole() -> None:
    model = classifier()
    nn.init.constant_(model.classifier.bias, float("nan"))  # type: ignore[union-attr]
    assert not shorten_last_layer(model, lambda: logits_of(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_short_last_layer_may_have_fewer_heads(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_blocks, "_FEW_ROWS", 0)

    def pruned() -> nn.Module:
        """Three of four heads are left in the last layer, as pruning leaves them."""
        model = classifier()
        layer = model.get_submodule("bert.encoder.layer.1")
        inner: Any = layer.get_submodule("attention.self")
        torch.manual_seed(4)
        for name in ("query", "key", "value"):
            setattr(inner, name, nn.Linear(WIDTH, 24))
        inner.num_attention_heads, inner.all_head_size = 3, 24
        layer.get_submodule("attention.output").dense = nn.Linear(24, WIDTH)
        return model

    plain, short = pruned(), pruned()
    assert shorten_last_layer(short, lambda: logits_of(short))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        (logits, gradients), (expected, wanted) = learned(short), learned(plain)
    near = 2e-6 if dtype is torch.float32 else 0.05
    torch.testing.assert_close(logits, expected, atol=near, rtol=near, check_dtype=False)
    largest = max(gradient.abs().max().item() for gradient in wanted.values())
    assert gradients.keys() == wanted.keys()
    assert largest_difference(gradients, wanted) < 2 * near * largest
