"""A model as an ONNX graph: equal answers at every batch size and length, for every task that pretune has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pretune.backbones.cpu.fast import make_fast
from pretune.errors import ModelError
from pretune.export.onnx_graph import LogitsOnly, export_graph, plain
from pretune.export.onnx_model import OnnxModel
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import ImageClassification, ImageMultilabelClassification, TextClassification
from pretune.tasks.classes.text_classification import TextMultilabelClassification
from pretune.types import Encoded, Example
from tiny import (
    LABELS,
    tiny_backbone,
    tiny_clips,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
    uneven_rows,
)

pytestmark = pytest.mark.slow

Case = tuple[Any, torch.nn.Module, list[Encoded]]
MAX_LENGTH = 64


def text_case(family: str, kind: Any = TextClassification) -> Case:
    backbone = tiny_backbone(family)
    task = kind(LABELS, tiny_encoder(backbone, max_length=MAX_LENGTH))
    texts = ["a", *(row["text"] for row in uneven_rows(9)), "the home team won the cup " * 40]
    return _built(task, backbone, [{"text": text} for text in texts])


def picture_case(preset: str, kind: Any = ImageClassification) -> Case:
    backbone = tiny_image_backbone(preset) if preset.startswith(("vit", "resnet")) else _mobilenet()
    return _built(kind(LABELS, image_transform_of(backbone.processor)), backbone, tiny_pictures(9))


def sound_case(kind: str, **options: str) -> Case:
    task, backbone = tiny_sound_task(kind, **options)
    return _built(task, backbone, tiny_clips(9))


def _mobilenet() -> Any:
    from pretune.backbones.load import load_backbone

    found = load_backbone("scratch:mobilenet-v2", image_size=32)
    found.config.depth_multiplier = 0.25
    return found


def _built(task: Any, backbone: Any, rows: list[dict[str, Any]]) -> Case:
    model, _ = task.build(backbone, seed=0)
    return task, model.eval(), [task.encode(Example(str(i), row))[0] for i, row in enumerate(rows)]


CASES: dict[str, Callable[[], Case]] = {
    "bert": lambda: text_case("bert"),
    "roberta-labels": lambda: text_case("roberta", TextMultilabelClassification),
    "vit": lambda: picture_case("vit-micro"),
    "resnet-labels": lambda: picture_case("resnet-10", ImageMultilabelClassification),
    "mobilenet": lambda: picture_case("mobilenet-v2"),
    "wav2vec2": lambda: sound_case("sound"),
    "wav2vec2-untold": lambda: sound_case("speech", hears="untold"),
    "wav2vec2-speech": lambda: sound_case("speech"),
    "conformer-speech": lambda: sound_case("speech", hears="features"),
    "conformer-labels": lambda: sound_case("sound-labels", hears="features"),
}


def said(task: Any, model: torch.nn.Module, rows: list[Encoded]) -> torch.Tensor:
    """The logits of a batch, by the path that the task's predictions take."""
    batch = task.collate(rows)
    with torch.inference_mode():
        return task.logits_of(model, batch) if hasattr(task, "logits_of") else task._log_probs(model, batch)


def equal_at_every_size(task: Any, model: torch.nn.Module, graph: OnnxModel, rows: list[Encoded]) -> None:
    for part in (rows[:1], rows[-1:], rows[2:9], rows, rows[:2]):
        expected, found = (said(task, one, part) for one in (model.eval(), graph.to("cpu").eval()))
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected.float().numpy(), atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name != "bert"])
def test_a_graph_answers_as_its_model_at_every_size(name: str, tmp_path: Path):
    task, model, rows = CASES[name]()
    signature = export_graph(task, model, task.collate(rows[1:4]), tmp_path / "model.onnx")
    assert all(one["shape"][0] == "batch" for one in signature["inputs"])
    equal_at_every_size(task, model, OnnxModel(tmp_path / "model.onnx", threads=1), rows)


class Bert(NamedTuple):
    task: Any
    model: torch.nn.Module
    rows: list[Encoded]
    path: Path
    signature: dict[str, Any]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Bert:
    """Exported with one row in the batch, which a tracer would take for a constant."""
    task, model, rows = CASES["bert"]()
    path = tmp_path_factory.mktemp("bert") / "model.onnx"
    return Bert(task, model, rows, path, export_graph(task, model.train(), task.collate(rows[1:2]), path))


