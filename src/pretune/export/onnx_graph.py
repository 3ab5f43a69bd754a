"""A torch model to an ONNX graph whose batch and lengths stay free.

The graph is the plain one: no operators of one engine, attention as matrix products. ONNX Runtime fuses GELU, layer norms
and attention's scaling itself when it opens the file; with its offline optimizer for transformers, fused attention included,
a small encoder answered no faster (docs/decisions.md, D51), and such a file runs in no other engine.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretune.backbones.adaptation.modes import attending_plainly, evaluating
from pretune.backbones.graph_parts import parts_of
from pretune.backbones.states.head_outputs import logits_in
from pretune.errors import ModelError
from pretune.export.onnx_model import LOGITS
from pretune.files import fsync_file, translate_disk_errors
from pretune.tasks.base import Task
from pretune.types import Batch

__all__ = [
    "OPSET",
    "ByName",
    "LogitsOnly",
    "checked_signature",
    "example_inputs",
    "export_graph",
    "first_line",
    "free_sizes",
    "plain",
    "quiet_torch_export",
    "take_graph",
    "write_graph",
]

OPSET = 20
"""The first with GELU as one node; ONNX Runtime knows it since 1.17, OpenVINO since 2024."""

BATCH, LENGTH = "batch", "length"

NAME_SCOPES = "pkg.torch.onnx.name_scopes"


class ByName(nn.Module):
    """``run`` of ``model`` as a module that takes the inputs ``names``, all of them and by name."""

    def __init__(
        self, model: nn.Module, names: Iterable[str], run: Callable[[Mapping[str, torch.Tensor]], Any]
    ) -> None:
        super().__init__()
        self.model = model

        def forward(**inputs: torch.Tensor) -> Any:
            return run(inputs)

        # torch 2.11 finds the free sizes of inputs by the names of the arguments, and none behind two asterisks.
        by_name = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        forward.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
        self.forward = forward


class LogitsOnly(ByName):
    """A model of transformers that takes the inputs ``names`` and gives its logits and nothing else."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__(model, names, lambda inputs: logits_in(model(**inputs)))


def export_graph(task: Task, model: nn.Module, batch: Batch, path: Path) -> dict[str, Any]:
    """Write ``model`` as ONNX to ``path`` and return its signature (JSON values: exporter, opset, inputs, outputs).

    ``model`` is on the processor, as :meth:`Task.build` made it: layers that were changed for speed (``make_fast``) are not
    traced. ``batch`` shows what inputs look like; the number of items and the lengths of texts and clips stay free, the sides of
    pictures are the task's. Raises :class:`ModelError` where the model cannot be traced, or only for one length.
    """
    inputs = example_inputs(task, batch)
    free = free_sizes(task, inputs)
    with plain(model) as traced:
        write_graph(LogitsOnly(traced, inputs), inputs, free, [LOGITS], path)
    return checked_signature(path, free)


def write_graph(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], free: Mapping[str, Mapping[int, str]], outputs: Sequence[str], path: Path
) -> None:  # fmt: skip
    """Trace ``module``, which takes ``inputs`` by name, and write its graph. Raises :class:`ModelError` where that cannot be done."""
    with quiet_torch_export():
        try:
            program = torch.onnx.export(
                module.eval(), (), kwargs=dict(inputs), dynamo=True, dynamic_shapes=dict(free),
                opset_version=OPSET, output_names=list(outputs), verbose=False,
                custom_translation_table={torch.ops.aten._is_all_true.default: _all_true},
            )  # fmt: skip
        except Exception as error:  # the exporter raises many kinds
            raise ModelError(
                f"{type(module.model).__name__} cannot be written as ONNX: {first_line(error)}",
                "this architecture cannot be exported; `pretune serve RUN` runs it as it is",
            ) from error
    assert program is not None, "the exporter gives a program where it writes no file"
    _forget_sources(program.model)
    with translate_disk_errors(path):
        program.save(str(path))
        for written in sorted(path.parent.glob(f"{path.name}*")):
            fsync_file(written)


