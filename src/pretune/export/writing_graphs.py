"""A model that writes as ONNX graphs: one step on, with a cache of keys and values; of an encoder-decoder also what reads the source.

``model.onnx`` takes the new tokens of each row (several at once, where they are known) and the keys and values of those before them,
and gives logits and the keys and values with the new ones. ``model_encoder.onnx`` gives of a source the keys and values that the
decoder's cross attention reads in every step: they are made once a text. Shapes: B rows, H heads, L new tokens, P tokens before them,
T tokens read, D of a head, C of a state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.graph_parts import encoder_beside
from pretune.errors import ModelError
from pretune.export.onnx_graph import ByName, checked_signature, export_graph, plain, write_graph
from pretune.export.onnx_model import LOGITS
from pretune.export.speaking_graphs import export_speaker
from pretune.tasks.base import Task
from pretune.types import Batch

__all__ = ["export_writer", "write_graphs"]

_ROWS, _READ, _BEFORE, _NEW = 3, 7, 2, 4
"""Sizes that are traced: no two alike, and none of 1, which a tracer takes for a constant."""
_READ_SIZES, _NEW_SIZES = {0: "batch", 1: "length"}, {0: "batch", 1: "new"}
_KINDS = ("key", "value")
_Given = Mapping[str, torch.Tensor]


class _Graph(NamedTuple):
    """What is traced: ``run`` of these inputs, of which these sizes are free, gives these outputs."""

    run: Callable[[_Given], Any]
    inputs: _Given
    free: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]

    def write(self, model: nn.Module, path: Path) -> dict[str, Any]:
        """Write it to ``path``; its signature."""
        write_graph(ByName(model, self.inputs, self.run), self.inputs, self.free, self.outputs, path)
        return checked_signature(path, self.free)


def write_graphs(task: Task, model: nn.Module, batch: Batch, path: Path) -> dict[str, Any]:
    """Write ``model`` as the graph, or graphs, that its task answers with; see :func:`export_graph`, :func:`export_writer` and
    :func:`~pretune.export.speaking_graphs.export_speaker`.
    """
    if task.by_tokens:
        return export_writer(model, path)
    return export_speaker(model, path) if task.by_steps else export_graph(task, model, batch, path)


def export_writer(model: nn.Module, path: Path) -> dict[str, Any]:
    """Write ``model`` as ONNX to ``path`` (and beside it what reads its sources); their signature: inputs and outputs of the step, and
    under ``encoder`` those of the other.

    Raises :class:`ModelError` where the model cannot be traced, or keeps something else than keys and values of all tokens.
    """
    with plain(model) as traced:
        read_BT = torch.zeros(_ROWS, _READ, dtype=torch.long)
        inputs = {"input_ids": read_BT, "attention_mask": torch.ones_like(read_BT)}
        if not traced.config.is_encoder_decoder:  # type: ignore[union-attr]
            return _decoder_step(traced, inputs).write(traced, path)
        encoder = _encoder(traced, inputs)
        told = encoder.write(traced, encoder_beside(path))
        cross = dict(zip(encoder.outputs, encoder.run(inputs), strict=True))
        return {**_cross_step(traced, inputs["attention_mask"], cross).write(traced, path), "encoder": told}


def _encoder(model: Any, inputs: _Given) -> _Graph:
    """What reads a source: a step on any token fills the cache with the keys and values of each layer's cross attention."""
    from transformers import DynamicCache, EncoderDecoderCache

    def run(given: _Given) -> tuple[torch.Tensor, ...]:
        ids_BT, mask_BT = given["input_ids"], given["attention_mask"]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        states_BTC = model.get_encoder()(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        model(
            encoder_outputs=(states_BTC,), attention_mask=mask_BT, decoder_input_ids=torch.zeros_like(ids_BT[:, :1]),
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        return tuple(_kept(cache.cross_attention_cache))

    return _Graph(run, inputs, dict.fromkeys(inputs, _READ_SIZES), _names("cross", run(inputs)))


def _cross_step(model: Any, mask_BT: torch.Tensor, cross: _Given) -> _Graph:
    """One step of an encoder-decoder's decoder; the states of its encoder are read in their keys and values alone."""
    from transformers import EncoderDecoderCache

    def run(given: _Given) -> tuple[torch.Tensor, ...]:
        past, read = _cache(given, "past"), _cache(given, "cross")
        cache = EncoderDecoderCache(past, read)
        cache.is_updated = dict.fromkeys(range(len(read.layers)), True)
        mask_BT = given["attention_mask"]
        unread_BTC = given["cross_key_0"].new_zeros(*mask_BT.shape, model.config.hidden_size)
        said = model(
            encoder_outputs=(unread_BTC,), attention_mask=mask_BT, decoder_input_ids=given["decoder_input_ids"],
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        return (said.logits, *_kept(past))

    past = {name.replace("cross_", "past_"): value[:, :, :_BEFORE].contiguous() for name, value in cross.items()}
    new_BL = torch.zeros(_ROWS, _NEW, dtype=torch.long)
    inputs = {"decoder_input_ids": new_BL, "attention_mask": mask_BT, **cross, **past}
    free = {name: {0: "batch", 2: "past" if name in past else "length"} for name in inputs}
    free |= {"decoder_input_ids": _NEW_SIZES, "attention_mask": _READ_SIZES}
    return _Graph(run, inputs, free, [LOGITS, *_names("present", [*past.values()])])


def _decoder_step(model: Any, shown: _Given) -> _Graph:
    """One step of a decoder; its mask is that of all tokens."""

    def run(given: _Given) -> tuple[torch.Tensor, ...]:
        past = _cache(given, "past")
        told = {name: given[name] for name in ("input_ids", "attention_mask", "position_ids") if name in given}
        said = model(**told, past_key_values=past, use_cache=True)
        return (said.logits, *_kept(past))

    kept = _kept(model(**shown, use_cache=True).past_key_values)
    past = dict(zip(_names("past", kept), (one[:, :, :_BEFORE].contiguous() for one in kept), strict=True))
    inputs = {
        "input_ids": torch.zeros(_ROWS, _NEW, dtype=torch.long),
        "attention_mask": torch.ones(_ROWS, _BEFORE + _NEW, dtype=torch.long),
        "position_ids": torch.arange(_BEFORE, _BEFORE + _NEW).repeat(_ROWS, 1),
    }
    if "position_ids" not in inspect.signature(model.forward).parameters:
        del inputs["position_ids"]
    free = {**dict.fromkeys(inputs, _NEW_SIZES), "attention_mask": _READ_SIZES}
    free |= {name: {0: "batch", 2: "past"} for name in past}
    return _Graph(run, {**inputs, **past}, free, [LOGITS, *_names("present", kept)])


def _names(what: str, kept: Sequence[torch.Tensor]) -> list[str]:
    """``past_key_0``, ``past_value_0``, ``past_key_1``, ..."""
    return [f"{what}_{kind}_{layer}" for layer in range(len(kept) // 2) for kind in _KINDS]


def _cache(given: _Given, what: str) -> Any:
    """A cache of transformers with the keys and values that are named so."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer in range(sum(name.startswith(f"{what}_key_") for name in given)):
        cache.update(given[f"{what}_key_{layer}"], given[f"{what}_value_{layer}"], layer)
    return cache


def _kept(cache: Any) -> list[torch.Tensor]:
    """Keys and values of each layer, in turn, each (B, H, T, D). Raises :class:`ModelError` for a cache of anything else."""
    layers = getattr(cache, "layers", ())
    if not layers or not all(type(layer).__name__ == "DynamicLayer" for layer in layers):
        raise ModelError(
            "the model keeps something else than the keys and values of all tokens (a state, a sliding window)",
            "such a model cannot be exported; `pretune serve RUN` runs it as it is",
        )
    return [part for layer in layers for part in (layer.keys, layer.values)]
