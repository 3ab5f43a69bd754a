"""Rounding to 8 bits: graphs, and models that learn as if they computed so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from pretune.compress.fake_quant import Rounding, convolves, fold_norms
from pretune.compress.int8_graph import Recipe, calibrate, layers_of, prepare, to_keep, write_int8
from pretune.compress.sensitivity import sensitivities
from pretune.engine.processor import processor_facts, saturates
from pretune.errors import DiskFull, UsageError
from pretune.export.onnx_graph import export_graph
from pretune.export.onnx_model import ALONE, OnnxModel
from pretune.tasks import ImageClassification, TextClassification
from tiny import LABELS, dataset_of, tiny_backbone, tiny_encoder, tiny_image_backbone, tiny_pictures, uneven_rows

pytestmark = pytest.mark.slow

exact_products = pytest.mark.skipif(
    saturates(processor_facts()), reason="sums of 8-bit products overflow on this processor (no VNNI, no AMX)"
)


class Tiny:
    """A model with its task, some items and its float graph, prepared."""

    def __init__(self, folder: Path, modality: str) -> None:
        from pretune.modalities.image.transform import image_transform_of

        torch.manual_seed(0)
        self.folder = folder
        if modality == "text":
            backbone = tiny_backbone()
            self.task: Any = TextClassification(LABELS, tiny_encoder(backbone, max_length=64))
            rows = dataset_of(uneven_rows(16))
        else:
            backbone = tiny_image_backbone("resnet-10")
            self.task = ImageClassification(LABELS, image_transform_of(backbone.processor))
            rows = dataset_of(tiny_pictures(16))
        self.model, _ = self.task.build(backbone, seed=0)
        for module in self.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.weight.data *= 4.0  # tiny weights would all give the same answer
        self.model.eval()
        stored = self.task.encode_rows(rows, fingerprint=f"int8-{modality}")
        self.batch = self.task.collate([stored[place] for place in range(16)])
        self.feeds = [
            {name: value[at : at + 4].numpy() for name, value in self.batch.inputs.items()} for at in range(0, 16, 4)
        ]
        export_graph(self.task, self.model, self.batch, folder / "float.onnx")
        self.prepared = folder / "prepared.onnx"
        self.layers = prepare(folder / "float.onnx", self.prepared)

    def answer(self, path: Path) -> np.ndarray:
        return OnnxModel(path, threads=1)(**self.batch.inputs).logits.numpy()

    def rounded(self, recipe: Recipe, name: str = "int8.onnx") -> Path:
        write_int8(self.prepared, self.folder / name, recipe, self.feeds)
        return self.folder / name


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("text"), "text")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("picture"), "image")


def kinds_of(path: Path) -> dict[int, int]:
    """Bytes of constants by their type."""
    found: dict[int, int] = {}
    for one in onnx.load(str(path)).graph.initializer:
        found[one.data_type] = found.get(one.data_type, 0) + numpy_helper.to_array(one).nbytes
    return found


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square, as a share of the spread of ``other``."""
    return float(np.sqrt(np.mean((one - other) ** 2)) / np.std(other))


def test_layers_are_called_by_their_modules(text: Tiny, picture: Tiny) -> None:
    names = [layer.name for layer in text.layers]
    assert "bert.encoder.layer.0.attention.self.query" in names
    assert "classifier" in names
    assert {layer.kind for layer in text.layers} == {"MatMul", "Gemm", "Gather"}
    modules = dict(picture.model.named_modules())
    assert all(layer.name in modules for layer in picture.layers)
    assert sum(layer.kind == "Conv" for layer in picture.layers) > 5


def test_what_the_exporter_noted_is_gone(text: Tiny) -> None:
    held = text.prepared.read_bytes()
    assert b"stack_trace" not in held
    assert str(Path(torch.__file__).parent).encode() not in held


def test_dynamic_rounds_products_and_tables(text: Tiny) -> None:
    path = text.rounded(Recipe("dynamic"))
    found = text.answer(path)
    assert 0.0 < difference(found, text.answer(text.prepared)) < 0.1
    kinds = kinds_of(path)
    assert kinds[TensorProto.INT8] > 4 * kinds[TensorProto.FLOAT]


