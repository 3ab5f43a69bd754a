"""The learning-rate range test: a short run whose rate grows from far too small to too large, and what its losses advise.

Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3; the advice is a tenth of the rate at which the
smoothed loss is least, where the steepest part lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from pretune.engine.batching import Feeds
from pretune.engine.devices import Device
from pretune.engine.fit import Budget, Objective, fit
from pretune.engine.optim import Optim
from pretune.engine.parallel import Cluster
from pretune.errors import NonFiniteUpdate

__all__ = ["RangeTest", "range_test"]

LOWEST, HIGHEST, UPDATES = 1e-7, 1.0, 100
_SMOOTHING = 0.9
_DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times its least."""


@dataclass(frozen=True)
class RangeTest:
    """Rates of the updates and their losses, smoothed; both of one length."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def advice(self) -> float | None:
        """The rate to learn at, to two digits; None where the loss never fell."""
        least = min(range(len(self.losses)), key=self.losses.__getitem__, default=0)
        return None if least == 0 else float(f"{self.rates[least] / 10:.2g}")

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "advice": self.advice,
            "rates": [float(f"{rate:.4g}") for rate in self.rates],
            "losses": [float(f"{loss:.6g}") for loss in self.losses],
        }


class _Rising(Optim):
    """Grows the rate by the same factor in each update, whatever the schedule says."""

    def rate(self, progress: float) -> float:
        return LOWEST * (HIGHEST / LOWEST) ** progress


def range_test(
    model: torch.nn.Module, feeds: Feeds, objective: Objective, optim: Optim, *, device: Device, cluster: Cluster, seed: int
) -> RangeTest:  # fmt: skip
    """Learn for at most :data:`UPDATES` updates at growing rates with a fresh optimizer over the groups of ``optim``.

    Model, objective and feeds are as before afterwards. A NaN or infinite update ends the test as a loss that has grown does.
    """
    model_before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objective_before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    feeds_before = feeds.state()
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    try:
        steps = fit(
            model, feeds, objective, _Rising.like(optim), Budget(UPDATES), device=device, cluster=cluster, seed=seed
        )
        for step in steps:
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * step.loss
            rates.append(step.learning_rate)
            losses.append(mean / (1 - _SMOOTHING ** len(rates)))
            if losses[-1] > _DIVERGED * min(losses):
                break
    except NonFiniteUpdate:
        pass
    finally:
        model.load_state_dict(model_before)
        objective.load_state_dict(objective_before)
        feeds.restore({**feeds_before, "micro_batch_size": feeds.micro_batch_size})
    assert all(map(math.isfinite, losses)), "the loop refuses other losses"
    return RangeTest(tuple(rates), tuple(losses))
