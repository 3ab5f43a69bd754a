"""What each part of a model is worth to its task, from the task's own loss on labelled rows.

A gate of 1 stands where a part is read. The derivative of a row's loss by the gate is the sum of activation times gradient
over the part's features and positions (Michel et al. 2019, arXiv 1905.10650, section 4.1; Molchanov et al. 2019, arXiv
1906.10771, section 3). Its square, averaged over rows, estimates what taking the part out costs (the empirical Fisher
information of the gate: Molchanov, equation 8); it is comparable between layers without being scaled.

Shapes: B rows of a batch, N parts of a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from pretune.backbones.parts.units import Reader, Unit, units_of, weight_read
from pretune.engine.devices import Device
from pretune.errors import CheckFailed
from pretune.tasks.protocols import EncodedRows, Learnable
from pretune.types import in_double

__all__ = ["part_scores"]


def part_scores(
    task: Learnable,
    model: nn.Module,
    rows: EncodedRows,
    chosen: Sequence[int],
    device: Device,
    *,
    batch_size: int = 16,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """The importance of each part of each unit, float64 (N,), from the items ``chosen`` of ``rows``, which must be labelled.

    Parts that no row shows to matter are told apart by the size of the weights that read them. Raises :class:`CheckFailed`
    where the loss is not finite.
    """
    units = units_of(model)
    heard = _Inputs(units)
    scores = {unit.name: torch.zeros(unit.count, dtype=torch.float64) for unit in units}
    model.eval()
    model.requires_grad_(True)
    for start in range(0, len(chosen), batch_size):
        items = [rows[int(place)] for place in chosen[start : start + batch_size]]
        batch = task.collate(items).to(device.device)
        total = task.loss(model, batch).total
        if not bool(torch.isfinite(total)):
            heard.close()
            raise CheckFailed(
                f"the loss of {', '.join(batch.ids[:5])} is not finite: what the model's parts are worth cannot be said",
                "look at these rows and at how the model was trained: pretune report RUN",
            )
        for name, gates_BN in heard.gates(total).items():
            scores[name] += in_double(gates_BN).square().sum(dim=0).cpu()
        if on_batch:
            on_batch(len(items))
    heard.close()
    return {unit.name: _told_apart(scores[unit.name] / max(1, len(chosen)), unit) for unit in units}


class _Inputs:
    """Listens to what the readers of all units take in; of units with a gate to that."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._taken: list[tuple[Unit, Reader, torch.Tensor]] = []
        self._handles = [
            reader.module.register_forward_pre_hook(self._keeper(unit, reader))
            for unit in units
            if unit.gate is None
            for reader in unit.readers
        ]
        self._handles += [
            unit.gate.register_forward_hook(self._gate_keeper(unit)) for unit in units if unit.gate is not None
        ]

    def _keeper(self, unit: Unit, reader: Reader) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, inputs: self._taken.append((unit, reader, inputs[0]))

    def _gate_keeper(self, unit: Unit) -> Callable[[nn.Module, tuple[Any, ...], torch.Tensor], None]:
        return lambda gate, _inputs, given: self._taken.append((unit, Reader(gate), given))

    def gates(self, total: torch.Tensor) -> dict[str, torch.Tensor]:
        """The derivative of each row's loss by each part's gate, (B, N) by unit. The rows' losses are summed in ``total``."""
        taken, self._taken = self._taken, []
        gradients = torch.autograd.grad(total, [values for _, _, values in taken])
        found: dict[str, torch.Tensor] = {}
        for (unit, reader, values), gradient in zip(taken, gradients, strict=True):
            products = (values * gradient).detach()
            by_part = _by_part(products if isinstance(reader.module, _ConvNd) else products.movedim(-1, 1), reader.size)
            found[unit.name] = found[unit.name] + by_part if unit.name in found else by_part
        return found

    def close(self) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()


def _by_part(products: torch.Tensor, size: int) -> torch.Tensor:
    """(B, N * size, places...) summed to (B, N)."""
    return products.reshape(len(products), -1, size * products[0, 0].numel()).sum(dim=-1)


def _told_apart(scores_N: torch.Tensor, unit: Unit) -> np.ndarray:
    """Scores of 0 become tiny ones in the order of the weights that read the parts."""
    unused = scores_N <= 0
    if not bool(unused.any()):
        return scores_N.numpy()
    sizes_N = sum(
        weight_read(reader, unit.count)
        .detach()
        .cpu()
        .double()
        .movedim(1, 0)
        .reshape(unit.count, -1)
        .square()
        .sum(dim=1)
        .cpu()
        for reader in unit.readers
    )
    smallest = scores_N[~unused].min() if bool((~unused).any()) else torch.tensor(1.0, dtype=torch.float64)
    order_N = sizes_N / (1.0 + sizes_N) * smallest * 1e-6  # type: ignore[operator]
    return torch.where(unused, order_N, scores_N).numpy()