def test_static_rounds_convolutions(picture: Tiny) -> None:
    ranges = calibrate(picture.prepared, picture.feeds, "minmax")
    path = picture.rounded(Recipe("static", calibration="minmax", ranges=ranges))
    assert 0.0 < difference(picture.answer(path), picture.answer(picture.prepared)) < 0.2
    kinds = kinds_of(path)
    assert kinds[TensorProto.INT8] > 4 * kinds[TensorProto.FLOAT]
    assert not list(picture.folder.glob("*calibrating*"))


@pytest.mark.parametrize("how", ["percentile", "entropy"])
def test_ranges_without_outliers_lie_within_the_whole_ones(picture: Tiny, how: str) -> None:
    whole = calibrate(picture.prepared, picture.feeds, "minmax")
    found = calibrate(picture.prepared, picture.feeds, how)
    wide = {name for name, (low, high) in found.items() if name in whole and high > low}
    assert len(wide) > 5
    for name in wide:
        slack = 0.05 * (whole[name][1] - whole[name][0])
        assert found[name][0] >= whole[name][0] - slack
        assert found[name][1] <= whole[name][1] + slack


def test_given_ranges_are_taken(picture: Tiny) -> None:
    ranges = calibrate(picture.prepared, picture.feeds, "minmax")
    narrow = {name: (low / 50, high / 50) for name, (low, high) in ranges.items()}
    reference = picture.answer(picture.prepared)
    good = picture.answer(picture.rounded(Recipe("static", ranges=ranges), "good.onnx"))
    bad = picture.answer(picture.rounded(Recipe("static", ranges=narrow), "bad.onnx"))
    assert difference(bad, reference) > 5 * difference(good, reference)


def test_layers_that_are_kept_stay_in_float(text: Tiny) -> None:
    reference = text.answer(text.prepared)
    everything = tuple(layer.name for layer in text.layers)
    for method in ("dynamic", "static"):
        same = text.answer(text.rounded(Recipe(method, keep_float=everything), "all.onnx"))
        assert np.allclose(same, reference, atol=1e-5)
    kept = to_keep(text.layers, ["bert.encoder.layer.1"])
    assert len(kept) == 6
    path = text.rounded(Recipe("dynamic", keep_float=kept), "some.onnx")
    floats = [layer.name for layer in layers_of(onnx.load(str(path)))]
    assert set(kept) <= set(floats)
    assert "bert.encoder.layer.0.output.dense" not in floats


def test_a_layer_that_is_not_there_is_named(text: Tiny) -> None:
    with pytest.raises(UsageError, match=r"names no layer(.|\n)*did you mean classifier\?"):
        to_keep(text.layers, ["classifer"])
    with pytest.raises(UsageError, match=r"--keep-float bert.encoder.layer.7 names no layer"):
        to_keep(text.layers, ["bert.encoder.layer.7"])
    assert to_keep(text.layers, ["bert.encoder.layer.1.output.dense"]) == ("bert.encoder.layer.1.output.dense",)


@exact_products
def test_the_most_sensitive_layer_is_found(text: Tiny) -> None:
    """One input of a layer weighs hundreds of times more than the rest, which its scale cannot serve."""
    model = onnx.load(str(text.prepared))
    node = next(one for one in model.graph.node if one.name == "bert.encoder.layer.1.intermediate.dense")
    weights = next(one for one in model.graph.initializer if one.name == node.input[1])
    values = numpy_helper.to_array(weights).copy()
    values[0] *= 300.0
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    spoilt = text.folder / "spoilt.onnx"
    onnx.save(model, str(spoilt))
    done: list[int] = []
    found = sensitivities(
        spoilt, text.layers, Recipe("dynamic"), text.feeds, lambda path: text.answer(path), on_group=done.append
    )
    assert "bert.encoder.layer.1.intermediate.dense" in found[0].layers
    assert found[0].change > 2 * found[1].change
    assert len(done) == len(found) <= 24
    assert not list(text.folder.glob("*alone*"))


def test_a_full_disk_is_said(text: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", no_space)
    with pytest.raises(DiskFull):
        write_int8(text.prepared, text.folder / "full.onnx", Recipe("dynamic"), text.feeds)


@pytest.mark.slow
def test_folded_norms_change_no_answer(tmp_path: Path) -> None:
    fresh = Tiny(tmp_path, "image")
    with torch.no_grad():
        before = fresh.model(**fresh.batch.inputs).logits
        count = fold_norms(fresh.model, lambda: fresh.model(**fresh.batch.inputs))
        after = fresh.model(**fresh.batch.inputs).logits
    assert count == sum(layer.kind == "Conv" for layer in fresh.layers)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fresh.model.modules())
    assert torch.allclose(before, after, atol=1e-4, rtol=1e-4)


