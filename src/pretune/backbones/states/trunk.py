"""A frozen trunk is run once: its outputs are kept, and learning runs on what is above it.

With ``--adapt head`` or ``top:N`` the lower part of a model gives the same outputs in every epoch. :func:`find_trunk` finds
the highest point below which nothing learns; :meth:`Trunk.replay` lets the model run with kept outputs in place of the
frozen part. Whether that gives the model's own logits is tried on a few rows before it is relied on.

Shapes: B rows of a batch, T positions of a row, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from pretune.backbones.adaptation.adapt import LORA, Adaptation
from pretune.backbones.places.stages import StatesRead
from pretune.backbones.pooling.pool import Pool
from pretune.backbones.states.fingerprint import note_weights

__all__ = ["Trunk", "find_trunk"]

_POOLED, _HIDDEN = "pooler_output", "last_hidden_state"
_CLOSE = 2e-2
"""Largest difference of logits, over their spread, on the rows that are tried: bf16 sums of another order stay well below."""


class _Part(NamedTuple):
    """How one tensor of several lies in memory, without its batch: a kernel that reads it otherwise rounds otherwise."""

    shape: torch.Size
    dtype: torch.dtype
    layout: torch.memory_format

    @classmethod
    def like(cls, one: torch.Tensor) -> _Part:
        last = one.ndim == 4 and one.is_contiguous(memory_format=torch.channels_last)
        return cls(one.shape[1:], one.dtype, torch.channels_last if last else torch.contiguous_format)

    def of(self, flat_BN: torch.Tensor) -> torch.Tensor:
        """The tensor again."""
        return flat_BN.unflatten(1, self.shape).to(self.dtype).contiguous(memory_format=self.layout)


@dataclass(frozen=True)
class Trunk:
    """The frozen part of ``model``: ``source`` is the module whose output is kept, ``silent`` the frozen modules under it.

    ``field`` is the part of the output that the rest reads (None: the output is a tensor itself), ``first_only`` that
    it reads the first position alone, ``dtype`` the number format in which the rest gets it; ``parts`` are those of an output that is a list
    of tensors, which are kept one behind the other.
    """

    model: nn.Module
    source: nn.Module
    silent: tuple[nn.Module, ...]
    field: str | None
    first_only: bool
    is_tuple: bool
    output_type: Callable[..., Any] | None
    has_positions: bool
    dtype: torch.dtype
    parts: tuple[_Part, ...] = ()

    @contextmanager
    def recording(self, into: list[torch.Tensor]) -> Iterator[None]:
        """Within, each forward pass appends the output that is to be kept, (B, ...) or (B, T, F)."""

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            into.append(_tensor_of(output, self.field)[:, :1] if self.first_only else _tensor_of(output, self.field))

        handle = self.source.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def replay(self, kept: torch.Tensor) -> Iterator[None]:
        """Within, the model runs on ``kept`` (B, ...) instead of computing it."""
        kept = kept.to(self.dtype)
        answer: Any = kept
        if self.output_type is not None:
            assert self.field is not None
            fields = dict.fromkeys((_HIDDEN, _POOLED)) | {self.field: kept}
            answer = self.output_type(**{name: fields[name] for name in _fields_of(self.output_type, fields)})
        elif self.is_tuple:
            answer = (kept,)
        elif self.parts:
            flat = kept.split([part.shape.numel() for part in self.parts], dim=1)
            answer = [part.of(one) for one, part in zip(flat, self.parts, strict=True)]
        with (
            _forwards([self.source], lambda *_args, **_named: answer),
            _forwards(list(self.silent), lambda *_args, **_named: answer),
        ):
            yield

    @property
    def is_short(self) -> bool:
        """Does a row that was kept need no more of its inputs than their first position, if any?"""
        return self.first_only or not self.has_positions

    def identity(self) -> str:
        """A hash of the frozen weights and of what is kept of their outputs."""
        digest = hashlib.blake2b(digest_size=12)
        what = f"{self.field}:{self.first_only}:{type(self.source).__name__}"
        digest.update(f"{what}:{type(self.model).__name__}:{self.model.config}".encode())
        for module in (self.source, *self.silent):
            note_weights(digest, module)
        return digest.hexdigest()


def _fields_of(output_type: Any, wanted: dict[str, Any]) -> list[str]:
    known = getattr(output_type, "__dataclass_fields__", {})
    return [name for name in wanted if name in known]


def _tensor_of(output: Any, field: str | None) -> torch.Tensor:
    if field is not None:
        return output[field]
    if isinstance(output, list):
        return torch.cat([one.flatten(1) for one in output], dim=1)
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _forwards(modules: list[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    """Within, calling each of ``modules`` runs ``forward``."""
    before = [module.__dict__.get("forward") for module in modules]
    for module in modules:
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own


def find_trunk(model: nn.Module, adaptation: Adaptation, forward: Callable[[], torch.Tensor]) -> Trunk | None:
    """The trunk that rests during the whole run, or None where there is none or where replaying it changes the logits.

    ``forward()`` gives the model's logits (B, C) for some rows, without dropout; it is called a few times.
    """
    frozen = adaptation.frozen_modules(1.0)
    if adaptation.end_depth != adaptation.start_depth or not frozen or adaptation.mode == LORA:
        return None
    base: nn.Module = getattr(model, "base_model", model)
    deepest = adaptation.end_depth
    frozen_ids = {id(p) for part in adaptation.parts if part.depth > deepest for _, p in part.parameters}
    found = None
    if all(id(p) in frozen_ids for p in base.parameters()):
        found = _pooled(model, base, forward) or _whole_base(model, base, forward)
    found = found or _layers(model, frozen, forward)
    return found if found is not None and _agrees(found, forward) else None


def _pooled(model: nn.Module, base: nn.Module, forward: Callable[[], torch.Tensor]) -> Trunk | None:
    """Everything under the head rests, and what is pooled of it, or the states that are read of it, have no weights: they are all that is
    kept.
    """
    pools = (module for module in model.children() if isinstance(module, Pool))
    pool = next(pools, None) or next((module for module in model.modules() if isinstance(module, StatesRead)), None)
    if pool is None:
        return None
    seen: list[Any] = []
    handle = pool.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    forward()
    handle.remove()
    if not seen:
        return None
    parts = tuple(_Part.like(one) for one in seen[0]) if isinstance(seen[0], list) else ()
    return Trunk(model, pool, (base,), None, False, False, None, False, _tensor_of(seen[0], None).dtype, parts)


def _whole_base(model: nn.Module, base: nn.Module, forward: Callable[[], torch.Tensor]) -> Trunk | None:
    """Everything under the head rests: what of the base model's output does the head read?"""
    if base is model:
        return None
    seen: list[Any] = []
    handle = base.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    forward()
    handle.remove()
    output = seen[0]
    if not hasattr(output, "keys"):
        return None
    tensors = [name for name in (_POOLED, _HIDDEN) if isinstance(output.get(name), torch.Tensor)]
    read = [name for name in tensors if _reads(base, forward, name, slice(None))]
    if len(read) != 1:
        return None
    has_positions = output[read[0]].ndim == 3
    first_only = has_positions and not _reads(base, forward, read[0], slice(1, None))
    return Trunk(model, base, (), read[0], first_only, False, type(output), has_positions, output[read[0]].dtype)


