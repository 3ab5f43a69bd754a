"""Low rank: nothing changes at the start, head and low rank alone learn, merging changes no answer, the blocks of a processor agree."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import make_rows, write_csv
from pretune.backbones.adaptation.adapt import adapt_low_rank, find_parts, plan_adaptation
from pretune.backbones.adaptation.lora import LowRankSpec, low_rank_names, merge_low_rank
from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.cpu.layer import take_over_layers
from pretune.errors import ModelError, UsageError
from pretune.interface import Silent
from pretune.runfolder import RunFolder
from pretune.runs.proven import open_model
from pretune.training.settings import FinetuneSettings
from pretune.verbs.finetune.story import finetune
from pretune.verbs.pretrain.story import PretrainSettings, pretrain

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "distilbert": {"vocab_size": 50, "dim": 16, "n_heads": 2, "hidden_dim": 32, "n_layers": 2},
    "gpt2": {"vocab_size": 50, "n_embd": 16, "n_head": 2, "n_layer": 2, "pad_token_id": 0},
    "xlnet": {"vocab_size": 50, "d_model": 16, "n_head": 2, "d_inner": 32, "n_layer": 2},
    "albert": {**SMALL, "embedding_size": 8},
    "llama": {**SMALL, "pad_token_id": 0},
}
SPEC = LowRankSpec(rank=3, alpha=6.0)
IDS_BT = torch.tensor([[2, 3, 4, 5, 6], [7, 8, 9, 10, 11]])


def build(model_type: str, head: str = "AutoModelForSequenceClassification", **changes: Any) -> nn.Module:
    import transformers

    config = transformers.AutoConfig.for_model(model_type, **{**CONFIGS.get(model_type, SMALL), **changes})
    torch.manual_seed(0)
    return getattr(transformers, head).from_config(config)


def spread(model: nn.Module) -> nn.Module:
    """With every low rank away from its start, at which it says nothing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in low_rank_names(model):
                parameter.copy_(0.3 * torch.sin(torch.arange(parameter.numel()).float()).view(parameter.shape))
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with evaluating(model), torch.no_grad():
        return model(input_ids=IDS_BT).logits


@pytest.mark.parametrize("model_type", CONFIGS)
def test_it_starts_at_the_model_and_merging_changes_no_answer(model_type: str) -> None:
    model = build(model_type)
    before, state = logits(model), model.state_dict()
    names = adapt_low_rank(model, SPEC, seed=0)
    assert torch.equal(logits(model), before)
    learned = logits(spread(model))
    assert not torch.allclose(learned, before, rtol=0, atol=1e-5)
    assert merge_low_rank(model) == len(names)
    assert torch.allclose(logits(model), learned, atol=1e-6)
    assert model.state_dict().keys() == state.keys()
    assert not low_rank_names(model)


def test_xlnet_s_bare_parameters_are_reached() -> None:
    names = adapt_low_rank(build("xlnet"), SPEC, seed=0)
    assert {name.rpartition(".")[2] for name in names} == {"q", "k", "v", "r", "o", "weight"}


