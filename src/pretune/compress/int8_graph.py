"""An ONNX graph with 8-bit weights and 8-bit arithmetic, by the quantizer of ONNX Runtime.

*Dynamic*: weights are int8, symmetric, with a scale for each output channel; activations are rounded to uint8 by the range
that they have at that moment, which is that of all rows of a batch: rows are best run alone. *Static*: the ranges of
activations are fixed beforehand, on rows that were measured (Jacob et al. 2018, arXiv 1712.05877, section 2).

Unsigned activations times signed weights is what VNNI and AMX multiply; on this engine every other pairing was two to three
times slower. Static graphs are written as pairs of QuantizeLinear and DequantizeLinear, which every engine reads: ONNX
Runtime makes its 8-bit operators of them when it opens the file. Tables of embeddings are int8 with a scale a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pretune.backbones.graph_parts import part_beside, parts_of
from pretune.errors import ModelError, UsageError
from pretune.files import fsync_file, translate_disk_errors

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader

__all__ = ["Feeds", "Layer", "Recipe", "calibrate", "layers_of", "prepare", "to_keep", "write_int8"]

Feeds = Sequence[Mapping[str, np.ndarray]]
"""Batches as a graph takes them, by the names of its inputs; all of the same lengths."""

WEIGHTED = ("Conv", "MatMul", "Gemm")
_AROUND_CONVOLUTIONS = (
    "Add", "Mul", "Clip", "Relu", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat",
    "Reshape", "Flatten", "Squeeze", "Transpose",
)  # fmt: skip
_SMALLEST_TABLE = 4096
_ONLY_CONSTANT = {"MatMulConstBOnly": True, "DefaultTensorType": 1}


class Layer(NamedTuple):
    """A node with weights: its name (that of the module it came from), kind, number of weights and the tensor that it reads."""

    name: str
    kind: str
    weights: int
    reads: str


@dataclass(frozen=True)
class Recipe:
    """How a graph is quantised. ``method`` is ``dynamic`` or ``static``; the latter takes the least and largest value of every
    tensor from ``ranges``. Layers in ``keep_float`` stay as they are; with ``narrow`` weights take 7 bits, for processors that
    add pairs of 8-bit products in 16 bits. ``notes`` go into the graph's metadata.
    """

    method: str
    keep_float: tuple[str, ...] = ()
    calibration: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    narrow: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)

    def rounded(self, layers: Sequence[Layer]) -> list[Layer]:
        """Those of ``layers`` that get 8 bits: by ``dynamic`` no convolution does."""
        able = (one for one in layers if self.method != "dynamic" or one.kind != "Conv")
        return [one for one in able if one.name not in self.keep_float]

    @property
    def title(self) -> str:
        """In words."""
        if self.method == "dynamic":
            return "dynamic"
        return f"static, {self.calibration} ranges"


def prepare(source: Path, target: Path) -> list[Layer]:
    """Write a copy of ``source``, and of the parts beside it, that can be quantised: layers are called by their modules' names, and
    what the exporter noted of its own way is left out. Returns its layers. Raises :class:`ModelError` where there is nothing to quantise.
    """
    parts = parts_of(source).items()
    return [layer for part, place in parts for layer in _prepare(place, part_beside(target, part))]


def _prepare(source: Path, target: Path) -> list[Layer]:
    import onnx

    model = onnx.load(str(source))
    graph = model.graph
    del graph.value_info[:]  # the quantizer changes shapes that the exporter wrote down
    taken: dict[str, int] = {}
    constants = {one.name for one in graph.initializer}
    for node in graph.node:
        name = _module_of(node, constants)
        count = taken[name] = taken.get(name, 0) + 1
        node.name = name if count == 1 else f"{name}#{count}"
        node.doc_string = ""
        del node.metadata_props[:]
    layers = layers_of(model)
    if not layers:
        raise ModelError(
            "this model has nothing to round: no layer that multiplies by weights, and no table of "
            f"{_SMALLEST_TABLE:,} numbers or more",
            "it is small as it is: serve or export it so",
        )
    _save(model, target)
    return layers


def layers_of(model: Any) -> list[Layer]:
    """The nodes of a graph that multiply by constant weights, in the order of computation, and its tables."""
    constants = {one.name: one for one in model.graph.initializer}
    found = []
    for node in model.graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in constants:
            weights = constants[node.input[1]]
            found.append(Layer(node.name, node.op_type, int(np.prod(weights.dims)), node.input[0]))
        elif table is not None and _is_table(table):
            found.append(Layer(node.name, node.op_type, int(np.prod(table.dims)), node.input[1]))
    return found


def to_keep(layers: Sequence[Layer], wanted: Sequence[str]) -> tuple[str, ...]:
    """The layers that ``wanted`` names, each by its name or by the module that it lies in. Raises :class:`UsageError`."""
    found: list[str] = []
    for name in wanted:
        held = [one.name for one in layers if one.name == name or one.name.startswith((f"{name}.", f"{name}#"))]
        if not held:
            some = ", ".join(one.name for one in layers[:3])
            near = difflib.get_close_matches(name, [one.name for one in layers], n=1, cutoff=0.6)
            raise UsageError(
                f"--keep-float {name} names no layer of this model",
                f"{f'did you mean {near[0]}? ' if near else ''}it has {len(layers)}: {some}, ...; a part of the name before a dot keeps all below it",
            )
        found += [one for one in held if one not in found]
    return tuple(found)


def calibrate(prepared: Path, feeds: Feeds, how: str) -> dict[str, tuple[float, float]]:
    """The range of every float tensor on ``feeds``: ``minmax``, or without outliers by ``percentile`` (99.999) or ``entropy``; those of parts
    beside it under their own names.
    """
    parts = parts_of(prepared).items()
    return {
        f"{_mark(part)}{name}": both for part, place in parts for name, both in _calibrate(place, feeds, how).items()
    }


def _mark(part: str) -> str:
    """What the ranges of a part are called by."""
    return f"{part}: " if part else ""


def _calibrate(prepared: Path, feeds: Feeds, how: str) -> dict[str, tuple[float, float]]:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    model = onnx.load(str(prepared), load_external_data=False)
    feeds = _own(model, feeds)
    method = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}[how]
    augmented = prepared.with_name(f"{prepared.stem}-calibrating.onnx")
    try:
        with _quietly():
            calibrator = create_calibrator(str(prepared), _kinds(model), str(augmented), CalibrationMethod[method])
            for feed in feeds:  # one at a time: the library would hold the activations of all
                calibrator.collect_data(_reader([feed]))
            data = calibrator.compute_data()
    finally:
        for path in augmented.parent.glob(f"{augmented.name}*"):
            path.unlink()
    ranges = {name: one.range_value for name, one in data.items()}
    return {name: (float(np.min(low)), float(np.max(high))) for name, (low, high) in ranges.items()}


def write_int8(prepared: Path, target: Path, recipe: Recipe, feeds: Feeds) -> None:
    """Quantise ``prepared`` (see :func:`prepare`) into ``target``. ``feeds`` are needed by static recipes only."""
    parts = parts_of(prepared)
    others = tuple(_mark(part) for part in parts if part)
    for part, place in parts.items():
        own = {
            name.removeprefix(_mark(part)): both
            for name, both in recipe.ranges.items()
            if (name.startswith(_mark(part)) if part else not name.startswith(others or ("\0",)))
        }
        _write_int8(place, part_beside(target, part), dataclasses.replace(recipe, ranges=own), feeds)


def _own(model: Any, feeds: Feeds) -> Feeds:
    """The feeds without what another part is given."""
    names = {one.name for one in model.graph.input}
    return [{name: value for name, value in feed.items() if name in names} for feed in feeds]


def _write_int8(prepared: Path, target: Path, recipe: Recipe, feeds: Feeds) -> None:
    import onnx

    with translate_disk_errors(target), _quietly():
        if recipe.method == "dynamic":
            _write_dynamic(prepared, target, recipe)
        else:
            _write_static(prepared, target, recipe, feeds)
        model = onnx.load(str(target))
        round_tables(model, recipe.keep_float)
        del model.graph.value_info[:]
        for key, value in recipe.notes.items():
            model.metadata_props.add(key=key, value=value)
        _save(model, target)


def _write_dynamic(prepared: Path, target: Path, recipe: Recipe) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # A Gemm is cut into a product, which has this name then, and a sum.
    kept = [name for one in recipe.keep_float for name in (one, f"{one}_MatMul")]
    quantize_dynamic(
        str(prepared), str(target), op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=kept,
        per_channel=True, reduce_range=recipe.narrow, weight_type=QuantType.QInt8, extra_options=_ONLY_CONSTANT,
    )  # fmt: skip


def _write_static(prepared: Path, target: Path, recipe: Recipe, feeds: Feeds) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load(str(prepared), load_external_data=False)
    layers = {layer.name for layer in layers_of(model)}
    # Products of two activations (attention) have no weights: little to win, much to lose.
    bare = [node.name for node in model.graph.node if node.op_type in WEIGHTED and node.name not in layers]
    fed = _feeding(model.graph, layers)
    bare += [node.name for node in model.graph.node if node.op_type in _AROUND_CONVOLUTIONS and node.name not in fed]
    ranges = {
        name: [{"rmin": np.array(low, np.float32), "rmax": np.array(high, np.float32)}]
        for name, (low, high) in recipe.ranges.items()
    }
    quantize_static(
        str(prepared), str(target), _reader(_own(model, feeds[:1])),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_kinds(model), nodes_to_exclude=[*recipe.keep_float, *bare],
        per_channel=True, reduce_range=recipe.narrow, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        extra_options={**_ONLY_CONSTANT, "TensorQuantOverrides": ranges},
    )  # fmt: skip


def _kinds(model: Any) -> list[str]:
    """The operators to quantise: around convolutions all that can stay in 8 bits, elsewhere the products alone."""
    convolves = any(layer.kind == "Conv" for layer in layers_of(model))
    return [*WEIGHTED, *_AROUND_CONVOLUTIONS] if convolves else list(WEIGHTED)


def _feeding(graph: Any, layers: set[str]) -> set[str]:
    """The nodes around convolutions whose numbers a layer of ``layers`` reads, be it through others of them. What else there is computes an
    answer, such as places of boxes: 8 bits are too few for it, and no layer is faster for them.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    found: set[str] = set()
    waiting = [name for node in graph.node if node.name in layers for name in node.input]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is not None and node.op_type in _AROUND_CONVOLUTIONS and node.name not in found:
            found.add(node.name)
            waiting += node.input
    return found


