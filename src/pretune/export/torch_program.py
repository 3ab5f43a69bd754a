"""A model as a ``torch.export`` program: its operations and weights, without the classes that made them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretune.errors import ModelError
from pretune.export.onnx_graph import LogitsOnly, example_inputs, first_line, free_sizes, plain, quiet_torch_export
from pretune.export.onnx_model import LOGITS, Answer
from pretune.files import fsync_file, translate_disk_errors
from pretune.tasks.base import Task
from pretune.types import Batch

__all__ = ["PROGRAM_FILE", "TorchProgram", "write_program"]

PROGRAM_FILE = "model.pt2"


def write_program(task: Task, model: nn.Module, batch: Batch, path: Path) -> dict[str, Any]:
    """Write ``model`` to ``path`` and return its signature; as :func:`pretune.export.onnx_graph.export_graph` otherwise."""
    inputs = example_inputs(task, batch)
    sizes = {name: dict.fromkeys(free, torch.export.Dim.AUTO) for name, free in free_sizes(task, inputs).items()}
    with plain(model) as traced, quiet_torch_export():
        try:
            program = torch.export.export(
                LogitsOnly(traced, inputs).eval(), (), kwargs=inputs, dynamic_shapes=sizes, strict=False
            )
        except Exception as error:  # the tracer raises many kinds
            raise ModelError(
                f"{type(model).__name__} cannot be traced: {first_line(error)}",
                "this architecture cannot be exported; `pretune serve RUN` runs it as it is",
            ) from error
        held = io.BytesIO()  # torch's own writer ends the whole process where a disk is full
        torch.export.save(program, held)
    with translate_disk_errors(path):
        path.write_bytes(held.getbuffer())
        fsync_file(path)
    told = [
        {
            "name": name,
            "type": str(value.dtype).removeprefix("torch."),
            "shape": _shape(value, free_sizes(task, inputs)[name]),
        }
        for name, value in inputs.items()
    ]
    return {"exporter": "torch.export", "inputs": told, "outputs": [{"name": LOGITS}]}


def _shape(value: torch.Tensor, free: dict[int, str]) -> list[int | str]:
    return [free.get(axis, size) for axis, size in enumerate(value.shape)]


class TorchProgram(nn.Module):
    """A program that this process has just written. Others' are not loaded: torch reads parts of such a file as pickles."""

    def __init__(self, path: Path, signature: dict[str, Any]) -> None:
        super().__init__()
        with quiet_torch_export():
            # The guards that torch 2.15 writes for inputs by name ask for variables that are not there.
            self.program = torch.export.load(path).module(check_guards=False)
        self.names = [one["name"] for one in signature["inputs"]]

    def forward(self, **inputs: torch.Tensor) -> Answer:
        """The logits of a batch."""
        return Answer(self.program(**{name: inputs[name] for name in self.names}).float())

    def eval(self) -> TorchProgram:
        """A program has no modes: it answers."""
        return self

    def train(self, mode: bool = True) -> TorchProgram:
        """As :meth:`eval`."""
        return self