def test_a_text_graph_answers_as_its_model_at_every_size(bert: Bert):
    assert bert.signature["inputs"][0] == {"name": "input_ids", "type": "int64", "shape": ["batch", "length"]}
    assert bert.signature["outputs"] == [{"name": "logits", "type": "float", "shape": ["batch", len(LABELS)]}]
    assert [len(row.arrays["input_ids"]) for row in bert.rows][:: len(bert.rows) - 1] == [3, MAX_LENGTH]
    graph = OnnxModel(bert.path, threads=1)
    assert not list(graph.parameters())
    equal_at_every_size(bert.task, bert.model, graph, bert.rows)


def test_a_graph_holds_no_path_of_the_machine_it_was_made_on(bert: Bert):
    written = bert.path.read_bytes()
    assert b"name_scopes" in written, "8-bit graphs call layers by their modules"
    assert not any(path in written for path in (b"site-packages", b".py", str(Path.cwd()).encode()))


def test_the_model_is_given_back_as_it_was(tmp_path: Path):
    _, model, _ = text_case("bert")
    before = model.config._attn_implementation  # type: ignore[union-attr]
    with plain(model.train()) as traced:
        assert traced.config._attn_implementation == "eager"  # type: ignore[union-attr]
        assert not traced.training
    assert model.training
    assert model.config._attn_implementation == before != "eager"  # type: ignore[union-attr]


def test_layers_changed_for_speed_are_not_traced(tmp_path: Path):
    task, model, rows = text_case("bert")
    with pytest.raises(AssertionError, match="make_fast"):
        export_graph(task, make_fast(model), task.collate(rows), tmp_path / "model.onnx")


def test_a_model_that_cannot_be_traced_is_refused(tmp_path: Path):
    class Odd(torch.nn.Module):
        def forward(self, **inputs: torch.Tensor) -> Any:
            return type("Output", (), {"logits": torch.tensor(float(inputs["input_ids"].sum()))})

    task, _, rows = text_case("bert")
    with pytest.raises(ModelError, match="Odd cannot be written as ONNX"):
        export_graph(task, Odd(), task.collate(rows), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_for_one_length_only_is_refused(tmp_path: Path):
    class Fixed(torch.nn.Module):
        def forward(self, **inputs: torch.Tensor) -> Any:
            ids = inputs["input_ids"]
            return type("Output", (), {"logits": ids.float() @ torch.ones(int(ids.shape[1]), 3)})

    task, _, rows = text_case("bert")
    with pytest.raises(ModelError, match=r"one length only|cannot be written"):
        export_graph(task, Fixed(), task.collate(rows), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07\x12\x04test" * 50])
def test_a_damaged_graph_is_refused(content: bytes, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        OnnxModel(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="holds no other"):
        OnnxModel(tmp_path / "other.onnx")


def test_a_graph_cut_short_is_refused(bert: Bert, tmp_path: Path):
    whole = bert.path.read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be run"):
        OnnxModel(tmp_path / "model.onnx")


def test_a_foreign_graph_is_refused(tmp_path: Path):
    from onnx import TensorProto, helper, save

    def graph(inputs: str, outputs: str) -> Path:
        told = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in (inputs, outputs)]
        made = helper.make_graph([helper.make_node("Relu", [inputs], [outputs])], "g", told[:1], told[1:])
        path = tmp_path / f"{inputs}-{outputs}.onnx"
        save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
        return path

    with pytest.raises(ModelError, match="its outputs are y"):
        OnnxModel(graph("input_ids", "y"))
    with pytest.raises(ModelError, match="asks for odd"):
        OnnxModel(graph("odd", "logits"))(input_ids=torch.ones(1))


def test_what_is_traced_takes_its_inputs_by_their_names():
    """torch 2.11 looks for the free sizes of inputs there, and exports nothing where it finds asterisks."""
    task, model, items = text_case("bert")
    inputs = task.collate(items[:2]).inputs
    traced = LogitsOnly(model.eval(), inputs)
    assert list(inspect.signature(traced.forward).parameters) == list(inputs)
    with torch.no_grad():
        assert torch.equal(traced(**inputs), model(**inputs).logits)
