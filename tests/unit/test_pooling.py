"""Pooling: one vector of a text's tokens; what folders say of it; and folders that transformers itself answers alike from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import pretune
from conftest import make_rows
from pretune.backbones.load import load_backbone, save_model
from pretune.backbones.pooling.choice import chosen_pooling
from pretune.backbones.pooling.embedder import write_sentence_files
from pretune.backbones.pooling.pool import HEAD, MODES, Pool, parse_pooling
from pretune.backbones.pooling.told import told_pooling
from pretune.errors import ModelError, UsageError
from pretune.interface import Silent
from pretune.tasks import TextClassification
from tiny import LABELS, saved_teacher, tiny_backbone, tiny_encoder, uneven_rows

B, T, F = 4, 6, 8


class Output:
    def __init__(self, states: torch.Tensor) -> None:
        self.last_hidden_state = states


def masks() -> dict[str, torch.Tensor]:
    lengths_B = torch.tensor([6, 1, 3, 4])[:, None]
    return {
        "right": (torch.arange(T)[None] < lengths_B).long(),
        "left": (torch.arange(T)[None] >= T - lengths_B).long(),
    }


def by_hand(mode: str, states_TF: np.ndarray) -> np.ndarray:
    if mode in ("first", "last"):
        return states_TF[0 if mode == "first" else -1]
    if mode == "max":
        return states_TF.max(axis=0)
    weights_T = np.arange(1, len(states_TF) + 1) if mode == "weighted-mean" else np.ones(len(states_TF))
    return (weights_T[:, None] * states_TF).sum(axis=0) / weights_T.sum()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("first", "mean")])
def test_each_mode_reads_a_rows_own_positions_and_norms_the_vector(modes: tuple[str, ...], side: str) -> None:
    states_BTF, mask_BT = torch.randn(B, T, F, generator=torch.Generator().manual_seed(0)), masks()[side]
    found_BP = Pool(modes)(Output(states_BTF), mask_BT).numpy()
    for row in range(B):
        own_TF = states_BTF[row][mask_BT[row].bool()].numpy().astype(np.float64)
        wanted_P = np.concatenate([by_hand(mode, own_TF) for mode in modes])
        np.testing.assert_allclose(found_BP[row], (wanted_P - wanted_P.mean()) / wanted_P.std(), atol=1e-5)


def test_words_for_modes() -> None:
    assert parse_pooling("own") == ()
    assert parse_pooling("mean+first") == ("first", "mean")
    with pytest.raises(UsageError, match=r'did you mean "mean"'):
        parse_pooling("meen")


# --- what a folder says -----------------------------------------------------------------------------------------------


def encoder_folder(tmp_path: Path, told: Any, modules: Any = None) -> Path:
    (tmp_path / "1_Pooling").mkdir(exist_ok=True)
    text = told if isinstance(told, str) else json.dumps(told)
    (tmp_path / "1_Pooling" / "config.json").write_text(text)
    if modules is not None:
        (tmp_path / "modules.json").write_text(json.dumps(modules))
    return tmp_path


@pytest.mark.parametrize(
    ("told", "modes"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("first",)),
        ({"pooling_mode_mean_tokens": True, "word_embedding_dimension": 8}, ("mean",)),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}, ("max", "mean")),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean",)),
        ({"pooling_mode_weightedmean_tokens": True}, ("weighted-mean",)),
        ({"pooling_mode_lasttoken": True}, ("last",)),
        ({"pooling_mode_mean_tokens": False}, ("mean",)),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 8, "include_prompt": True}, ("last",)),
        ({"pooling_mode": ["mean", "cls"]}, ("first", "mean")),
    ],
)
def test_every_mode_of_sentence_encoders_is_read(told: dict[str, Any], modes: tuple[str, ...], tmp_path: Path) -> None:
    found = told_pooling(encoder_folder(tmp_path, told), F)
    assert found is not None
    assert found.modes == modes
    assert found.where == "1_Pooling/config.json"


@pytest.mark.parametrize(
    ("told", "modules", "says"),
    [
        ({"pooling_mode_attention_tokens": True}, None, "pooling by attention_tokens, which pretune does not know"),
        ({"pooling_mode": "attention"}, None, "choose one yourself: --pooling mean"),
        ({"pooling_mode": "mean", "embedding_dimension": 768}, None, "768 features a token, this one has 8"),
        ("{", None, "is not valid JSON"),
        ("[]", None, "holds a list"),
        ({}, [{"type": "x.Pooling", "path": "../../elsewhere"}], "outside of its own"),
    ],
)
def test_what_cannot_be_followed_is_refused(told: Any, modules: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        told_pooling(encoder_folder(tmp_path, told, modules), F)
    assert says in str(caught.value)


def test_modules_say_where_the_pooling_is_and_what_comes_after(tmp_path: Path) -> None:
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        {"type": "sentence_transformers.models.Dense", "path": "2_Dense"},
        {"type": "sentence_transformers.models.Normalize", "path": "3_Normalize"},
    ]
    found = told_pooling(encoder_folder(tmp_path, {"pooling_mode_cls_token": True}, modules), F)
    assert found is not None
    assert "2_Dense" in found.notes[0]
    assert "Normalize" not in found.notes[0]
    assert told_pooling(encoder_folder(tmp_path, {}, modules[:1]), F) is None


def test_a_real_sentence_encoder_says_mean(minilm_dir: Path) -> None:
    backbone = load_backbone(str(minilm_dir))
    assert chosen_pooling("auto", backbone).modes == ("mean",)
    assert chosen_pooling("own", backbone).modes == ()
    assert chosen_pooling("auto", tiny_backbone()).modes == ("mean",)


def test_pre_training_goes_on_as_the_folder_is_read(tmp_path: Path) -> None:
    """A sentence encoder that learned on from a domain's texts was read at its first position from then on."""
    folder = shutil.copytree(saved_teacher("text"), tmp_path / "encoder")
    write_sentence_files(folder, ("mean",), width=64, longest=None)
    (tmp_path / "corpus.txt").write_text("\n".join(row["text"] for row in make_rows(60)), encoding="utf-8")
    pretune.pretrain(
        folder, data=tmp_path / "corpus.txt", max_steps=2, threads=1, out=tmp_path / "domain", say=Silent()
    )
    assert chosen_pooling("auto", load_backbone(str(tmp_path / "domain"))).modes == ("mean",)
    pretune.pretrain(
        saved_teacher("text"),
        data=tmp_path / "corpus.txt",
        max_steps=2,
        threads=1,
        out=tmp_path / "other",
        say=Silent(),
    )
    assert chosen_pooling("auto", load_backbone(str(tmp_path / "other"))).is_open


