"""Loading: fresh and trained models, what was drawn at random, and every unsafe or broken folder refused with words."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pretune.backbones.load import Backbone, LoadReport, load_backbone, save_model
from pretune.backbones.presets.named import preset_names
from pretune.backbones.text.limits import max_length_of
from pretune.errors import ModelError, PretuneError, UsageError

TEXTS = ["one two three four five six", "seven eight nine ten eleven twelve"] * 20


@cache
def scratch(preset: str = "bert-tiny") -> Backbone:
    return load_backbone(f"scratch:{preset}", texts=lambda: TEXTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved tiny classifier."""
    model, _ = scratch().build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    save_model(model, scratch().tokenizer, tmp_path / "saved")
    return tmp_path / "saved"


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("preset", "length"), [("bert-tiny", 512), ("roberta-tiny", 512)])
def test_fresh_weights(preset: str, length: int) -> None:
    backbone = scratch(preset)
    assert max_length_of(backbone) == length
    assert backbone.facts["tokenizer_source"] == "trained on 40 texts"
    assert backbone.facts["vocabulary"] == backbone.config.vocab_size == len(backbone.tokenizer)
    assert backbone.uses_segments == (preset == "bert-tiny")
    json.dumps(backbone.facts)
    model, report = backbone.build("AutoModelForMaskedLM", seed=3)
    assert report.fresh
    assert set(report.initialised) == {name for name, _ in model.named_parameters()}
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    row = torch.full((1, length), 5)
    assert model(row).logits.shape == (1, length, len(backbone.tokenizer))
    bare, _ = backbone.build("AutoModel", seed=0)
    assert backbone.facts["parameters"] == sum(parameter.numel() for parameter in bare.parameters())


def test_sizes_of_the_paper() -> None:
    assert len([name for name in preset_names() if name.startswith(("bert-", "roberta-"))]) == 12
    config = scratch("roberta-tiny").config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (2, 128, 2)
    assert (config.intermediate_size, config.max_position_embeddings, config.pad_token_id) == (512, 514, 1)


def test_new_weights_follow_the_seed_and_leave_the_generator_alone(folder: Path) -> None:
    for backbone in (scratch(), load_backbone(str(folder))):
        torch.manual_seed(5)
        first, _ = backbone.build("AutoModelForMaskedLM", seed=1)
        after = torch.rand(1)
        torch.manual_seed(6)
        again, _ = backbone.build("AutoModelForMaskedLM", seed=1)
        other, _ = backbone.build("AutoModelForMaskedLM", seed=2)
        torch.manual_seed(5)
        assert torch.equal(torch.rand(1), after)
        first_weights, again_weights = weights(first), weights(again)
        assert all(torch.equal(value, again_weights[name]) for name, value in first_weights.items())
        key = "cls.predictions.transform.dense.weight"
        assert not torch.equal(first_weights[key], weights(other)[key])


def test_a_saved_model_comes_back_whole(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    expected, _ = scratch().build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    backbone = load_backbone(str(folder))
    model, report = backbone.build("AutoModelForSequenceClassification", seed=9)
    assert report == LoadReport()
    assert model.config.num_labels == 3
    plain = weights(AutoModelForSequenceClassification.from_pretrained(folder))
    for name, value in weights(expected).items():
        assert torch.equal(value, weights(model)[name])
        assert torch.equal(value, plain[name])
    assert backbone.tokenizer("one two").data == scratch().tokenizer("one two").data


def test_a_head_of_another_size_is_told_not_silent(folder: Path) -> None:
    backbone = load_backbone(str(folder))
    _, same = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    _, report = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=5)
    assert same.initialised == ()
    assert report.mismatched == report.initialised == ("classifier.bias", "classifier.weight")
    _, masked = backbone.build("AutoModelForMaskedLM", seed=0)
    assert "classifier.weight" in masked.unexpected
    assert "cls.predictions.bias" in masked.missing
    assert backbone.config.num_labels == 3
    with pytest.raises(ModelError, match="has no setting drop_out"):
        backbone.build("AutoModel", seed=0, drop_out=0.5)


def test_a_run_folder_is_a_backbone(folder: Path) -> None:
    run = folder.parent / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="no finished model"):
        load_backbone(str(run))
    shutil.copytree(folder, run / "model")
    assert load_backbone(str(run)).folder == run / "model"
    found = load_backbone("scratch:bert-mini", tokenizer=str(run))
    assert len(found.tokenizer) == len(scratch().tokenizer)


def test_a_real_encoder(minilm_dir: Path) -> None:
    backbone = load_backbone(str(minilm_dir))
    assert max_length_of(backbone) == 512
    assert (backbone.facts["vocabulary"], backbone.facts["tokenizer"]) == (30522, "WordPiece")
    model, report = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=4)
    assert report.initialised == ("classifier.bias", "classifier.weight")
    assert set(report.unexpected) <= {"embeddings.position_ids"}  # in the file; some versions of transformers name it
    assert report.mismatched == ()
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "sdpa"


