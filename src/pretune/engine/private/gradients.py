"""The gradient of private training: each unit's clipped, all added up, and noise on the sum (Abadi et al. 2016, arXiv 1607.00133, algorithm 1).

Shapes: B items of a micro-batch, u units of it. Gradients of single rows come from ``torch.func`` (grad under vmap), so that they are right
for any layer; of a model that vmap cannot follow, rows are taken one after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.func import functional_call, grad_and_value, vmap

from pretune.engine.private.entropy import normals
from pretune.engine.private.sampling import Units
from pretune.types import Batch, Feed, Loss

__all__ = ["Gradients", "PrivateGradients", "RowLoss"]

RowLoss: TypeAlias = Callable[[torch.nn.Module, Batch], torch.Tensor]
"""The loss of a batch (of one row, here) as one number, without a look at what the targets are."""

Gradients: TypeAlias = dict[str, torch.Tensor]
"""By a parameter's name its gradient, one an item or unit: (B, ...)."""

_MOST_BYTES = 2**29


class PrivateGradients:
    """Gives parameters the noisy mean of the clipped gradients of the units in an update.

    A unit's gradient is the mean over its rows, scaled down to a norm of ``clip`` over all parameters that learn; the sum of them gets noise with a standard
    deviation of ``noise`` x ``clip`` in every entry and is divided by ``expected``, the number of units that an update draws on average: how
    many it drew is told by nothing.
    """

    def __init__(self, row_loss: RowLoss, units: Units, *, clip: float, noise: float, expected: int) -> None:
        self.row_loss, self.units = row_loss, units
        self.clip, self.noise, self.expected = clip, noise, expected
        self.one_by_one = False
        self.begin()

    def begin(self) -> None:
        """Forget what an update began."""
        self._sums: Gradients = {}
        self._open: tuple[int, Gradients] | None = None

    def add(self, model: torch.nn.Module, feed: Feed) -> Loss:
        """Take in the items of a micro-batch; those of a unit follow each other, over micro-batches too. Returns their summed loss."""
        (batch,) = feed.values()
        learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        total = torch.zeros(())
        most = max(1, _MOST_BYTES // (4 * sum(parameter.numel() for parameter in learning.values())))
        for start in range(0, len(batch.ids), most):
            part = _items(batch, start, min(start + most, len(batch.ids)))
            gradients, losses_B = self._by_item(model, learning, part)
            self._take([self.units.of_id[row] for row in part.ids], gradients)
            total = total + losses_B.sum().cpu()
        return Loss.of(total)

    def close(self, model: torch.nn.Module) -> None:
        """Give every parameter that learns its gradient, noise in it, whether rows were drawn or not."""
        self._close_unit()
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            noise = torch.from_numpy(normals(parameter.numel())).to(parameter.device, parameter.dtype)
            total = noise.view_as(parameter) * (self.noise * self.clip)
            if name in self._sums:
                total += self._sums[name]
            parameter.grad = total / self.expected
        self.begin()

    def _by_item(
        self, model: torch.nn.Module, learning: Mapping[str, torch.Tensor], batch: Batch
    ) -> tuple[Gradients, torch.Tensor]:
        """The gradient and loss of each item."""
        if not self.one_by_one:
            try:
                return self._mapped(model, learning, batch)
            except RuntimeError as error:
                if "vmap" not in str(error) and "functorch" not in str(error):
                    raise
                self.one_by_one = True
        found = [self._single(model, learning, _items(batch, place, place + 1)) for place in range(len(batch.ids))]
        gradients = {name: torch.stack([one[name] for one, _ in found]) for name in learning}
        return gradients, torch.stack([loss for _, loss in found])

    def _mapped(
        self, model: torch.nn.Module, learning: Mapping[str, torch.Tensor], batch: Batch
    ) -> tuple[Gradients, torch.Tensor]:
        def loss_of(parameters: Mapping[str, torch.Tensor], tensors: Any) -> torch.Tensor:
            inputs, targets, extras = _tree(lambda tensor: tensor[None], tensors)
            row = dataclasses.replace(batch, inputs=inputs, targets=targets, extras=extras, ids=("",))
            return functional_call(_Losing(model, self.row_loss), _prefixed(parameters), (row,))

        by_item = vmap(grad_and_value(loss_of), in_dims=(None, 0), randomness="different")
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            gradients, losses_B = by_item(
                {name: parameter.detach() for name, parameter in learning.items()},
                (batch.inputs, batch.targets, batch.extras),
            )
        return gradients, losses_B

    def _single(
        self, model: torch.nn.Module, learning: Mapping[str, torch.Tensor], row: Batch
    ) -> tuple[Gradients, torch.Tensor]:
        loss = self.row_loss(model, row)
        found = torch.autograd.grad(loss, [*learning.values()], allow_unused=True)
        return {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(learning.items(), found, strict=True)
        }, loss.detach()

    def _take(self, units_B: Sequence[int], gradients: Gradients) -> None:
        """Add up items by unit; all but the last unit are whole now."""
        units = list(dict.fromkeys(units_B))
        if len(units) < len(units_B):
            places = {unit: place for place, unit in enumerate(units)}
            place_B = torch.tensor([places[unit] for unit in units_B], device=next(iter(gradients.values())).device)
            gradients = {
                name: torch.zeros((len(units), *found.shape[1:]), dtype=found.dtype, device=found.device).index_add_(0, place_B, found)
                for name, found in gradients.items()
            }  # fmt: skip
        if self._open is not None and self._open[0] == units[0]:
            for name, found in gradients.items():
                found[0] += self._open[1][name][0]
        else:
            self._close_unit()
        if len(units) > 1:
            self._add_clipped(units[:-1], {name: found[:-1] for name, found in gradients.items()})
        self._open = (units[-1], {name: found[-1:].clone() for name, found in gradients.items()})

    def _close_unit(self) -> None:
        if self._open is not None:
            self._add_clipped([self._open[0]], self._open[1])
            self._open = None

    def _add_clipped(self, units: Sequence[int], gradients: Gradients) -> None:
        rows_u = torch.as_tensor(self.units.rows_U[list(units)], dtype=torch.float32)
        squares_u = torch.stack([found.flatten(1).float().square().sum(1) for found in gradients.values()]).sum(0)
        norms_u = squares_u.sqrt() / rows_u.to(squares_u.device)
        factors_u = (self.clip / norms_u.clamp(min=1e-12)).clamp(max=1.0) / rows_u.to(squares_u.device)
        for name, found in gradients.items():
            clipped = torch.tensordot(factors_u.to(found.dtype), found, dims=1)
            self._sums[name] = self._sums[name] + clipped if name in self._sums else clipped


class _Losing(torch.nn.Module):
    """The loss as a module around the model, so that parameters can be put in its place; the model's own hooks and state stay."""

    def __init__(self, model: torch.nn.Module, row_loss: RowLoss) -> None:
        super().__init__()
        self.model, self.row_loss = model, row_loss

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.row_loss(self.model, batch)


def _prefixed(parameters: Mapping[str, torch.Tensor]) -> Gradients:
    return {f"model.{name}": tensor for name, tensor in parameters.items()}


def _tree(change: Callable[[torch.Tensor], torch.Tensor], tree: Any) -> Any:
    """Every tensor of mappings, lists and tuples changed."""
    if isinstance(tree, Mapping):
        return {name: _tree(change, part) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_tree(change, part) for part in tree)
    return change(tree) if isinstance(tree, torch.Tensor) else tree


def _items(batch: Batch, start: int, end: int) -> Batch:
    """Some of the items, padded as they were."""
    if (start, end) == (0, len(batch.ids)):
        return batch
    inputs, targets, extras = _tree(lambda tensor: tensor[start:end], (batch.inputs, batch.targets, batch.extras))
    return dataclasses.replace(batch, inputs=inputs, targets=targets, extras=extras, ids=batch.ids[start:end])
