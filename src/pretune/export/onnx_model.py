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

__all__ = ["ALONE", "GRAPH_FILE", "LOGITS", "Answer", "OnnxModel", "as_array", "open_session"]

GRAPH_FILE = "model.onnx"
LOGITS = "logits"
ALONE = "pretune.rows_alone"
"""A note in a graph's metadata: what it says of a row would depend on the rows and the padding beside it (its activations are
rounded by the range of the whole batch)."""

_MASK = "attention_mask"
_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}
_ERRORS_ONLY = 3
MAP_AXES, _MAP_CHANNELS = 4, 1
"""Logits of maps are (B, C, h, w), others end with the classes."""


class Answer(NamedTuple):
    """What a model says of a batch: ``logits`` float32, as the outputs of transformers name them."""

    logits: torch.Tensor


class OnnxModel(nn.Module):
    """``model.onnx`` run by ONNX Runtime on the processor. It has no parameters: ``.to`` and ``.eval`` change nothing.

    ``threads``: of one operator; default: as many as torch uses. Where the graph asks for it (:data:`ALONE`) the rows of a batch
    are run one after the other, each without its padding: an answer is the row's own, whatever it came with. ``width`` is how many
    logits a row (or frame, or place) has, where the graph says so.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Raises :class:`ModelError` for a file that is damaged, or a graph that gives no logits."""
        super().__init__()
        self.path = Path(path)
        self.session = open_session(self.path, threads=threads)
        self.input_types = {one.name: _DTYPES[one.type] for one in self.session.get_inputs()}
        shape = next(one.shape for one in self.session.get_outputs() if one.name == LOGITS)
        width = shape[_MAP_CHANNELS if len(shape) == MAP_AXES else -1] if shape else None
        self.width = width if isinstance(width, int) else None
        self.alone = ALONE in self.session.get_modelmeta().custom_metadata_map

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
        if self.alone:
            rows = [self._run(_row(arrays, number)) for number in range(len(next(iter(arrays.values()))))]
            found = _together(rows)
        else:
            found = self._run(arrays)
        return Answer(torch.from_numpy(found).float().to(device))

    def _run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        found: Any = self.session.run([LOGITS], dict(arrays))[0]
        return found


def _row(arrays: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """One row of a batch, cut to the length that its mask tells."""
    row = {name: value[number : number + 1] for name, value in arrays.items()}
    if _MASK not in row or row[_MASK].ndim != 2:
        return row
    length = row[_MASK].shape[1]
    kept = int(np.flatnonzero(row[_MASK][0]).max(initial=0)) + 1
    return {name: value[:, :kept] if value.shape[1:2] == (length,) else value for name, value in row.items()}


def _together(rows: list[np.ndarray]) -> np.ndarray:
    """The outputs of rows as one batch; those with fewer frames end in zeros."""
    if len({row.shape for row in rows}) == 1:
        return np.concatenate(rows)
    longest = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, longest - row.shape[1]), (0, 0))) for row in rows])


def as_array(tensor: torch.Tensor, kind: Any) -> np.ndarray:
    """A tensor as a graph takes it: in its number format, rows one after another in memory."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(kind, copy=False))


def open_session(path: Path, *, threads: int | None = None, gives: str = LOGITS) -> InferenceSession:
    """ONNX Runtime's session for a graph, on the processor; ``threads`` of one operator, default: as many as torch uses.

    Raises :class:`ModelError` for a file that cannot be run, and for inputs and outputs that no model of pretune has; ``gives`` is one of these.
    """
    import onnxruntime

    if not path.is_file():
        raise ModelError(f"{path.parent} holds no {path.name}", "export the run again")
    onnxruntime.disable_telemetry_events()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or torch.get_num_threads()
    settings.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own kinds have no common base
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path} cannot be run: {said[:300]}", "the file is damaged or foreign: export the run again"
        ) from None
    _refuse_foreign(path, session, gives)
    return session


def _refuse_foreign(path: Path, session: InferenceSession, gives: str) -> None:
    outputs = [one.name for one in session.get_outputs()]
    odd = [f"{one.name} {one.type}" for one in session.get_inputs() if one.type not in _DTYPES]
    if gives not in outputs or odd:
        told = f"its outputs are {', '.join(outputs)}" if gives not in outputs else f"it takes {', '.join(odd)}"
        raise ModelError(f"{path} is no graph of pretune: {told}", f"give one that pretune exported (output {gives})")