@pytest.mark.parametrize(("preset", "modes"), [("bert-tiny", ("mean",)), ("gpt-tiny", ())])
def test_a_trunk_of_fresh_weights_is_read_as_they_are(preset: str, modes: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing made its first position stand for the text; a decoder is read by its own head."""
    (tmp_path / "corpus.txt").write_text("\n".join(row["text"] for row in make_rows(60)), encoding="utf-8")
    begun = f"scratch:{preset}"
    fresh: dict[str, Any] = {"vocab_size": 300}
    for out in ("base", "longer"):
        pretune.pretrain(
            begun, data=tmp_path / "corpus.txt", **fresh, max_steps=2, threads=1, out=tmp_path / out, say=Silent()
        )
        begun = str(tmp_path / out)
        fresh.clear()
        assert chosen_pooling("auto", load_backbone(begun)).modes == modes


# --- folders of pooled classifiers ------------------------------------------------------------------------------------


def saved(tmp_path: Path, family: str, modes: tuple[str, ...]) -> tuple[Any, Path]:
    backbone = tiny_backbone(family)
    model, _ = backbone.build("x", seed=3, pooling=modes, num_labels=3, id2label=dict(enumerate(LABELS)))
    with torch.no_grad():
        getattr(model, HEAD).bias.add_(torch.tensor([0.3, -0.2, 0.1]))
    save_model(model, backbone.tokenizer, tmp_path / "saved")
    return model.eval(), tmp_path / "saved"


def answers(model: torch.nn.Module, folder: Path) -> torch.Tensor:
    tokenizer = load_backbone(str(folder)).tokenizer
    texts = [row["text"] for row in uneven_rows(6)]
    inputs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    with torch.inference_mode():
        return model.eval()(**inputs).logits


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("modes", [("mean",), ("first",), ("max",), ("first", "mean")])
def test_a_pooled_classifier_comes_back_bit_for_bit(family: str, modes: tuple[str, ...], tmp_path: Path) -> None:
    model, folder = saved(tmp_path, family, modes)
    backbone = load_backbone(str(folder))
    assert backbone.pooled is not None
    assert chosen_pooling("auto", backbone).modes == modes
    again, report = backbone.build("x", seed=9, pooling=modes)
    assert report.initialised == ()
    weights = again.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert backbone.config.num_hidden_layers == model.config.num_hidden_layers


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("mode", ["mean", "first"])
def test_transformers_own_class_answers_the_same_from_the_folder(family: str, mode: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model, folder = saved(tmp_path, family, (mode,))
    plain, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    torch.testing.assert_close(answers(plain, folder), answers(model, folder), atol=2e-5, rtol=0)
    plain.set_attn_implementation("eager")
    torch.testing.assert_close(answers(plain, folder), answers(model, folder), atol=2e-5, rtol=0)


def test_what_transformers_cannot_say_is_new_to_it_never_wrong_in_silence(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    _, folder = saved(tmp_path, "bert", ("max",))
    _, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert {"classifier.weight", "classifier.bias"} <= set(info["missing_keys"])


def test_the_head_is_not_taken_for_another(tmp_path: Path) -> None:
    _, folder = saved(tmp_path, "bert", ("mean",))
    backbone = load_backbone(str(folder))
    _, own = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    assert {"classifier.weight", "bert.pooler.dense.weight"} <= set(own.initialised)
    _, other = backbone.build("x", seed=0, pooling=("max",), num_labels=3)
    assert other.initialised == (f"{HEAD}.bias", f"{HEAD}.weight")
    _, more = backbone.build("x", seed=0, pooling=("mean",), num_labels=5)
    assert more.mismatched == (f"{HEAD}.bias", f"{HEAD}.weight")
    own_model, _ = backbone.build("AutoModelForSequenceClassification", seed=0, num_labels=3)
    save_model(own_model, backbone.tokenizer, tmp_path / "own")
    assert load_backbone(str(tmp_path / "own")).pooled is None


def test_classes_of_a_pooled_classifier_are_joined_by_name(tmp_path: Path) -> None:
    model, folder = saved(tmp_path, "bert", ("mean",))
    turned = dict(enumerate(reversed(LABELS)))
    again, report = load_backbone(str(folder)).build("x", seed=0, pooling=("mean",), num_labels=3, id2label=turned)
    assert report.classes
    torch.testing.assert_close(getattr(again, HEAD).weight, getattr(model, HEAD).weight.flip(0))


@pytest.mark.parametrize("what", ["attention.self.query", "output.LayerNorm"])
def test_a_folder_that_was_trained_on_elsewhere_is_refused(what: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path, "bert", ("mean",))
    weights = load_file(folder / "model.safetensors")
    weights[f"bert.encoder.layer.2.{what}.weight"] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not those of a layer that only pools"):
        load_backbone(str(folder))
    config = json.loads((folder / "config.json").read_text())
    del config["pooled"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_backbone(str(folder)).config.num_hidden_layers == 3


@pytest.mark.parametrize(
    "told", [5, {}, {"modes": []}, {"modes": ["median"]}, {"modes": ["mean"], "layer": 3}, {"modes": ["mean"], "x": ""}]
)
def test_a_config_that_says_what_cannot_be_is_refused(told: Any, tmp_path: Path) -> None:
    _, folder = saved(tmp_path, "bert", ("mean",))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pooled": told}))
    with pytest.raises(ModelError, match=r"config\.json says pooled ="):
        load_backbone(str(folder))


def test_a_task_keeps_its_pooling(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    task = TextClassification(LABELS, tiny_encoder(backbone), pooling=("first", "mean"))
    model, _ = task.build(backbone, seed=0)
    save_model(model, task.processor_to_save(backbone), tmp_path)
    loaded = load_backbone(str(tmp_path))
    restored = TextClassification.restore(task.to_dict(), loaded)
    assert restored.pooling == ("first", "mean")
    _, report = restored.build(loaded, seed=1)
    assert report.initialised == ()
    older = {key: value for key, value in task.to_dict().items() if key != "pooling"}
    assert TextClassification.restore(older, loaded).pooling == ()


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_sentence_transformers_pools_alike(side: str) -> None:
    st = pytest.importorskip("sentence_transformers.sentence_transformer.modules.pooling")
    states_BTF, mask_BT = torch.randn(B, T, F, generator=torch.Generator().manual_seed(1)), masks()[side]
    names = {"first": "cls", "last": "lasttoken", "weighted-mean": "weightedmean"}
    for mode in MODES:
        theirs = st.Pooling(F, names.get(mode, mode))({"token_embeddings": states_BTF, "attention_mask": mask_BT})
        wanted_BF = torch.nn.functional.layer_norm(theirs["sentence_embedding"], (F,), eps=1e-12)
        torch.testing.assert_close(Pool((mode,))(Output(states_BTF), mask_BT), wanted_BF, atol=1e-5, rtol=0)
