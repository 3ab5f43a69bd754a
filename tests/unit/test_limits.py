"""What a model's folder may ask for: absurd numbers, devices, endless tokenizers and graphs are refused before anything is built."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from absurd import CASES, Case, endless_loop, graph, growing, laughing, outside, slow_product, split, tokenizer
from pretune.backbones.load import load_backbone, save_model
from pretune.backbones.loading import limits
from pretune.backbones.loading.limits import check_config, check_preprocessor, check_tokenizer, refuse_too_large
from pretune.errors import CorruptFile, ModelError, PretuneError
from pretune.export.graphs import limits as graph_limits
from pretune.export.graphs.limits import check_graph, trust_graph
from tiny import tiny_backbone

FOLDERS = [case for case in CASES if case.of == "model"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model, which is taken as it is."""
    import transformers

    backbone = tiny_backbone("bert")
    config = copy.deepcopy(backbone.config)
    config.vocab_size = len(backbone.tokenizer)
    folder = tmp_path_factory.mktemp("whole") / "model"
    save_model(transformers.AutoModelForMaskedLM.from_config(config), backbone.tokenizer, folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def build(folder: Path) -> None:
    load_backbone(str(folder)).build("AutoModelForSequenceClassification", seed=0, num_labels=3)


def test_a_whole_folder_is_taken(whole: Path):
    build(whole)


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name)
def test_a_folder_that_asks_for_absurd_things_is_refused(case: Case, whole: Path, tmp_path: Path):
    folder = shutil.copytree(whole, tmp_path / "model")
    case.change(folder)
    with pytest.raises(PretuneError) as caught:
        build(folder)
    assert case.named in str(caught.value)
    assert caught.value.fix
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "told",
    [
        {"vocab_size": 256_000, "hidden_size": 8192, "num_hidden_layers": 80, "rope_theta": 1e9, "eos_token_id": 255_999},
        {"image_size": [224, 224], "patch_size": 16, "depths": [3, 4, 23, 3], "layer_norm_eps": 1e-12},
        {"conv_kernel": [10, 3, 3], "num_conv_pos_embeddings": 128, "max_position_embeddings": 1_048_576, "pad_token_id": -1},
    ],
)  # fmt: skip
def test_the_numbers_of_real_models_pass(told: dict[str, Any]):
    check_config(told, Path("config.json"), None)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"size": {"height": 10**6, "width": 224}}, r"size\.height = 1000000, allowed: 1 to 8192"),
        ({"sampling_rate": 1}, "sampling_rate = 1, allowed: 100 to 1000000"),
        ({"n_fft": 10**9}, "n_fft"),
    ],
)
def test_processors_that_ask_for_absurd_things(told: dict[str, Any], named: str):
    with pytest.raises(ModelError, match=named):
        check_preprocessor(told, Path("preprocessor_config.json"))


def test_weights_that_do_not_fit_into_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "free_memory_bytes", lambda: 2**30)
    refuse_too_large("a model", 2**30)
    with pytest.raises(ModelError, match=r"a model needs 3\.0 GiB of memory, 1\.0 GiB are free"):
        refuse_too_large("a model", 3 * 2**30)


def test_a_class_may_be_called_as_a_field_of_a_config_is(tmp_path: Path):
    told = {"id2label": {"982": "ballplayer, baseball player"}, "label2id": {"ballplayer, baseball player": 982}}
    check_config(told, tmp_path / "config.json", None)


def test_a_tokenizer_is_tried_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = shutil.copytree(whole, tmp_path / "model")
    tokenizer(pre_tokenizer=split(r"\w+|[^\w\s]+"))(folder)
    check_tokenizer(folder)
    monkeypatch.setattr("pretune.trial.subprocess.run", lambda *_args, **_more: pytest.fail("it was tried again"))
    check_tokenizer(folder)


def test_rows_longer_than_the_model_takes_name_the_file(whole: Path, tmp_path: Path):
    from pretune.tasks import TextClassification

    backbone = load_backbone(str(whole))
    told = {"labels": ["a", "b"], "max_length": 10**12, "long_text": "truncate"}
    with pytest.raises(CorruptFile, match=r"pretune\.json says max_length 1000000000000, the model beside it takes"):
        TextClassification.restore(told, backbone)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a graph that gives three numbers for token ids."""
    import onnx
    from onnx import helper

    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=1),
        helper.make_node("ReduceMean", ["ids"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "mean", "mean"], ["logits"], axis=1),
    ]
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])
    made = helper.make_graph(nodes, "whole", inputs, [logits])
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return tmp_path


def test_a_graph_is_tried_once(run: Path, monkeypatch: pytest.MonkeyPatch):
    check_graph(run / "model" / "model.onnx")
    monkeypatch.setattr("pretune.trial.subprocess.run", lambda *_args, **_more: pytest.fail("it was tried again"))
    check_graph(run / "model" / "model.onnx")


def test_a_graph_of_our_own_is_not_tried(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pretune.trial.subprocess.run", lambda *_args, **_more: pytest.fail("it was tried"))
    trust_graph(run / "model" / "model.onnx")
    check_graph(run / "model" / "model.onnx")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (endless_loop, r"holds a loop \(Loop\)"),
        (laughing, "functions of its own"),
        (outside, "which is no file beside it"),
        (growing, "too much memory|takes longer"),
        (slow_product, "takes longer than 1 seconds"),
    ],
)
def test_a_graph_that_does_not_end_is_refused(
    make: Callable[[Any], Any], why: str, run: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(graph_limits, "_TRIAL_SECONDS", 1.0)
    graph(make)(run)
    with pytest.raises(ModelError, match=why) as caught:
        check_graph(run / "model" / "model.onnx")
    assert "model.onnx" in caught.value.problem