@exact_products
def test_a_model_that_rounds_answers_as_its_int8_graph(tmp_path: Path) -> None:
    """Dynamic rounding in torch and in ONNX Runtime are the same arithmetic: much nearer to each other than to float."""
    fresh = Tiny(tmp_path, "text")
    graph = fresh.rounded(Recipe("dynamic", keep_float=to_keep(fresh.layers, ["bert.embeddings"])))
    reference = fresh.answer(fresh.prepared)
    rounding = Rounding(fresh.model, static=False)
    with torch.no_grad():
        rounded = fresh.model(**fresh.batch.inputs).logits.numpy()
    assert rounding.ranges() == {}
    assert difference(rounded, reference) > 1e-3
    assert difference(rounded, fresh.answer(graph)) < 0.35 * difference(rounded, reference)


@pytest.mark.slow
def test_gradients_pass_straight_through(tmp_path: Path) -> None:
    fresh = Tiny(tmp_path, "image")
    fold_norms(fresh.model, lambda: fresh.model(**fresh.batch.inputs))
    assert convolves(fresh.model)
    rounding = Rounding(fresh.model, static=True)
    fresh.model.train()
    loss = fresh.task.loss(fresh.model, fresh.batch)
    loss.total.backward()
    gradients = [parameter.grad for parameter in fresh.model.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients)
    assert all(bool(grad.abs().sum() > 0) for grad in gradients if grad is not None and grad.ndim > 1)
    ranges = rounding.ranges()
    assert all(low < high for low, high in ranges.values())
    fresh.model.eval()
    with torch.no_grad():
        fresh.model(**fresh.batch.inputs)
    assert rounding.ranges() == ranges, "ranges move in training mode only"
    rounding.finish()
    weight = fresh.model.get_submodule(next(iter(ranges))).weight  # type: ignore[union-attr]
    steps = weight[0] / (weight[0].abs().max() / 127)
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert not any(name.endswith(("low", "high", "original")) for name in fresh.model.state_dict())


def test_modules_in_float_are_not_rounded(text: Tiny) -> None:
    rounding = Rounding(text.model, static=False, keep_float=("bert.encoder.layer.0", "classifier"))
    names = set(rounding.layers)
    rounding.finish()
    assert "bert.encoder.layer.1.output.dense" in names
    assert not any(name.startswith("bert.encoder.layer.0") or name == "classifier" for name in names)
    assert not convolves(text.model)


def test_weights_take_seven_bits_where_products_would_overflow(text: Tiny) -> None:
    assert saturates({"kind": "x86_64", "int8": []})
    assert not saturates({"kind": "x86_64", "int8": ["avx512_vnni"]})
    assert not saturates({"kind": "aarch64", "int8": []})
    assert set(processor_facts()) == {"name", "kind", "int8"}
    path = text.rounded(dataclasses.replace(Recipe("dynamic"), narrow=True), "narrow.onnx")
    nodes = {name for one in onnx.load(str(path)).graph.node if one.op_type == "MatMulInteger" for name in one.input}
    weights = [
        numpy_helper.to_array(one)
        for one in onnx.load(str(path)).graph.initializer
        if one.name in nodes and one.data_type == TensorProto.INT8 and len(one.dims) == 2
    ]
    assert weights
    assert max(int(np.abs(one).max()) for one in weights) <= 64


def test_a_row_is_answered_alike_whatever_it_came_with(text: Tiny) -> None:
    """Rounding by the range of a batch would let rows, and padding, change each other's answers."""
    path = text.rounded(Recipe("dynamic", notes={ALONE: "yes"}), "alone-rows.onnx")
    model = OnnxModel(path, threads=1)
    together = model(**text.batch.inputs).logits
    lengths = text.batch.inputs["attention_mask"].sum(dim=1)
    assert len(set(lengths.tolist())) > 1
    for row, length in enumerate(lengths.tolist()):
        own = {name: value[row : row + 1, :length] for name, value in text.batch.inputs.items()}
        assert torch.equal(model(**own).logits[0], together[row])
    loose = OnnxModel(text.rounded(Recipe("dynamic"), "loose.onnx"), threads=1)
    assert not torch.equal(loose(**text.batch.inputs).logits, together)