def _all_true(self: Any) -> Any:
    """What a model's own checks of its sizes ask (D-FINE's, RT-DETRv2's), which the exporter of torch 2.15 knows no operator for."""
    import onnx
    from onnxscript import onnx_opset

    opset20: Any = onnx_opset.opset20
    smallest = opset20.ReduceMin(opset20.Cast(self, to=onnx.TensorProto.INT32), keepdims=0)
    return opset20.Cast(smallest, to=onnx.TensorProto.BOOL)


def _forget_sources(model: Any) -> None:
    """Take out what the exporter notes of each node beside the module it is from: lines of source files, with their paths."""
    from onnx_ir.traversal import RecursiveGraphIterator

    for node in RecursiveGraphIterator(model.graph):
        for key in set(node.metadata_props) - {NAME_SCOPES}:
            del node.metadata_props[key]
    model.graph.metadata_props.clear()


def example_inputs(task: Task, batch: Batch) -> dict[str, torch.Tensor]:
    """The batch's inputs that answering needs, two items at least: a tracer takes a size of 1 for a constant."""
    inputs = {name: value for name, value in batch.inputs.items() if name not in task.learning_inputs}
    if len(batch.ids) > 1:
        return inputs
    return {name: torch.cat([value, value]) for name, value in inputs.items()}


def free_sizes(task: Task, inputs: Iterable[str]) -> dict[str, dict[int, str]]:
    """Which sizes of each input stay free, by name: the batch, and the length of what the task does not give one size."""
    return {name: {0: BATCH} if name in task.fixed_inputs else {0: BATCH, 1: LENGTH} for name in inputs}


@contextlib.contextmanager
def plain(model: nn.Module) -> Iterator[nn.Module]:
    """The model for tracing: answering, with attention written out as matrix products where it has a choice.

    The model is given back as it was.
    """
    from pretune.backbones.cpu.fast import ATTENTION

    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    assert before != ATTENTION, "trace the model that Task.build made, not one that make_fast changed"
    with attending_plainly(model), evaluating(model), torch.no_grad():
        yield model


@contextlib.contextmanager
def quiet_torch_export() -> Iterator[None]:
    """Silence the exporters' own remarks; what went wrong is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


def take_graph(source: Path, path: Path) -> dict[str, Any]:
    """Copy a graph that is there already (with its weights and the parts beside it, where it has them) to ``path``; its signature."""
    with translate_disk_errors(path):
        for place in parts_of(source).values():
            for held in sorted(place.parent.glob(f"{place.name}*")):
                shutil.copyfile(held, path.with_name(held.name))
                fsync_file(path.with_name(held.name))
    beside = {part: _signature(place) for part, place in parts_of(path).items() if part}
    return {**_signature(path), **beside}


def checked_signature(path: Path, free: Mapping[str, Mapping[int, str]]) -> dict[str, Any]:
    """What the graph takes and gives. Raises :class:`ModelError` where a size that must stay free has become a number."""
    signature = _signature(path)
    told = {one["name"]: one["shape"] for one in signature["inputs"]}
    for name, sizes in free.items():
        fixed = [sizes[axis] for axis in sizes if name in told and isinstance(told[name][axis], int)]
        if fixed:
            path.unlink()
            raise ModelError(
                f"{path.name} would take one {fixed[0]} only ({name} {told[name]})",
                "this architecture fixes its sizes while it is traced: it cannot be exported",
            )
    return {"exporter": "torch.export", **signature}


def _signature(path: Path) -> dict[str, Any]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {
        "opset": next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")),
        "inputs": [{"name": one.name, **_told(one)} for one in model.graph.input],
        "outputs": [{"name": one.name, **_told(one)} for one in model.graph.output],
    }


def _told(one: Any) -> dict[str, Any]:
    import onnx

    kind = one.type.tensor_type
    shape = [size.dim_param or int(size.dim_value) for size in kind.shape.dim]
    return {"type": onnx.TensorProto.DataType.Name(kind.elem_type).lower(), "shape": shape}


def first_line(error: BaseException) -> str:
    """What went wrong at the bottom of an exporter's error, without its pages of hints."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