@pytest.mark.parametrize("model_type", CONFIGS)
def test_head_and_low_rank_alone_learn(model_type: str) -> None:
    model = build(model_type)
    head = {name for name, _ in find_parts(model)[0].parameters}
    adapt_low_rank(model, SPEC, seed=0)
    plan = plan_adaptation(model, "lora", weight_decay=0.0)
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == head | low_rank_names(model)
    names = [name for group in plan.groups for name in group.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    facts = plan.facts()
    assert facts["parameters"] == sum(p.numel() for p in build(model_type).parameters())
    assert 0 < facts["learning_share"] < 1
    model(input_ids=IDS_BT, labels=torch.tensor([0, 1])).loss.backward()
    assert all((parameter.grad is not None) == (name in learns) for name, parameter in model.named_parameters())


def test_the_words_a_trained_model_writes_with_rest_and_new_weights_learn() -> None:
    model = build("gpt2", "AutoModelForCausalLM", tie_word_embeddings=False)
    adapt_low_rank(model, SPEC, seed=0)
    plan_adaptation(model, "lora", weight_decay=0.0)
    assert not model.lm_head.weight.requires_grad  # type: ignore[union-attr]
    plan_adaptation(model, "lora", weight_decay=0.0, fresh=["lm_head.weight"])
    assert model.lm_head.weight.requires_grad  # type: ignore[union-attr]


def test_encoder_and_decoder_are_both_adapted() -> None:
    model = build("t5", "AutoModelForSeq2SeqLM", d_model=16, d_kv=8, d_ff=32, num_heads=2, num_layers=2)
    names = adapt_low_rank(model, SPEC, seed=0)
    assert {name.split(".")[0] for name in names} == {"encoder", "decoder"}


def test_the_blocks_of_a_processor_read_and_teach_the_adapted_weights() -> None:
    plain = build("bert")
    adapt_low_rank(plain, SPEC, seed=0)
    spread(plain)
    fast = copy.deepcopy(plain)
    make_fast(fast)
    assert take_over_layers(fast) == 2
    found = []
    for model in (plain, fast):
        plan_adaptation(model, "lora", weight_decay=0.0)
        with evaluating(model):
            loss = model(input_ids=IDS_BT, labels=torch.tensor([0, 1])).loss
        loss.backward()
        found.append((loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert found[0][1].keys() == found[1][1].keys()
    assert all(torch.allclose(value, found[1][1][name], atol=1e-5) for name, value in found[0][1].items())


def test_draws_are_a_function_of_seed_and_name() -> None:
    def drawn(seed: int, targets: tuple[str, ...]) -> torch.Tensor:
        model = build("bert")
        adapt_low_rank(model, LowRankSpec(3, 6.0, targets), seed=seed)
        return next(p for n, p in model.named_parameters() if "layer.1" in n and "query" in n and n.endswith("lora_A"))

    assert torch.equal(drawn(0, ()), drawn(0, ("query", "value")))
    assert not torch.equal(drawn(0, ()), drawn(1, ()))


def test_refusals() -> None:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    with pytest.raises(UsageError, match=r"no matrix of the layers is called so(.|\n)*query"):
        adapt_low_rank(build("bert"), LowRankSpec(3, 6.0, ("qury",)), seed=0)
    with pytest.raises(UsageError, match="--lora-rank is 16"):
        adapt_low_rank(build("bert"), LowRankSpec(16, 6.0), seed=0)
    convolutions = MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.25, image_size=32))
    with pytest.raises(ModelError, match=r"convolutions(.|\n)*--adapt full"):
        adapt_low_rank(convolutions, SPEC, seed=0)


def test_a_run_is_merged_told_and_read_by_transformers(tmp_path: Path) -> None:
    import transformers

    data = str(write_csv(tmp_path / "rows.csv", make_rows(60)))
    common = {"data": data, "threads": 1, "test_fraction": 0.0, "max_length": 24, "max_steps": 4, "precision": "fp32"}
    pretrain.run(PretrainSettings(backbone="scratch:bert-tiny", out=str(tmp_path / "base"), **common), say=Silent())
    settings = FinetuneSettings(backbone=str(tmp_path / "base"), adapt="lora", out=str(tmp_path / "run"), learning_rate=0.01, **common)  # fmt: skip
    finetune.run(settings, say=Silent())
    run = RunFolder(tmp_path / "run")
    told = run.record["training"]
    assert told["merged"]["rows"] > 0
    assert told["merged"]["largest_difference"] < 1e-5
    assert told["learning_share"] == pytest.approx(told["learning_at_end"] / (told["parameters"] + added(told)))
    own = open_model(run.model_dir).model
    assert run.record["model"]["parameters"] == sum(p.numel() for p in own.parameters())
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(run.model_dir).eval()
    assert torch.allclose(logits(own), logits(plain), atol=1e-5)
    before = open_base(tmp_path / "base")
    changed = {name for name, value in before.items() if not torch.equal(value, own.state_dict().get(name, value))}
    assert any("query" in name for name in changed)
    assert not any("embeddings" in name or name.endswith("bias") for name in changed)
    with pytest.raises(UsageError, match="was not trained"):
        finetune.run(FinetuneSettings(backbone="scratch:bert-tiny", adapt="lora", out=str(tmp_path / "no"), **common), say=Silent())  # fmt: skip


def added(told: dict[str, Any]) -> int:
    """BERT tiny's layers have six matrices each, of which each learns by rank 8."""
    width = 128
    return told["layers"] * 8 * (4 * 2 * width + 2 * 5 * width)


def open_base(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "model" / "model.safetensors")
