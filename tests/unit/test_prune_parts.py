"""Taking parts out: equal to their being zero, smaller on disk and in memory, and plain to transformers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from pretune.backbones.load import load_backbone, save_model
from pretune.backbones.parts.layers import thinned
from pretune.backbones.parts.removed import REMOVED, full_weights, removed_of
from pretune.backbones.parts.units import CHANNELS, FEED_FORWARD, HEADS, features_of, keep_parts, units_of
from pretune.compress.pruning.plan import Shares, apply_plan, choose_parts, plan_of
from pretune.errors import ModelError, UsageError
from tiny import tiny_audio_backbone, tiny_backbone, tiny_image_backbone

pytestmark = pytest.mark.slow

HALF = Shares(heads=0.5, feed_forward=0.5, channels=0.5)
CLOSE = 2e-5


class Kind(NamedTuple):
    """An architecture: its model, what it reads, and what its config cannot say once it is pruned."""

    build: Callable[[], tuple[nn.Module, Any]]
    inputs: Callable[[], dict[str, torch.Tensor]]
    by_name: str | None
    auto: str


def _text(model_type: str, **sizes: Any) -> Callable[[], tuple[nn.Module, Any]]:
    def build() -> tuple[nn.Module, Any]:
        from transformers import AutoConfig, AutoModelForSequenceClassification

        backbone = tiny_backbone("roberta" if model_type == "roberta" else "bert")
        told = {"vocab_size": len(backbone.tokenizer), "pad_token_id": backbone.tokenizer.pad_token_id, **sizes}
        config = AutoConfig.for_model(model_type, **told)
        return AutoModelForSequenceClassification.from_config(config), backbone.tokenizer

    return build


_WIDTHS = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}


def _sound(model_type: str) -> Callable[[], tuple[nn.Module, Any]]:
    def build() -> tuple[nn.Module, Any]:
        from transformers import AutoConfig, AutoModelForAudioClassification

        backbone = tiny_audio_backbone("features" if model_type == "wav2vec2-bert" else "samples")
        told = {**backbone.config.to_dict(), "num_attention_heads": 4, "model_type": model_type}
        told.pop("architectures", None)
        config = AutoConfig.for_model(**told)
        return AutoModelForAudioClassification.from_config(config), backbone.processor

    return build


def _picture(preset: str, **changes: Any) -> Callable[[], tuple[nn.Module, Any]]:
    def build() -> tuple[nn.Module, Any]:
        from transformers import AutoModelForImageClassification

        small = preset.startswith(("vit", "resnet"))
        backbone = tiny_image_backbone(preset) if small else load_backbone(f"scratch:{preset}", image_size=32)
        for name, value in changes.items():
            setattr(backbone.config, name, value)
        return AutoModelForImageClassification.from_config(backbone.config), backbone.processor

    return build


def _tokens() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 200, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _pixels() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))}


def _samples() -> dict[str, torch.Tensor]:
    return {"input_values": torch.randn(2, 4000, generator=torch.Generator().manual_seed(1))}


def _features() -> dict[str, torch.Tensor]:
    return {"input_features": torch.randn(2, 20, 160, generator=torch.Generator().manual_seed(1))}


_TEXT, _SOUND, _PICTURES = (f"AutoModelFor{what}Classification" for what in ("Sequence", "Audio", "Image"))
_DISTIL = {"dim": 32, "hidden_dim": 64, "n_heads": 4, "n_layers": 2}
_NARROW_VGG = {"model_args": {"global_pool": "avg", "mlp_ratio": 0.01}}
KINDS: Mapping[str, Kind] = {
    "bert": Kind(_text("bert", **_WIDTHS), _tokens, HEADS, _TEXT),
    "roberta": Kind(_text("roberta", **_WIDTHS, max_position_embeddings=64), _tokens, HEADS, _TEXT),
    "electra": Kind(_text("electra", **_WIDTHS, embedding_size=16), _tokens, HEADS, _TEXT),
    "distilbert": Kind(_text("distilbert", **_DISTIL), _tokens, HEADS, _TEXT),
    "vit": Kind(_picture("vit-micro", num_attention_heads=4), _pixels, None, _PICTURES),
    "wav2vec2": Kind(_sound("wav2vec2"), _samples, HEADS, _SOUND),
    "hubert": Kind(_sound("hubert"), _samples, HEADS, _SOUND),
    "w2v-bert": Kind(_sound("wav2vec2-bert"), _features, HEADS, _SOUND),
    "resnet-basic": Kind(_picture("resnet-18", hidden_sizes=[8, 16, 24, 32]), _pixels, None, _PICTURES),
    "resnet-bottleneck": Kind(_picture("resnet-50", hidden_sizes=[32, 64, 64, 96]), _pixels, None, _PICTURES),
    "mobilenet-v2": Kind(_picture("mobilenet-v2", depth_multiplier=0.35), _pixels, None, _PICTURES),
    "vgg": Kind(_picture("vgg-11", **_NARROW_VGG), _pixels, CHANNELS, _PICTURES),
}


def a_model(kind: Kind) -> tuple[nn.Module, Any]:
    """A model whose biases, norms and running statistics are all its own."""
    torch.manual_seed(0)
    model, processor = kind.build()
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if values.ndim == 2:
                values.mul_(6)  # transformers draws them so small that no part matters
            elif values.ndim == 1 and values.is_floating_point():
                values.add_(0.2 * torch.rand_like(values)) if "var" in name else values.add_(
                    0.1 * torch.randn_like(values)
                )
    return model.eval(), processor


def said(model: nn.Module, kind: Kind) -> torch.Tensor:
    with torch.inference_mode():
        return model(**kind.inputs()).logits


def zeroed(model: nn.Module, kept: Mapping[str, list[int]]) -> nn.Module:
    """A copy in which what the parts that go compute is zero."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        for unit in units_of(found):
            gone = [part for part in range(unit.count) if part not in kept[unit.name]]
            for module, size in unit.makers:
                for values in (module.weight, module.bias):
                    if values is not None:
                        values[features_of(gone, size)] = 0.0
    return found