def set_keys(name: str, **keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def escape(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "evil.safetensors")
    index = {"weight_map": {"a": "../evil.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def leave_out(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


BROKEN = {
    "pickle only": (only_pickle, "pytorch_model.bin, a pickle.*save_pretrained"),
    "pickle with another name": (write("model.safetensors", pickle.dumps({"a": 1})), "is a pickle"),
    "zip with another name": (write("model.safetensors", b"PK\x03\x04" + b"0" * 50), "is a pickle"),
    "cut short": (cut, "model.safetensors .* is damaged"),
    "garbage": (write("model.safetensors", b"\xff" * 200), "is damaged"),
    "empty": (write("model.safetensors", b""), "is damaged"),
    "shard outside": (escape, "evil.safetensors, which is not in"),
    "no weights": (leave_out("model.safetensors"), "holds no model.safetensors"),
    "no config": (leave_out("config.json"), "holds no config.json"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("token*")] and None, "holds no tokenizer"),
    "broken tokenizer": (write("tokenizer.json", b"{}"), "cannot be loaded"),
    "broken config": (write("config.json", b'{"a": '), "config.json is not valid JSON"),
    "deep config": (write("config.json", b"[" * 100_000), "config.json is not valid JSON"),
    "config is a list": (write("config.json", b"[]"), "not an object"),
    "code in config": (set_keys("config.json", auto_map={"AutoConfig": "x.Y"}), "auto_map.*--trust-remote-code"),
    "code in tokenizer": (set_keys("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}), "auto_map"),
    "hub kernel": (
        set_keys("config.json", _attn_implementation_internal="kernels-community/flash"),
        "may not set this",
    ),
    "hub kernel inside": (set_keys("config.json", sub={"attn_implementation": "a/b"}), "may not set this"),
    "trusts itself": (set_keys("config.json", trust_remote_code=True), "may not set this"),
    "unknown type": (set_keys("config.json", model_type="bertt"), "cannot be loaded"),
    "no type": (write("config.json", b"{}"), "cannot be loaded"),
    "wrong value": (set_keys("config.json", hidden_size="wide"), "cannot be loaded"),
    "wrong size": (set_keys("config.json", hidden_size=64), "another shape"),
    "wrong vocabulary": (set_keys("config.json", vocab_size=7), "mixes files of two models"),
    "other architecture": (set_keys("config.json", model_type="roberta"), "encoder weights are not in the file"),
    "adapter": (write("adapter_config.json", b"{}"), "merge"),
}


@pytest.mark.parametrize(
    ("case", "auto_class"),
    [
        *((case, "AutoModelForSequenceClassification") for case in BROKEN),
        *((case, "AutoModel") for case in ("wrong size", "other architecture")),
    ],
)
def test_broken_or_unsafe_folders_are_refused(case: str, auto_class: str, folder: Path) -> None:
    spoil, message = BROKEN[case]
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        load_backbone(str(folder)).build(auto_class, seed=0)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    assert caught.value.fix


def test_a_bare_encoder_may_lack_its_pooler(tmp_path: Path) -> None:
    model, _ = scratch().build("AutoModelForMaskedLM", seed=0)
    save_model(model, scratch().tokenizer, tmp_path)
    bare, report = load_backbone(str(tmp_path)).build("AutoModel", seed=0)
    assert report.initialised == ("pooler.dense.bias", "pooler.dense.weight")
    assert torch.equal(bare.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_what_older_transformers_wrote_is_fine(folder: Path) -> None:
    set_keys("config.json", _attn_implementation_autoset=True, _name_or_path="x", _num_labels=3)(folder)
    load_backbone(str(folder)).build("AutoModel", seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scratch:bert-mni", {}, 'did you mean "bert-mini"'),
        ("scratch:", {}, "is not a preset"),
        ("bert-mini", {}, "did you mean scratch:bert-mini"),
        ("scratch:bert-mini", {}, "give texts"),
        ("scratch:bert-mini", {"tokenizer": "wordpeice"}, 'did you mean "wordpiece"'),
        ("./nowhere", {}, "no folder ./nowhere"),
        ("/nowhere/at/all", {}, "no folder"),
        ("google-bert/bert-base-uncased", {}, "download the model to a folder"),
        (__file__, {}, "is a file"),
    ],
)
def test_names_that_lead_nowhere(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PretuneError) as caught:
        load_backbone(name, **options)
    assert message in str(caught.value)


def test_a_trained_model_keeps_its_tokenizer(folder: Path) -> None:
    for options in ({"tokenizer": "bpe"}, {"vocab_size": 500}):
        with pytest.raises(UsageError, match="keeps its own tokenizer"):
            load_backbone(str(folder), **options)


@pytest.mark.parametrize("preset", ["vit-mini", "resnet-18", "resnet-50", "vgg-11", "mobilenet-v2"])
def test_image_presets_have_their_published_sizes_and_build(preset: str) -> None:
    found = load_backbone(f"scratch:{preset}", image_size=64)
    assert found.modality == "image"
    millions = found.facts["parameters"] / 1e6
    published = {"resnet-18": 11.2, "resnet-50": 23.5, "vgg-11": 128.8, "mobilenet-v2": 2.2, "vit-mini": 2.8}
    assert millions == pytest.approx(published[preset], rel=0.02)
    assert found.facts["image_size"] == [64, 64]


@pytest.mark.slow
def test_a_fresh_vgg_answers() -> None:
    model, report = load_backbone("scratch:vgg-11", image_size=32).build(
        "AutoModelForImageClassification", seed=0, num_labels=3
    )
    assert report.fresh
    assert model.eval()(pixel_values=torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)
