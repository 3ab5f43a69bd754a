"""Weights, gradients and moments shared among processes (FSDP2: Zhao et al. 2023, arXiv 2304.11277; ZeRO's third stage: Rajbhandari et
al. 2020, arXiv 1910.02054, section 5), so that a model learns whose states do not fit one of them.

The layers of a model are shared: each process keeps some rows of every weight of theirs, and has the whole of one layer while that
layer computes. What lies around the layers (embeddings, heads) stays whole everywhere: losses read it outside of any forward pass
(docs/decisions.md, D3, D240).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pretune.errors import ModelError, UsageError

__all__ = ["Shards", "is_part", "own_part"]

_FUNCTIONS = ("set_gradient_divide_factor", "set_force_sum_reduction_for_comms", "set_reshard_after_forward")
"""What sums of gradients and whole evaluations ask of FSDP2; torch has all of them from 2.9 on."""


def is_part(tensor: torch.Tensor) -> bool:
    """Does this process hold but a part of it?"""
    if not torch.distributed.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def own_part(tensor: Any) -> torch.Tensor:
    """What this process holds of a tensor: some of its rows, or all of it."""
    return tensor.to_local() if is_part(tensor) else tensor


class Shards:
    """The layers of ``model``, shared among all processes, in place. Parameters are new ones from here on.

    Raises :class:`ModelError` where the model has no list of like layers, :class:`UsageError` where torch is too old for it.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        if missing := [name for name in _FUNCTIONS if not hasattr(FSDPModule, name)]:
            raise UsageError(
                f"--shard needs {', '.join(missing)} of torch, and {torch.__version__} has none",
                "pip install 'torch>=2.9'",
            )
        layers = list(_layers(model))
        if not layers:
            raise ModelError(
                f"--shard shares the layers of a model, and {type(model).__name__} has no list of them",
                "leave --shard out",
            )
        self.model = model
        self._before = [_Before(module) for layer in layers for module in layer.modules()]
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        # Each layer is a root of its own: what the first process computes alone leaves no order behind by which others are fetched.
        self._layers: list[Any] = [fully_shard(layer, mesh=mesh, reshard_after_forward=True) for layer in layers]
        for layer in self._layers:
            layer.set_gradient_divide_factor(1.0)  # losses are sums, divided once by what all processes count
            layer.set_force_sum_reduction_for_comms(True)  # gloo cannot scale while it sums

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within, every process has all weights, and each may compute by itself. To be entered and left by all of them."""
        for layer in self._layers:
            layer.set_reshard_after_forward(False)
            layer.unshard()
        try:
            yield
        finally:
            for layer in self._layers:
                layer.reshard()
                layer.set_reshard_after_forward(True)

    def end(self) -> None:
        """Give every process the whole model, as plain as it was before. Parameters are new ones from here on. Called by all of them."""
        wholes = {
            name: one.full_tensor()  # pyright: ignore[reportAttributeAccessIssue]
            for name, one in self.model.named_parameters()  # in the same order everywhere
            if is_part(one)
        }
        for before in self._before:
            before.restore()
        for name, whole in wholes.items():
            owner, _, own = name.rpartition(".")
            module = self.model.get_submodule(owner)
            learns = module._parameters[own].requires_grad  # type: ignore[union-attr]
            module._parameters[own] = nn.Parameter(whole, requires_grad=learns)


class _Before:
    """What a module was before it was shared: its class and its hooks."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._class = module, type(module)
        self._hooks = {name: dict(held) for name, held in vars(module).items() if "hooks" in name and held is not None}

    def restore(self) -> None:
        self._module.__class__ = self._class
        for name, held in self._hooks.items():
            now = vars(self._module)[name]
            now.clear()
            now.update(held)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of like modules, each with weights of its own and called as a module."""
    for child in module.children():
        members = list(child) if isinstance(child, nn.ModuleList) else []
        alike = len(members) > 1 and len({type(member) for member in members}) == 1
        if alike and not isinstance(members[0], nn.ModuleList) and _own_weights(members):
            yield from members
        else:
            yield from _layers(child)


def _own_weights(members: Iterable[nn.Module]) -> bool:
    """Has each of them weights, and no weight of another's?"""
    each = [{id(weight) for weight in member.parameters()} for member in members]
    return all(each) and len(set().union(*each)) == sum(map(len, each))