def pruned(model: nn.Module, shares: Shares = HALF, seed: int = 0) -> tuple[nn.Module, dict[str, list[int]]]:
    """A copy with parts taken out by chance, and what stayed."""
    found, rng = copy.deepcopy(model), np.random.default_rng(seed)
    units = units_of(found)
    plan = plan_of(found, found.config, shares, first_counts={unit.name: unit.count for unit in units})
    kept = choose_parts(units, plan, {unit.name: rng.random(unit.count) for unit in units})
    apply_plan(found, plan, kept)
    return found, kept


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_pruned_is_zeroed(name: str, tmp_path: Path):
    """In memory, loaded by pretune, and loaded by transformers alone."""
    import transformers

    kind = KINDS[name]
    model, processor = a_model(kind)
    found, kept = pruned(model)
    expected = said(zeroed(model, kept), kind)
    assert (expected - said(model, kind)).abs().max() > 100 * CLOSE, "what goes did not matter: the test shows nothing"
    torch.testing.assert_close(said(found, kind), expected, atol=CLOSE, rtol=CLOSE)

    save_model(found, processor, tmp_path)
    plain = getattr(transformers, kind.auto).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(said(plain, kind), expected, atol=CLOSE, rtol=CLOSE)
    ours, report = load_backbone(str(tmp_path)).build(kind.auto, seed=0)
    assert not report.initialised
    assert not report.unexpected
    torch.testing.assert_close(said(ours.eval(), kind), expected, atol=CLOSE, rtol=CLOSE)
    assert num_parameters(ours) == num_parameters(found) < num_parameters(plain if kind.by_name else model)
    assert num_parameters(plain) < num_parameters(model), "what the config can say is smaller in a plain folder too"
    assert (REMOVED in json.loads((tmp_path / "config.json").read_text())) == (kind.by_name is not None)


