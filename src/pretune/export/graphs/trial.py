"""``python -m pretune.export.graphs.trial SECONDS MEGABYTES model.onnx``: does a graph answer one short row in a moment, and in little
memory? For :mod:`pretune.trial`.

A graph can hold loops of any length and make tensors of any size. No model of pretune has loops; the rest is tried.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretune.trial import limit_this_process, refuse

__all__ = ["main"]

_ENDLESS = ("Loop", "Scan", "SequenceMap")
_LENGTH = 400
"""Of free sizes behind the batch: a convolution over samples wants so many, and a text is no longer than that."""
_FORMATS = {
    "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(bool)": "bool",
}  # fmt: skip


def main() -> int:
    """Refuses with 1 and a sentence on standard output."""
    path = Path(sys.argv[3])
    import numpy as np
    import onnx
    import onnxruntime

    limit_this_process(float(sys.argv[1]), float(sys.argv[2]))
    try:
        model = onnx.load(str(path), load_external_data=False)
    except MemoryError:
        raise
    except Exception as error:
        return refuse(f"it is no ONNX graph: {_first_line(error)}")
    why = _problem(model, path)
    if why:
        return refuse(why)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        inputs = {one.name: _array(np, one) for one in session.get_inputs()}
        session.run(None, inputs)
    except Exception as error:  # a graph that wants other inputs says so when it is used
        if any(word in str(error).lower() for word in ("memory", "bad_alloc", "alloc")):
            return refuse(f"it takes too much memory for one short row: {_first_line(error)}")
    return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _problem(model: Any, path: Path) -> str:
    """What no graph of pretune has: loops, functions of its own, weights outside the folder or that are no numbers."""
    if len(model.functions):
        return f"it defines functions of its own ({model.functions[0].name})"
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.op_type in _ENDLESS:
                return f"it holds a loop ({node.op_type})"
        for tensor in graph.initializer:
            if why := _weights_problem(tensor, path.parent):
                return why
    return ""


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs(inner)


def _weights_problem(tensor: Any, folder: Path) -> str:
    import numpy as np
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        told = {one.key: one.value for one in tensor.external_data}
        place = folder / told.get("location", "")
        if Path(told.get("location", "")).name != told.get("location") or not place.exists():
            return f"its weights lie in {told.get('location')}, which is no file beside it"
        return "" if stat.S_ISREG(os.stat(place).st_mode) else f"{place.name} is not a regular file"  # noqa: PTH116
    if tensor.data_type == onnx.TensorProto.FLOAT and tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, dtype="<f4")
        if np.isnan(values).any():
            return f"{int(np.isnan(values).sum())} numbers of {tensor.name} are NaN"
    return ""


def _array(np: Any, told: Any) -> Any:
    """One row of zeros (a mask of ones), as the graph asks for it."""
    shape = [size if isinstance(size, int) else 1 if axis == 0 else _LENGTH for axis, size in enumerate(told.shape)]
    fill = np.ones if "mask" in told.name else np.zeros
    return fill(shape, dtype=_FORMATS.get(told.type, "float32"))


if __name__ == "__main__":
    sys.exit(main())
