"""Low-rank adaptation: a matrix W of the trunk rests and learns as W + alpha/r B A (Hu et al. 2021, arXiv 2106.09685, section 4.1).

The sum is formed anew in each forward pass, so that whatever reads the weight (a layer of transformers, the blocks of :mod:`pretune.backbones.cpu`,
an ``einsum`` over XLNet's bare parameters) reads the adapted one, and merging changes no answer. All matrices of the trunk's layers are adapted
where no others are named (Dettmers et al. 2023, arXiv 2305.14314, section 4: that is what reaches full fine-tuning).
Shapes: O outputs and I inputs of a matrix, r its rank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from pretune.errors import ModelError, UsageError, did_you_mean

__all__ = ["ALL", "LowRank", "LowRankSpec", "add_low_rank", "is_low_rank", "low_rank_names", "merge_low_rank"]

ALL = "all"
_BARE: Mapping[str, tuple[str, ...]] = {"XLNetRelativeAttention": ("q", "k", "v", "r", "o")}
"""Matrices that are no layer's weight, by the class that holds them: (inputs, heads, size), and ``o`` (outputs, heads, size)."""


@dataclass(frozen=True)
class LowRankSpec:
    """Which matrices are adapted and how: ``targets`` are the last words of their layers' names (``query``, ``q_proj``), none for all."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()


class _Matrix(NamedTuple):
    """The parameter ``name`` of the module ``holder`` at ``path``; ``by_rows``: its first axis are the outputs."""

    path: str
    holder: nn.Module
    name: str
    by_rows: bool

    @property
    def called(self) -> str:
        """The last word of its name."""
        return self.path.rpartition(".")[2] if self.name == "weight" else self.name


class LowRank(nn.Module):
    """What is added to a weight of this ``shape``: ``scale`` B A, where B (O, r) begins at zero and A (r, I) as a layer's weight does.

    The sum is taken in float32, under autocast too: what is learned is what merging adds.
    """

    def __init__(
        self, shape: torch.Size, *, rank: int, scale: float, by_rows: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        rows, columns = shape[0], shape[1:].numel()
        outputs, inputs = (rows, columns) if by_rows else (columns, rows)
        self.scale, self.by_rows = scale, by_rows
        self.lora_A = nn.Parameter((2 * torch.rand(rank, inputs, generator=generator) - 1) * inputs**-0.5)
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapted weight, of the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            added_OI = (self.scale * self.lora_B) @ self.lora_A
            return weight + (added_OI if self.by_rows else added_OI.T).reshape(weight.shape)


def add_low_rank(model: nn.Module, spec: LowRankSpec, *, head: Collection[int], seed: int) -> tuple[str, ...]:
    """Adapt the matrices of the trunk's layers in place, those whose module's id is in ``head`` left out; returns their names.

    The draws are a function of ``seed`` and the name. Raises :class:`ModelError` where layers have no matrices (convolutions),
    :class:`UsageError` for a target that no matrix is called, and for a rank that is no less than a matrix has.
    """
    found = list(_matrices(model, head))
    if not found:
        raise ModelError(
            f"--adapt lora adapts the matrices of a model's layers, and those of {type(model).__name__} are convolutions",
            "use --adapt full, --adapt head or --adapt top:N",
        )
    chosen = _named(found, spec.targets)
    smallest = min(
        min(shape[0], shape[1:].numel()) for shape in (getattr(one.holder, one.name).shape for one in chosen)
    )
    if spec.rank >= smallest:
        raise UsageError(
            f"--lora-rank is {spec.rank}, the smallest of the adapted matrices has rank {smallest}",
            f"give less than {smallest}; 8 is usual",
        )
    names = []
    for one in chosen:
        name = f"{one.path}.{one.name}"
        draws = torch.Generator().manual_seed(
            int.from_bytes(hashlib.sha256(f"{seed}:lora:{name}".encode()).digest()[:7], "big")
        )
        added = LowRank(
            getattr(one.holder, one.name).shape, rank=spec.rank, scale=spec.alpha / spec.rank, by_rows=one.by_rows, generator=draws
        )  # fmt: skip
        parametrize.register_parametrization(one.holder, one.name, added.to(getattr(one.holder, one.name).device))
        names.append(name)
    return tuple(names)


def _matrices(model: nn.Module, head: Collection[int]) -> Iterator[_Matrix]:
    """The matrices of modules that stand in a list of layers of the encoder, in the order of the model; each once."""
    from transformers.pytorch_utils import Conv1D

    base: nn.Module = getattr(model, "base_model", model)
    lists = [module for module in base.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    in_layers = {id(inner) for layers in lists for inner in layers.modules()}
    for path, module in model.named_modules():
        if id(module) not in in_layers or id(module) in head or parametrize.is_parametrized(module):
            continue
        if isinstance(module, nn.Linear | Conv1D):
            yield _Matrix(path, module, "weight", by_rows=isinstance(module, nn.Linear))
        for name in _BARE.get(type(module).__name__, ()):
            yield _Matrix(path, module, name, by_rows=name == "o")


def _named(found: list[_Matrix], targets: tuple[str, ...]) -> list[_Matrix]:
    """Those that are called one of ``targets``."""
    known = {one.called for one in found}
    for target in targets:
        if target not in known:
            raise UsageError(
                f"--lora-targets names {target!r}, and no matrix of the layers is called so",
                did_you_mean(target, {ALL, *known}),
            )
    return [one for one in found if not targets or one.called in targets]


def is_low_rank(module: nn.Module) -> bool:
    """Does the module read an adapted weight?"""
    return parametrize.is_parametrized(module) and bool(_adapted(module))


def _adapted(module: nn.Module) -> list[str]:
    """The names of the module's own adapted weights."""
    held = getattr(module, "parametrizations", {})
    return [name for name, steps in held.items() if any(isinstance(step, LowRank) for step in steps)]


def low_rank_names(model: nn.Module) -> set[str]:
    """The names of the parameters that low rank added."""
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, LowRank)
        for name, _ in module.named_parameters()
    }


def merge_low_rank(model: nn.Module) -> int:
    """Put the sums in place of the weights they adapt, so that the model is again what it was made of; returns how many were merged."""
    merged = 0
    for module in list(model.modules()):
        for name in _adapted(module) if parametrize.is_parametrized(module) else ():
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
            merged += 1
    return merged
