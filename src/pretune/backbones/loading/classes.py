"""The classifier of a folder joined to the classes that are asked for: by their names, never by their places.

Shapes: C classes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["class_axes", "join_classes", "names_of"]

_UNNAMED = re.compile(r"LABEL_\d+")
_SHOWN = 6


def names_of(config: PreTrainedConfig) -> tuple[str, ...]:
    """The classes that a config names, in the order of its outputs; a number where it names none."""
    told: Mapping[Any, Any] = getattr(config, "id2label", None) or {}
    names = [str(told[key]) for key in sorted(told, key=int)]
    if names == [f"LABEL_{place}" for place in range(len(names))]:
        return tuple(map(str, range(len(names))))
    return tuple(names)


def class_axes(auto: Any, config: PreTrainedConfig, count: int) -> dict[str, int]:
    """The weights of a model that have a row for each of ``count`` classes, and on which axis; ``auto`` makes it of a config."""
    shapes, made = [], auto.from_config if hasattr(auto, "from_config") else auto._from_config
    for number in (count, count + 1):
        changed = copy.deepcopy(config)
        changed.num_labels = number
        with torch.device("meta"):
            model = made(changed, dtype=torch.float32)
        shapes.append({name: tuple(weight.shape) for name, weight in model.named_parameters()})
    found = {}
    for name, shape in shapes[0].items():
        differs = [a != b for a, b in zip(shape, shapes[1][name], strict=True)]
        if any(differs):
            found[name] = differs.index(True)
    return found


def join_classes(
    model: nn.Module, before: Sequence[str], after: Sequence[str], axes: Mapping[str, int], *, seed: int
) -> tuple[tuple[str, ...], str]:
    """Put the rows of a classifier that tells ``before`` apart into the order of ``after``, a row for "nothing" behind them as it is;
    where these are other classes, draw its weights (those that ``axes`` names) anew.

    Returns the names of the weights that were drawn, and what is to be told.
    """
    if sorted(before) == sorted(after) and len(set(after)) == len(after):
        places = torch.tensor([before.index(name) for name in after])
        weights = dict(model.named_parameters())
        with torch.no_grad():
            for name, axis in axes.items():
                behind = torch.arange(len(places), weights[name].shape[axis])
                weights[name].copy_(weights[name].index_select(axis, torch.cat([places, behind])))
        return (), f"the classifier lists its classes in another order ({_shown(before)}); they were joined by name"
    _draw(model, axes, seed)
    return tuple(sorted(axes)), (
        f"the classifier tells {_shown(before)} apart, and these rows {_shown(after)}: a new classifier was made"
    )


def _draw(model: nn.Module, names: Mapping[str, int], seed: int) -> None:
    """Weights as a fresh model has them. transformers does not touch what it believes was loaded, hence the marks."""
    owners = sorted({name.rpartition(".")[0] for name in names})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for owner in owners:
            module = model.get_submodule(owner)
            for part in (module, *module.parameters(recurse=False)):
                part._is_hf_initialized = False  # type: ignore[assignment]
            model._init_weights(module)  # type: ignore[operator]


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, ... ({len(names)} classes)" if len(names) > _SHOWN else shown