@pytest.mark.parametrize("name", KINDS)
def test_halves(name: str):
    """Half of the heads and neurons in all, half of what blocks expand, about half of the weights of convolutions."""
    kind = KINDS[name]
    model, _ = a_model(kind)
    found, kept = pruned(model)
    before, after = units_of(model), units_of(found)
    assert [unit.count for unit in after] == [len(kept[unit.name]) for unit in before]
    assert min(unit.count for unit in after) >= 1
    for what in (HEADS, FEED_FORWARD):
        counts = [sum(unit.count for unit in units if unit.kind == what) for units in (before, after)]
        assert counts[1] == counts[0] / 2
    weights = [
        sum(m.weight.numel() for m in one.modules() if isinstance(m, nn.Conv2d) and m.weight.shape[1] > 3)
        for one in (model, found)
    ]
    if kind.auto == _PICTURES and name != "vit":
        assert 0.35 < weights[1] / weights[0] < 0.75, "steps of the widths round a tiny model"


@pytest.mark.parametrize("name", ["bert", "vgg", "vit", "resnet-basic"])
def test_in_rounds(name: str, tmp_path: Path):
    """Twice a part of it: what went in the first round stays away, its numbers are those of the first model."""
    kind = KINDS[name]
    model, processor = a_model(kind)
    first = {unit.name: unit.count for unit in units_of(model)}
    once, kept_once = pruned(model, Shares(0.75, 0.75, 0.75))
    save_model(once, processor, tmp_path / "once")
    found, _ = load_backbone(str(tmp_path / "once")).build(kind.auto, seed=0)
    units, rng = units_of(found), np.random.default_rng(1)
    plan = plan_of(found, model.config, HALF, first_counts=first)
    kept = choose_parts(units, plan, {unit.name: rng.random(unit.count) for unit in units})
    apply_plan(found, plan, kept)
    both = {unit: [kept_once[unit][part] for part in parts] for unit, parts in kept.items()}
    expected = said(zeroed(model, both), kind)
    torch.testing.assert_close(said(found.eval(), kind), expected, atol=CLOSE, rtol=CLOSE)
    for unit, gone in removed_of(found.config).items():
        assert gone == [part for part in range(first[unit]) if part not in both[unit]]
    save_model(found, processor, tmp_path / "twice")
    again, _ = load_backbone(str(tmp_path / "twice")).build(kind.auto, seed=0)
    torch.testing.assert_close(said(again.eval(), kind), expected, atol=CLOSE, rtol=CLOSE)


def test_the_best_parts_stay():
    """In their order; where scores are equal the first ones."""
    model, _ = a_model(KINDS["bert"])
    units = units_of(model)
    plan = plan_of(model, model.config, HALF, first_counts={unit.name: unit.count for unit in units})
    scores = {unit.name: np.ones(unit.count) for unit in units}
    heads = [unit.name for unit in units if unit.kind == HEADS]
    scores[heads[1]] = np.array([1.0, 3.0, 0.5, 2.0])
    kept = choose_parts(units, plan, scores)
    assert [kept[name] for name in heads] == [[0, 1], [1, 3]]
    assert [kept[unit.name] for unit in units if unit.kind == FEED_FORWARD] == [list(range(32))] * 2


@pytest.mark.parametrize("name", ["bert", "distilbert", "wav2vec2"])
def test_layers_of_a_pruned_model_are_left_out_with_what_was_removed_of_them(name: str, tmp_path: Path):
    """The kept layers are those of the pruned model, by weights and by heads; the folder says so by their new numbers."""
    kind = KINDS[name]
    model, processor = a_model(kind)
    found, _ = pruned(model)
    save_model(found, processor, tmp_path / "pruned")
    backbone = thinned(load_backbone(str(tmp_path / "pruned")), 1)
    short, report = backbone.build(kind.auto, seed=0)
    assert report.initialised == ()
    whole = dict(found.state_dict())
    assert all(torch.equal(value, whole[at]) for at, value in short.state_dict().items())
    assert [unit.count for unit in units_of(short)] == [unit.count for unit in units_of(found)][: len(units_of(short))]
    gone = removed_of(short.config)
    assert gone == {unit: parts for unit, parts in removed_of(found.config).items() if ".0." in unit}
    assert len(gone) == 1
    save_model(short, processor, tmp_path / "short")
    again, _ = load_backbone(str(tmp_path / "short")).build(kind.auto, seed=0)
    torch.testing.assert_close(said(again.eval(), kind), said(short.eval(), kind), atol=CLOSE, rtol=CLOSE)


