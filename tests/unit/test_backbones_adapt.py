"""Adaptation: every parameter once, layers from the top, gradual unfreezing, clear errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pretune.backbones.adaptation.adapt import find_parts, plan_adaptation
from pretune.errors import ModelError, UsageError

SMALL = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "roberta": SMALL,
    "distilbert": {"vocab_size": 50, "dim": 8, "n_heads": 2, "hidden_dim": 16, "n_layers": 3},
    "deberta-v2": {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "electra": {**SMALL, "embedding_size": 4},
    "gpt2": {"vocab_size": 50, "n_embd": 8, "n_head": 2, "n_layer": 3, "pad_token_id": 0},
    "modernbert": {
        **SMALL,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}


def build(model_type: str, head: str = "AutoModelForSequenceClassification", **changes: Any) -> nn.Module:
    import transformers

    config = transformers.AutoConfig.for_model(model_type, **{**CONFIGS.get(model_type, SMALL), **changes})
    return getattr(transformers, head).from_config(config)


def plan(model: nn.Module, adapt: str) -> Any:
    return plan_adaptation(model, adapt, weight_decay=0.1)


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("model_type", CONFIGS)
@pytest.mark.parametrize("adapt", ["full", "head", "top:2", "gradual", "llrd"])
def test_every_parameter_is_in_exactly_one_group(model_type: str, adapt: str) -> None:
    model = build(model_type)
    groups = plan(model, adapt).groups
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert len({id(parameter) for group in groups for parameter in group.parameters}) == len(names)
    torch.optim.AdamW([{"params": list(group.parameters), "weight_decay": group.weight_decay} for group in groups])


@pytest.mark.parametrize("model_type", CONFIGS)
def test_the_parts_are_where_they_should_be(model_type: str) -> None:
    parts = find_parts(build(model_type))
    assert [part.title for part in parts] == ["head", "layer 3", "layer 2", "layer 1", "embeddings"]
    head, *layers, embeddings = parts
    assert all(f".{3 - part.depth}." in name for part in layers for name, _ in part.parameters)
    assert any("embed" in name or "wte" in name for name, _ in embeddings.parameters)
    assert not any("embed" in name or "wte" in name for name, _ in head.parameters)
    assert any(name.startswith(("classifier", "score")) for name, _ in head.parameters)


def test_biases_and_norms_do_not_decay() -> None:
    model = build("bert")
    for group in plan(model, "full").groups:
        for name in group.names:
            vector = name.endswith("bias") or "LayerNorm" in name
            assert group.weight_decay == (0.0 if vector else 0.1)


def test_head_and_top() -> None:
    model = build("bert")
    plan(model, "head")
    assert learning(model) == {n for n, _ in model.named_parameters() if n.startswith(("classifier", "bert.pooler"))}
    head = learning(model)
    plan(model, "top:0")
    assert learning(model) == head
    plan(model, "top:1")
    assert learning(model) - head == {n for n, _ in model.named_parameters() if ".layer.2." in n}
    plan(model, "full")
    assert learning(model) == {n for n, _ in model.named_parameters()}


def test_frozen_modules_are_all_of_the_frozen_encoder() -> None:
    model = build("bert", hidden_dropout_prob=0.5)
    top = plan(model, "top:1")
    assert [type(module).__name__ for module in top.frozen_modules(0.5)] == ["BertLayer", "BertLayer", "BertEmbeddings"]
    model.train()
    for module in top.frozen_modules(0.0):
        module.eval()
    hidden = [model(torch.arange(6)[None], output_hidden_states=True).hidden_states[2] for _ in range(2)]
    assert torch.equal(hidden[0], hidden[1])


def test_gradual_goes_from_the_top_and_ends_at_half_of_the_run() -> None:
    model = build("bert")
    gradual = plan(model, "gradual")
    depths = []
    for progress in (0.0, 0.12, 0.125, 0.25, 0.375, 0.49, 0.5, 1.0):
        gradual.set_trainable(progress)
        depths.append(gradual.depth_at(progress))
        frozen = {id(p) for module in gradual.frozen_modules(progress) for p in module.parameters()}
        assert {n for n, p in model.named_parameters() if id(p) not in frozen} == learning(model)
    assert depths == [0, 0, 1, 2, 3, 3, 4, 4]


def test_llrd_scales_by_depth() -> None:
    made = plan(build("bert"), "llrd")
    depth_of = {name: part.depth for part in made.parts for name, _ in part.parameters}
    for group in made.groups:
        (depth,) = {depth_of[name] for name in group.names}
        assert group.lr_scale == pytest.approx(0.9**depth)


def test_tied_weights_stand_with_the_embeddings() -> None:
    model = build("bert", "AutoModelForMaskedLM")
    parts = find_parts(model)
    assert [name for name, _ in parts[0].parameters if "decoder.weight" in name] == []
    assert "bert.embeddings.word_embeddings.weight" in dict(parts[-1].parameters)


def test_a_bare_encoder_and_one_layer() -> None:
    assert plan(build("bert", "AutoModel"), "top:1").facts()["layers"] == 3
    assert plan(build("bert", num_hidden_layers=1), "top:1").num_layers == 1


def test_errors() -> None:
    model = build("bert")
    with pytest.raises(UsageError, match="the model has 3 layers"):
        plan(model, "top:4")
    for wrong in ("top:N", "top:-1", "low", "ful"):
        with pytest.raises(UsageError, match="allowed"):
            plan(model, wrong)
    shared = build("albert", num_hidden_groups=1, embedding_size=4)
    for mode in ("top:1", "gradual", "llrd"):
        with pytest.raises(ModelError, match="--adapt full"):
            plan(shared, mode)
    plan(shared, "head")
    assert all(not name.startswith("albert.encoder") for name in learning(shared))


def test_a_convolution_after_the_layers_goes_with_the_top_one() -> None:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    model = MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.25, image_size=32))
    head, top = find_parts(model)[:2]
    assert {name for name, _ in head.parameters} == {"classifier.weight", "classifier.bias"}
    assert any("conv_1x1" in name for name, _ in top.parameters)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mobilenetv2_035", 7),
        ("vit_tiny_patch16_224", 12),
        ("resnet18", 2),
        pytest.param("vgg11", 0, marks=pytest.mark.slow),
    ],
)
def test_the_classifier_inside_a_model_of_timm_is_its_head(name: str, layers: int) -> None:
    import transformers

    config = transformers.TimmWrapperConfig(architecture=name, num_labels=3)  # type: ignore[attr-defined]
    model = transformers.AutoModelForImageClassification.from_config(config)
    parts = find_parts(model)
    assert len(parts) == layers + 2
    assert sorted(parameter.shape for _, parameter in parts[0].parameters)[0] == (3,)
    assert len(parts[0].parameters) == 2
    assert sum(len(part.parameters) for part in parts) == len(list(model.parameters()))
    plan(model, "head").train(model, 0.0)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in parts[0].parameters}
    assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.slow
def test_a_folder_of_timm_takes_other_classes(tmp_path: Any) -> None:
    import transformers

    from pretune.backbones.load import load_backbone

    config = transformers.TimmWrapperConfig(architecture="mobilenetv2_035", num_labels=10)  # type: ignore[attr-defined]
    model = transformers.AutoModelForImageClassification.from_config(config)
    model.config.pretrained_cfg = model.timm_model.pretrained_cfg
    model.save_pretrained(tmp_path)
    found = load_backbone(str(tmp_path))
    assert found.modality == "image"
    loaded, report = found.build("AutoModelForImageClassification", seed=0, num_labels=3)
    assert set(report.initialised) == {"timm_model.classifier.weight", "timm_model.classifier.bias"}
    stem = loaded.state_dict()["timm_model.conv_stem.weight"]
    assert torch.equal(stem, model.state_dict()["timm_model.conv_stem.weight"])
