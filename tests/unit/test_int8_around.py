"""What of a graph gets 8 bits around its layers, and which layers a way to round reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pretune.compress.int8_graph import Layer, Recipe, calibrate, prepare, write_int8


def _graph(place: Path) -> None:
    """Two convolutions with a sum between them; of what the second says places are computed, as a detector's are."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal((4, depth, 1, 1)).astype(np.float32)
        for name, depth in (("a.weight", 3), ("b.weight", 4))
    }
    numbers = {**weights, "far": np.array(320.0, np.float32)}
    nodes = [
        helper.make_node("Conv", ["pixels", "a.weight"], ["first"]),
        helper.make_node("Add", ["first", "first"], ["between"], "between"),
        helper.make_node("Conv", ["between", "b.weight"], ["said"]),
        helper.make_node("Mul", ["said", "far"], ["scaled"], "scaled"),
        helper.make_node("Clip", ["scaled"], ["places"], "clipped"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("places", TensorProto.FLOAT, ["batch", 4, 8, 8])],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(place))


def test_sums_between_layers_get_8_bits_and_what_computes_an_answer_stays_in_float(tmp_path: Path) -> None:
    _graph(tmp_path / "float.onnx")
    prepare(tmp_path / "float.onnx", tmp_path / "prepared.onnx")
    feeds = [{"pixels": np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)}]
    ranges = calibrate(tmp_path / "prepared.onnx", feeds, "minmax")
    write_int8(tmp_path / "prepared.onnx", tmp_path / "int8.onnx", Recipe("static", ranges=ranges), feeds)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    made_by = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    (added,) = (node for node in graph.node if node.op_type == "Add")
    assert {made_by[name].op_type for name in added.input} == {"DequantizeLinear"}
    (clipped,) = (node for node in graph.node if node.op_type == "Clip")
    assert made_by[clipped.input[0]].op_type == "Mul", "no rounding between the two"
    assert "QuantizeLinear" not in readers.get(clipped.output[0], [])
    assert clipped.output[0] == graph.output[0].name


def test_dynamic_rounding_reaches_no_convolution() -> None:
    layers = [Layer("conv", "Conv", 9, "x"), Layer("product", "MatMul", 9, "y"), Layer("words", "Gather", 9, "z")]
    assert [one.name for one in Recipe("dynamic").rounded(layers)] == ["product", "words"]
    assert [one.name for one in Recipe("static", keep_float=("conv",)).rounded(layers)] == ["product", "words"]
    assert len(Recipe("static").rounded(layers)) == 3


def test_a_table_that_a_convolution_reads_is_rounded_beside_it(tmp_path: Path) -> None:
    import onnxruntime

    rng = np.random.default_rng(0)
    numbers = {"table": (64, 64), "weight": (4, 64, 3)}
    weights = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in numbers.items()]  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "codes"], ["looked_up"]),
        helper.make_node("Transpose", ["looked_up"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["turned", "weight"], ["said"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("codes", TensorProto.INT64, ["batch", 8])],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, ["batch", 4, 6])], weights,
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "float.onnx"
    )
    prepare(tmp_path / "float.onnx", tmp_path / "prepared.onnx")
    feeds = [{"codes": rng.integers(0, 64, (2, 8))}]
    ranges = calibrate(tmp_path / "prepared.onnx", feeds, "minmax")
    write_int8(tmp_path / "prepared.onnx", tmp_path / "int8.onnx", Recipe("static", ranges=ranges), feeds)
    before, after = (
        onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx")).run(None, feeds[0])[0]
        for name in ("float", "int8")
    )
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()