def round_tables(model: Any, keep_float: Sequence[str]) -> None:
    """Change the tables that are looked up in to int8 with a scale a row: a row is looked up, then scaled."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for name, table in constants.items():
        readers = users.get(name, [])
        looked_up = all(one.op_type == "Gather" and one.input[0] == name for one in readers)
        if not readers or not looked_up or not _is_table(table) or any(one.name in keep_float for one in readers):
            continue
        values_VD = numpy_helper.to_array(table)
        scales_V1 = np.maximum(np.abs(values_VD).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / 127
        rounded_VD = np.rint(values_VD / scales_V1).astype(np.int8)
        graph.initializer.remove(table)
        graph.initializer.append(numpy_helper.from_array(rounded_VD, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales_V1, f"{name}_scale"))
        for node in readers:
            out, at = node.output[0], list(graph.node).index(node)
            node.input[0], node.output[0] = f"{name}_int8", f"{out}_int8"
            added = (
                helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], f"{node.name}_cast", to=TensorProto.FLOAT),
                helper.make_node(
                    "Gather", [f"{name}_scale", node.input[1]], [f"{out}_row_scale"], f"{node.name}_scale"
                ),
                helper.make_node("Mul", [f"{out}_cast", f"{out}_row_scale"], [out], f"{node.name}_scaled"),
            )
            for place, one in enumerate(added, start=at + 1):
                graph.node.insert(place, one)


def _is_table(tensor: Any) -> bool:
    return tensor.data_type == 1 and len(tensor.dims) == 2 and int(np.prod(tensor.dims)) >= _SMALLEST_TABLE


def _module_of(node: Any, constants: set[str]) -> str:
    """The module that a node came from: by its weights' name, else by the scope that the exporter noted."""
    named = [one.removeprefix("model.") for one in node.input if one in constants and one.endswith(".weight")]
    if named:
        return named[0].removesuffix(".weight")
    scopes = next((one.value for one in node.metadata_props if one.key.endswith("name_scopes")), "")
    modules = [part.strip(" []'\"") for part in scopes.split(",")][:-1]
    return (modules[-1].removeprefix("model.") if modules and modules[-1] else "") or node.name or node.output[0]


def _save(model: Any, target: Path) -> None:
    import onnx

    with translate_disk_errors(target):
        onnx.save(model, str(target))
        fsync_file(target)


def _reader(feeds: Feeds) -> CalibrationDataReader:
    """Batches one after the other, as the calibrators ask for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        left: Iterator[Any] = iter(feeds)

        def get_next(self) -> Any:
            return next(self.left, None)

    return Reader()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The quantizer prints and logs its progress and advice; what goes wrong is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
