"""An ONNX graph that answers as the model it was made from: a module that any task can call.

Shapes: B items of a batch; the logits are those of the model that was exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pretune.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["GRAPH_FILE", "LOGITS", "Answer", "OnnxModel", "as_array", "open_session"]

GRAPH_FILE = "model.onnx"
LOGITS = "logits"
_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}
_ERRORS_ONLY = 3


class Answer(NamedTuple):
    """What a model says of a batch: ``logits`` float32, as the outputs of transformers name them."""

    logits: torch.Tensor


class OnnxModel(nn.Module):
    """``model.onnx`` run by ONNX Runtime on the processor. It has no parameters: ``.to`` and ``.eval`` change nothing.

    ``threads``: of one operator; default: as many as torch uses.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Raises :class:`ModelError` for a file that is damaged, or a graph that gives no logits."""
        super().__init__()
        self.path = Path(path)
        self.session = open_session(self.path, threads=threads)
        self.input_types = {one.name: _DTYPES[one.type] for one in self.session.get_inputs()}

    def forward(self, **inputs: torch.Tensor) -> Answer:
        """The logits of a batch. Inputs that the graph does not name are left aside."""
        lacking = sorted(self.input_types.keys() - inputs.keys())
        if lacking:
            raise ModelError(
                f"{self.path} asks for {', '.join(lacking)}, which the task's batches do not hold",
                "the graph is of another task or model: export the run again",
            )
        arrays = {name: as_array(inputs[name], kind) for name, kind in self.input_types.items()}
        device = next(iter(inputs.values())).device
        found: Any = self.session.run([LOGITS], arrays)[0]
        return Answer(torch.from_numpy(found).float().to(device))


def as_array(tensor: torch.Tensor, kind: Any) -> np.ndarray:
    """A tensor as a graph takes it: in its number format, rows one after another in memory."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(kind, copy=False))


def open_session(
    path: Path, *, threads: int | None = None, options: Mapping[str, str] | None = None
) -> InferenceSession:
    """ONNX Runtime's session for a graph; ``options`` are entries of its session configuration.

    Raises :class:`ModelError` for a file that cannot be run, and for inputs and outputs that no model of pretune has.
    """
    import onnxruntime

    if not path.is_file():
        raise ModelError(f"{path.parent} holds no {path.name}", "export the run again")
    onnxruntime.disable_telemetry_events()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or torch.get_num_threads()
    settings.log_severity_level = _ERRORS_ONLY
    for key, value in (options or {}).items():
        settings.add_session_config_entry(key, value)
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own kinds have no common base
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path} cannot be run: {said[:300]}", "the file is damaged or foreign: export the run again"
        ) from None
    _refuse_foreign(path, session)
    return session


def _refuse_foreign(path: Path, session: InferenceSession) -> None:
    outputs = [one.name for one in session.get_outputs()]
    odd = [f"{one.name} {one.type}" for one in session.get_inputs() if one.type not in _DTYPES]
    if LOGITS not in outputs or odd:
        told = f"its outputs are {', '.join(outputs)}" if LOGITS not in outputs else f"it takes {', '.join(odd)}"
        raise ModelError(f"{path} is no graph of pretune: {told}", f"give one that pretune exported (output {LOGITS})")
