"""A model with some of its layers, the others left out: the quickest student of a large model."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn

from pretune.backbones.adaptation.adapt import encoder_layers
from pretune.backbones.parts.removed import REMOVED, removed_of
from pretune.backbones.parts.units import base_of
from pretune.errors import ModelError, UsageError
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone

__all__ = ["KeptLayers", "evenly_chosen", "keep_layers", "thinned", "whole_config"]


class KeptLayers(NamedTuple):
    """``layers`` (numbers from 0, lowest first) of the ``of`` layers that the folder holds; ``kinds`` names the kind of each of
    those, where the config does. ``removed`` are the parts that were pruned from the folder's layers, by the names of their
    units, ``left_removed`` those of the kept layers, by their new names.
    """

    of: int
    layers: tuple[int, ...]
    kinds: tuple[str, ...] = ()
    removed: Mapping[str, list[int]] = {}
    left_removed: Mapping[str, list[int]] = {}


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
    if not 1 <= count <= of:
        raise UsageError(
            f"--student is layers:{count}, the teacher has {counted(of, 'layer')}", f"layers:1 to layers:{of}"
        )
    layers, removed = evenly_chosen(of, count), removed_of(config)
    kept = KeptLayers(
        of, layers, tuple(getattr(config, "layer_types", None) or ()),
        removed, _renumbered(removed, _place_of_layers(base_of(backbone.skeleton)), layers),
    )  # fmt: skip
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
    if kept.removed:
        setattr(config, REMOVED, dict(kept.left_removed))


def _place_of_layers(model: nn.Module) -> str:
    """The path below ``model`` of the list that holds its layers."""
    layers = encoder_layers(model)
    return next(
        name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and list(part) == layers
    )


def _renumbered(removed: Mapping[str, list[int]], place: str, layers: Sequence[int]) -> dict[str, list[int]]:
    """Removed parts by the names that their units have when these layers of ``place`` are left."""
    found = {}
    for name, parts in removed.items():
        if not name.startswith(f"{place}."):
            found[name] = parts
            continue
        number, _, rest = name.removeprefix(f"{place}.").partition(".")
        if int(number) in layers:
            found[f"{place}.{layers.index(int(number))}.{rest}"] = parts
    return found


def whole_config(config: Any, kept: KeptLayers) -> Any:
    """The config of all layers again, which the folder's weights are of."""
    config = copy.deepcopy(config)
    config.num_hidden_layers = kept.of
    if kept.kinds:
        config.layer_types = list(kept.kinds)
    if kept.removed:
        setattr(config, REMOVED, dict(kept.removed))
    return config


def keep_layers(model: nn.Module, kept: KeptLayers) -> None:
    """Take all layers but these out of a model of full shapes, in place, and say so in its config. Raises :class:`ModelError`
    where the model that the new config describes has other weights.
    """
    holder = cast(nn.ModuleList, model.get_submodule(_place_of_layers(model)))
    for number in reversed(range(len(holder))):
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