def _reads(module: nn.Module, forward: Callable[[], torch.Tensor], field: str | None, positions: slice) -> bool:
    """Do the logits change when this part of the module's output is no number?"""

    def spoil(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        spoiled = _tensor_of(output, field).clone()
        spoiled[:, positions] = float("nan")
        if field is not None:
            return type(output)(**{**dict(output), field: spoiled})
        return (spoiled, *output[1:]) if isinstance(output, tuple) else spoiled

    handle = module.register_forward_hook(spoil)
    try:
        return bool(forward().isnan().any())
    finally:
        handle.remove()


def _layers(model: nn.Module, frozen: list[nn.Module], forward: Callable[[], torch.Tensor]) -> Trunk | None:
    """The frozen module that runs last is the source; the others under it fall silent."""
    order: list[tuple[nn.Module, Any]] = []
    handles = [
        module.register_forward_hook(lambda module, _inputs, output: order.append((module, output)))
        for module in frozen
    ]
    forward()
    for handle in handles:
        handle.remove()
    if not order:
        return None
    source, output = order[-1]
    tensor = output[0] if isinstance(output, tuple) else output
    if not isinstance(tensor, torch.Tensor):
        return None
    silent = tuple(module for module in frozen if module is not source)
    has_positions = tensor.ndim == 3
    first_only = has_positions and not _reads(source, forward, None, slice(1, None))
    return Trunk(model, source, silent, None, first_only, isinstance(output, tuple), None, has_positions, tensor.dtype)


def _agrees(trunk: Trunk, forward: Callable[[], torch.Tensor]) -> bool:
    """Are the replayed logits the model's own?"""
    kept: list[torch.Tensor] = []
    try:
        with trunk.recording(kept):
            plain = forward()
        with trunk.replay(kept[0]):
            replayed = forward()
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return False  # the rest of this architecture reads more of the trunk than its last output
    spread = max(float(plain.abs().max()), 1e-6)
    return plain.shape == replayed.shape and float((plain - replayed).abs().max()) / spread < _CLOSE
