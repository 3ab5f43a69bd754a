"""A model with some of its layers, the others left out: the quickest student of a large model."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.adapt import encoder_layers
from pretune.errors import ModelError, UsageError

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["KeptLayers", "evenly_chosen", "keep_layers", "thinned", "whole_config"]


class KeptLayers(NamedTuple):
    """``layers`` (numbers from 0, lowest first) of the ``of`` layers that the folder holds; ``kinds`` names the kind of each of
    those, where the config does.
    """

    of: int
    layers: tuple[int, ...]
    kinds: tuple[str, ...] = ()


def evenly_chosen(of: int, count: int) -> tuple[int, ...]:
    """``count`` of ``of`` layers as far apart as can be, the first and the last among them (Shleifer & Rush 2020, arXiv
    2010.13002, section 3.1, "shrink and fine-tune"); one alone is the first.
    """
    if count == 1:
        return (0,)
    return tuple(round(number * (of - 1) / (count - 1)) for number in range(count))


def thinned(backbone: Backbone, count: int) -> Backbone:
    """The backbone with ``count`` evenly chosen layers; embeddings and head are kept whole.

    Raises :class:`ModelError` for a model whose layers cannot be told apart, :class:`UsageError` for more than it has.
    """
    config, of = copy.deepcopy(backbone.config), getattr(backbone.config, "num_hidden_layers", None)
    named = f"{backbone.name} ({config.model_type})"
    if backbone.folder is None or not isinstance(of, int) or len(encoder_layers(backbone.skeleton)) != of:
        raise ModelError(
            f"{named} has no layers of which some could be left out",
            "layers:K is for transformers with layers of their own; choose --student scratch:... or a model folder",
        )
    if getattr(config, "removed_parts", None):
        raise ModelError(
            f"{named} was pruned, and what was removed is told by the numbers of its layers",
            "leave layers out first and prune afterwards, or choose --student scratch:...",
        )
    if not 1 <= count <= of:
        raise UsageError(f"--student is layers:{count}, the teacher has {of} layers", f"layers:1 to layers:{of}")
    kept = KeptLayers(of, evenly_chosen(of, count), tuple(getattr(config, "layer_types", None) or ()))
    _set_count(config, kept)
    notes = {**backbone.notes, "layers": f"{', '.join(str(n + 1) for n in kept.layers)} of {of}"}
    found = dataclasses.replace(backbone, config=config, notes=notes, kept_layers=kept)
    if len(encoder_layers(found.skeleton)) != count:
        raise ModelError(
            f"{named} does not count its layers by num_hidden_layers", "choose --student scratch:... or a model folder"
        )
    return found


def _set_count(config: Any, kept: KeptLayers) -> None:
    config.num_hidden_layers = len(kept.layers)
    if kept.kinds:
        config.layer_types = [kept.kinds[number] for number in kept.layers]


def whole_config(config: Any, kept: KeptLayers) -> Any:
    """The config of all layers again, which the folder's weights are of."""
    config = copy.deepcopy(config)
    config.num_hidden_layers = kept.of
    if kept.kinds:
        config.layer_types = list(kept.kinds)
    return config


def keep_layers(model: nn.Module, kept: KeptLayers) -> None:
    """Take all layers but these out of a model, in place, and say so in its config. Raises :class:`ModelError` where the
    model that the new config describes has other weights.
    """
    layers = encoder_layers(model)
    holder = next(m for m in model.modules() if isinstance(m, nn.ModuleList) and list(m) == layers)
    for number in reversed(range(len(layers))):
        if number not in kept.layers:
            del holder[number]
    for number, layer in enumerate(holder):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number  # type: ignore[assignment]
    _set_count(model.config, kept)
    with torch.device("meta"):
        wanted = type(model)(copy.deepcopy(model.config)).state_dict()  # type: ignore[call-arg]
    own = model.state_dict()
    other = sorted(name for name in own.keys() | wanted.keys() if _shape(own, name) != _shape(wanted, name))
    if other:
        raise ModelError(
            f"{type(model).__name__} without some of its layers lacks or adds weights, the first is {other[0]}",
            "choose --student scratch:... or a model folder",
        )


def _shape(weights: dict[str, torch.Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(weights[name].shape) if name in weights else None
