"""Several models of one backbone as one module: the trunk is there once, each model keeps a head of its own.

What the trunks of all have in common, part by part (embeddings, layers), is shared; what one of them has alone (a pooler) is its head's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from pretune.backbones.adaptation.adapt import timm_classifier
from pretune.errors import ModelError

__all__ = ["SharedTrunk"]

_LEAST_SHARED = 0.5
"""Of a trunk's weights: models that share less have no trunk in common."""

_PACE = 100.0
"""How much faster a logarithm of a variance moves than weights do: at a usual rate of 1e-4 it would take 7,000 updates to halve a weight."""


class SharedTrunk(nn.Module):
    """``models`` by name, their trunks made one in place. :meth:`apart` gives each its own form again, to be saved.

    Within :meth:`once` the trunk runs once for equal inputs, however many heads read it. ``log_variances_T`` (T tasks, in the models' order) are
    what :meth:`log_variance` gives, where losses are weighed by uncertainty. Raises :class:`ModelError` where there is no trunk in common.
    """

    log_variances_T: nn.Parameter | None

    def __init__(self, models: Mapping[str, nn.Module], *, weighs: bool = False) -> None:
        super().__init__()
        self.names = tuple(models)
        self.models = nn.ModuleList(models.values())
        self._own_trunks = [_trunk_of(name, model) for name, model in models.items()]
        _share(self.names, self._own_trunks)
        self.trunk_rate = float(getattr(self.models[0], "trunk_rate", 1.0))
        self.log_variances_T = nn.Parameter(torch.zeros(len(models))) if weighs else None
        widest = _widest(self._own_trunks)
        # In lists of its own: as an attribute the trunk would be a part of this module a second time.
        self._base = [self._own_trunks[0] if widest is None else widest]
        self._once: list[_Once] = []
        if widest is not None:
            for model in self.models:
                setattr(model, _prefix(model), widest)
            self._once.append(_Once(widest))
        for model in self.models:
            if hasattr(model, "tie_weights"):  # heads on the trunk's embeddings stand on the shared ones
                cast(Any, model).tie_weights()

    @property
    def base_model(self) -> nn.Module:
        """The trunk."""
        return self._base[0]

    def of(self, name: str) -> nn.Module:
        """The model of this name."""
        return self.models[self.names.index(name)]

    def log_variance(self, name: str) -> torch.Tensor:
        """The logarithm of the variance that a task's loss is divided by (Kendall et al. 2018)."""
        assert self.log_variances_T is not None, "the losses are weighed by fixed weights"
        return _PACE * self.log_variances_T[self.names.index(name)]

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within, the trunk runs once for equal inputs."""
        for one in self._once:
            one.begin()
        try:
            yield
        finally:
            for one in self._once:
                one.end()

    def apart(self) -> dict[str, nn.Module]:
        """Each model with a trunk of its own form, the shared parts in it; this module is not used any more."""
        for one in self._once:
            one.undo()
        for model, trunk in zip(self.models, self._own_trunks, strict=True):
            setattr(model, _prefix(model), trunk)
        return dict(zip(self.names, self.models, strict=True))


def _prefix(model: nn.Module) -> str:
    return str(getattr(model, "base_model_prefix", ""))


def _trunk_of(name: str, model: nn.Module) -> nn.Module:
    trunk = getattr(model, _prefix(model), None) if _prefix(model) else None
    if not isinstance(trunk, nn.Module):
        raise ModelError(
            f"the model of {name} ({type(model).__name__}) has no trunk that heads of other tasks could stand on",
            "learn it alone, with pretune finetune",
        )
    return trunk


def _share(names: Sequence[str], trunks: Sequence[nn.Module]) -> None:
    """Put the first trunk's parts in place of the others' of the same name and shapes."""
    first, *others = trunks
    kept = timm_classifier(first)
    parts = {
        part: module
        for part, module in first.named_children()
        if module is not kept and all(_alike(module, getattr(one, part, None)) for one in others)
    }
    own = {
        part: tensor
        for part, tensor in first.named_parameters(recurse=False)
        if all(_same_shape(tensor, getattr(one, part, None)) for one in others)
    }
    shared = sum(p.numel() for module in parts.values() for p in module.parameters())
    shared += sum(tensor.numel() for tensor in own.values())
    for name, one in zip(names, trunks, strict=True):
        if shared < _LEAST_SHARED * sum(p.numel() for p in one.parameters()):
            raise ModelError(
                f"{name} and {names[0] if one is not first else names[1]} have no trunk in common: {type(one).__name__} and {type(first if one is not first else trunks[1]).__name__} differ in most of their weights",
                "learn them apart, with pretune finetune",
            )
    for one in others:
        for part, module in parts.items():
            setattr(one, part, module)
        for part, tensor in own.items():
            setattr(one, part, tensor)


def _alike(one: nn.Module, other: Any) -> bool:
    if type(other) is not type(one):
        return False
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(ours[key].shape == theirs[key].shape for key in ours)


def _same_shape(tensor: torch.Tensor, other: Any) -> bool:
    return isinstance(other, torch.Tensor) and other.shape == tensor.shape


def _widest(trunks: Sequence[nn.Module]) -> nn.Module | None:
    """The trunk that has every part that any has, so that it can stand in every model; None where there is none."""
    if len({type(one) for one in trunks}) > 1 or any(timm_classifier(one) is not None for one in trunks):
        return None
    parts = [{name for name, child in one.named_children() if child is not None} for one in trunks]
    whole = set[str]().union(*parts)
    return next((one for one, own in zip(trunks, parts, strict=True) if own == whole), None)


class _Once:
    """A trunk's forward that remembers, while it is open, what it said of which inputs."""

    def __init__(self, trunk: nn.Module) -> None:
        self.trunk = trunk
        self.plain: Callable[..., Any] = trunk.forward
        self.signature = inspect.signature(self.plain)
        self.said: list[tuple[dict[str, Any], Any]] | None = None
        trunk.__dict__["forward"] = self

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self.said is None:
            return self.plain(*inputs, **named)
        given = self._named(inputs, named)
        for before, output in self.said:
            if _equal(before, given):
                return output
        output = self.plain(*inputs, **named)
        self.said.append((given, output))
        return output

    def _named(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """The inputs by name, but for those that say nothing."""
        bound = self.signature.bind(*inputs, **named).arguments
        rest = next((name for name, one in self.signature.parameters.items() if one.kind is one.VAR_KEYWORD), "")
        given = {**{name: value for name, value in bound.items() if name != rest}, **bound.get(rest, {})}
        return {
            name: value
            for name, value in given.items()
            if value is not None and not (name == "return_dict" and value is True)
        }

    def begin(self) -> None:
        self.said = []

    def end(self) -> None:
        self.said = None

    def undo(self) -> None:
        del self.trunk.__dict__["forward"]


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(
        (isinstance(other[key], torch.Tensor) and value.shape == other[key].shape and torch.equal(value, other[key]))
        if isinstance(value, torch.Tensor)
        else not isinstance(other[key], torch.Tensor) and bool(value == other[key])
        for key, value in one.items()
    )