def test_the_last_layer_of_a_pruned_model_becomes_the_second(tmp_path: Path):
    """Of three layers the first and the last are kept."""
    kind = KINDS["bert"]._replace(build=_text("bert", **(_WIDTHS | {"num_hidden_layers": 3})))
    model, processor = a_model(kind)
    found, _ = pruned(model)
    save_model(found, processor, tmp_path)
    short, _ = thinned(load_backbone(str(tmp_path)), 2).build(kind.auto, seed=0)
    before, after = removed_of(found.config), removed_of(short.config)
    assert list(before) == [f"encoder.layer.{number}.attention.self" for number in range(3)]
    first, _, last = before.values()
    assert list(after.values()) == [first, last]
    assert list(after) == list(before)[:2]
    query = "bert.encoder.layer.{}.attention.self.query.weight"
    assert torch.equal(short.state_dict()[query.format(1)], found.state_dict()[query.format(2)])


def test_learning_goes_on_and_is_saved(tmp_path: Path):
    """A pruned model that learned is written with its zeros, and reads back as it was."""
    kind = KINDS["bert"]
    model, processor = a_model(kind)
    found, _ = pruned(model)
    optimizer = torch.optim.SGD(found.parameters(), lr=0.1)
    found(**kind.inputs(), labels=torch.tensor([0, 1, 0])).loss.backward()
    optimizer.step()
    save_model(found, processor, tmp_path)
    again, _ = load_backbone(str(tmp_path)).build(kind.auto, seed=0)
    torch.testing.assert_close(said(again.eval(), kind), said(found, kind), atol=CLOSE, rtol=CLOSE)


def test_zeros_stay_zeros_in_transformers(tmp_path: Path):
    """The plain model may learn on: what was removed has no gradient."""
    from transformers import AutoModelForSequenceClassification

    kind = KINDS["bert"]
    model, processor = a_model(kind)
    found, _ = pruned(model)
    save_model(found, processor, tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        plain(**kind.inputs(), labels=torch.tensor([0, 1, 0])).loss.backward()
        optimizer.step()
    plain.save_pretrained(tmp_path)
    again, _ = load_backbone(str(tmp_path)).build(kind.auto, seed=0)
    torch.testing.assert_close(said(again.eval(), kind), said(plain.eval(), kind), atol=CLOSE, rtol=CLOSE)
    assert num_parameters(again) < num_parameters(plain)


def test_weights_that_are_not_zero_are_refused(tmp_path: Path):
    kind = KINDS["bert"]
    model, processor = a_model(kind)
    save_model(model, processor, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**told, REMOVED: {"encoder.layer.0.attention.self": [1]}}))
    with pytest.raises(ModelError, match="the weights do not agree"):
        load_backbone(str(tmp_path)).build(kind.auto, seed=0)


def test_unknown_architectures_are_refused():
    from transformers import AlbertConfig, AlbertForSequenceClassification

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "embedding_size": 16}
    model = AlbertForSequenceClassification(AlbertConfig(vocab_size=50, **sizes))
    with pytest.raises(UsageError, match="albert cannot be pruned") as caught:
        plan_of(model, model.config, HALF, first_counts={})
    assert "pretune distill" in caught.value.fix


def test_a_model_without_removed_parts_is_saved_as_it_is():
    model, _ = a_model(KINDS["bert"])
    assert full_weights(model) is None
    keep_parts(units_of(model)[0], [0, 1, 2, 3])
    assert full_weights(model) is None
