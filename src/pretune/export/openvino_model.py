"""A graph in OpenVINO's own form, run on the processor. OpenVINO is an optional extra.

OpenVINO reports to its makers that it was imported and used where the package ``openvino_telemetry`` is installed, which
comes with it. Here it is imported as if that package were absent; then it sends and writes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretune.errors import ModelError, UsageError
from pretune.export.onnx_model import LOGITS, MAP_AXES, Answer, as_array
from pretune.files import fsync_file, translate_disk_errors

__all__ = ["IR_FILE", "OpenVinoModel", "import_openvino", "write_openvino"]

IR_FILE = "model.xml"
_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The library without its telemetry. Raises :class:`UsageError` where it is not installed."""
    held = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # an import of it fails then, which openvino is ready for
    try:
        import openvino
    except ImportError as error:
        raise UsageError(
            f"OpenVINO cannot be used here: {error}", "pip install 'pretune[openvino]', or use --to onnx"
        ) from None
    finally:
        if held is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = held
    return openvino


class OpenVinoModel(nn.Module):
    """``model.xml`` and ``model.bin`` run in fp32, called as :class:`pretune.export.onnx_model.OnnxModel` is."""

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Raises :class:`ModelError` for files that are damaged or not there."""
        super().__init__()
        self.path = Path(path)
        openvino = import_openvino()
        wanted = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self.compiled = openvino.Core().compile_model(str(self.path), "CPU", wanted)
            self.input_types = {one.any_name: one.element_type.to_dtype() for one in self.compiled.inputs}
            told = self.compiled.output(LOGITS).partial_shape
            self.width = _width_of(told)
        except Exception as error:  # the library's own kinds have no common base
            raise ModelError(
                f"{self.path} cannot be run: {_last_line(error)}",
                "the files are damaged or foreign: export the run again",
            ) from None

    def forward(self, **inputs: torch.Tensor) -> Answer:
        """The logits of a batch. Inputs that the graph does not name are left aside."""
        arrays = {name: as_array(inputs[name], kind) for name, kind in self.input_types.items()}
        found = self.compiled(arrays, share_outputs=False)[LOGITS]
        return Answer(torch.from_numpy(found).float().to(next(iter(inputs.values())).device))


def _width_of(shape: Any) -> int | None:
    """How many logits a row (or frame, or place of a map (B, C, h, w)) has; None where the graph leaves it open."""
    if not shape.rank.is_static:
        return None
    width = shape[1] if len(shape) == MAP_AXES else shape[-1]
    return int(width.get_length()) if width.is_static else None


def _last_line(error: Exception) -> str:
    """What went wrong, without the places in the library's own source before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


def write_openvino(graph: Path, path: Path) -> None:
    """Write an ONNX graph in OpenVINO's form, weights in fp32: ``path`` (.xml) with its .bin beside it.

    Raises :class:`ModelError` for a graph with operators that OpenVINO does not know.
    """
    openvino = import_openvino()
    try:
        model = openvino.Core().read_model(str(graph))
    except Exception as error:  # the library's own kinds have no common base
        raise ModelError(f"OpenVINO cannot read the graph: {_last_line(error)}", "use --to onnx") from None
    with translate_disk_errors(path):
        openvino.save_model(model, str(path), compress_to_fp16=False)
        for written in (path, path.with_suffix(".bin")):
            fsync_file(written)
