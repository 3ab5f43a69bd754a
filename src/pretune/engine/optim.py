"""AdamW with a schedule over progress, a gradient-norm limit, and tensors by name for the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch

from pretune.engine.sharding import is_part, own_part
from pretune.engine.tables import BETAS, EPS, TableMoments
from pretune.errors import CorruptFile
from pretune.types import ParameterGroup

__all__ = ["Optim", "learning_rate_factor"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate_factor(progress: float, *, schedule: str, warmup: float) -> float:
    """Share of the peak learning rate at ``progress`` in [0, 1]; ``warmup`` is the share of the run that warms up.

    The update that starts at progress 0 already learns, and linear and cosine end near 0, not below a useful size.
    """
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / max(1e-12, 1.0 - warmup)
    if schedule in ("constant", "plateau"):  # what a plateau takes off is Optim.reduction
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, rest)))
    return max(0.0, 1.0 - rest)


class Optim:
    """Updates the parameters of ``groups``; knows the schedule, not the run.

    ``reduction`` is the share of the schedule's rate that a plateau has left (:mod:`pretune.engine.plateau`). A table whose gradient is sparse (:mod:`pretune.engine.tables`) gets the update of the dense one.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        *,
        learning_rate: float,
        schedule: str,
        warmup: float,
        clip: float,
    ) -> None:
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup = warmup
        self.clip = clip
        self.reduction = 1.0
        self.groups = groups
        self.names = {p: name for group in groups for p, name in zip(group.parameters, group.names, strict=True)}
        alike: dict[tuple[float, float, bool], list[torch.nn.Parameter]] = {}  # one call for all that learn alike
        for group in groups:
            for parameter in group.parameters:
                alike.setdefault((group.lr_scale, group.weight_decay, is_part(parameter)), []).append(parameter)
        self.has_parts = any(in_parts for _, _, in_parts in alike)
        self.adamw = torch.optim.AdamW(
            [{"params": mine, "lr_scale": scale, "weight_decay": decay} for (scale, decay, _), mine in alike.items()],
            lr=0.0,
            betas=BETAS,
            eps=EPS,
            fused=True,
        )
        self.tables: dict[torch.nn.Parameter, TableMoments] = {}

    @classmethod
    def like(cls, other: Optim) -> Self:
        """A new one, without moments, for the same parameters."""
        return cls(
            other.groups, learning_rate=other.learning_rate, schedule=other.schedule, warmup=other.warmup, clip=other.clip
        )  # fmt: skip

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters, frozen ones too."""
        return list(self.names)

    def gradient_norm(self) -> torch.Tensor:
        """L2 norm over all gradients; NaN or infinity when any of them is. Sparse ones are summed up by row first, and those that
        processes share over all of these."""
        gradients: list[torch.Tensor] = []
        parts: list[torch.Tensor] = []
        for parameter in self.names:
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
                gradients.append(parameter.grad.values())
            elif parameter.grad is not None:
                (parts if is_part(parameter.grad) else gradients).append(own_part(parameter.grad))
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        if not self.has_parts:
            return norm
        squares = torch.nn.utils.get_total_norm(parts).square() if parts else torch.zeros_like(norm)
        torch.distributed.all_reduce(squares)
        return (norm.square() + squares.to(norm.device)).sqrt()

    def rate(self, progress: float) -> float:
        """The learning rate at ``progress`` in [0, 1], of groups whose scale is 1."""
        shape = learning_rate_factor(progress, schedule=self.schedule, warmup=self.warmup)
        return self.learning_rate * self.reduction * shape

    def step(self, progress: float, norm: float) -> float:
        """Apply the gradients, scaled down to the norm limit; returns the learning rate used."""
        rate = self.rate(progress)
        for group in self.adamw.param_groups:
            group["lr"] = rate * group["lr_scale"]
        divisor = max(1.0, (norm + 1e-6) / self.clip)
        self._step_tables(divisor)
        self._scale_in_step(divisor)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return rate

    @torch.no_grad()
    def _step_tables(self, divisor: float) -> None:
        """Apply sparse gradients and take them away; a table with moments for most of its rows goes over to the dense way."""
        for group in self.adamw.param_groups:
            for parameter in group["params"]:
                gradient, table = parameter.grad, self.tables.get(parameter)
                if gradient is None:
                    continue
                is_dense = not gradient.is_sparse or parameter in self.adamw.state
                if table is not None and (is_dense or table.is_crowded):
                    self.adamw.state[parameter] = self.tables.pop(parameter).dense()
                    is_dense = True
                if is_dense:
                    parameter.grad = gradient.to_dense()
                    continue
                table = self.tables.setdefault(parameter, table or TableMoments(*parameter.shape))
                table.update(
                    parameter, gradient.coalesce(), rate=group["lr"], weight_decay=group["weight_decay"],
                    divisor=torch.tensor(divisor),
                )  # fmt: skip
                parameter.grad = None

    def _scale_in_step(self, divisor: float) -> None:
        """Let the fused kernel divide the gradients, which saves a pass over them; it takes no divisor beside parts of tensors."""
        if self.has_parts:
            for parameter in self.names:
                if parameter.grad is not None and divisor > 1.0:
                    own_part(parameter.grad).div_(divisor)
            return
        device = next(iter(self.names)).device
        self.adamw.grad_scale = torch.tensor(divisor, device=device)  # type: ignore[attr-defined]
        self.adamw.found_inf = torch.zeros((), device=device)  # type: ignore[attr-defined]

    def drop_gradients(self) -> None:
        """Forget the gradients without a step."""
        self.adamw.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The optimizer's state by parameter name: ``exp_avg/<name>``, ``exp_avg_sq/<name>``, ``step/<name>``, and
        ``rows/<name>`` of a table with moments for some of its rows."""
        state: dict[str, torch.Tensor] = {}
        for parameter, name in self.names.items():
            table = self.tables.get(parameter)
            kept = self.adamw.state.get(parameter, {}) if table is None else table.tensors()
            for kind, value in kept.items():
                state[f"{kind}/{name}"] = torch.as_tensor(value)
        return state

    def like_of(self, name: str) -> torch.Tensor | None:
        """A parameter of the shape that a state called so has (``exp_avg/<name>``); None where there is no such parameter."""
        kind, _, of = name.partition("/")
        return next((one for one, own in self.names.items() if own == of), None) if kind in _MOMENTS else None

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put back what :meth:`tensors` gave. Raises :class:`CorruptFile` for a name this model lacks."""
        by_name = {name: parameter for parameter, name in self.names.items()}
        in_part = {name for key in tensors if (name := key.removeprefix("rows/")) != key and name in by_name}
        for name in in_part:
            parts = {kind: tensors[f"{kind}/{name}"] for kind in ("rows", *_MOMENTS, "step")}
            self.tables[by_name[name]] = TableMoments.load(by_name[name].shape, parts, name)
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            if name in in_part:
                continue
            if name not in by_name or (kind in _MOMENTS and tensor.shape != by_name[name].shape):
                raise CorruptFile(
                    f"the checkpoint's optimizer holds {key} {tuple(tensor.shape)}, the model does not",
                    "start again with --overwrite",
                )
            parameter = by_name[name]
            device = torch.device("cpu") if kind == "step" and parameter.device.type == "cpu" else parameter.device
            slot: dict[str, Any] = self.adamw.state.setdefault(parameter, {})
            slot[kind] = tensor.clone().to(device)
