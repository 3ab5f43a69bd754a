"""Which pooling tells rows apart better before anything learns: the first position, or the mean of all.

Shapes: N rows, B rows of a batch, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.pooling.pool import Pool
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.tasks.linear.fit import fit_linear, log_losses
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.trunk import trunk_of

if TYPE_CHECKING:
    from pretune.tasks.classes.labelling import Labelling

__all__ = ["PoolingTrial", "reads_first", "try_pooling"]

MODES = ("first", "mean")
_MOST_ROWS = {"train": 1_000, "validation": 500}
_MOST_TOKENS = {"train": 40_000, "validation": 20_000}
_LEAST_ROWS = 20
_BUDGET = 4096
_SURE = 2.0
"""Standard errors that the mean has to be better by: the architecture's own head, which reads the first position, is kept otherwise."""


class PoolingTrial(NamedTuple):
    """Mean log loss of validation rows by a linear model on each pooling, their difference (first less mean) with its standard
    error, and the rows of both splits.
    """

    losses: dict[str, float]
    difference: float
    error: float
    rows: dict[str, int]

    @property
    def takes_mean(self) -> bool:
        """Is the mean better, and shown to be?"""
        return self.difference > _SURE * self.error

    def sentence(self) -> str:
        """What was found."""
        low, high = self.difference - 1.96 * self.error, self.difference + 1.96 * self.error
        return (
            f"a linear model on the frozen mean of the tokens loses {self.losses['mean']:.3f} a row (log loss), on the first token "
            f"{self.losses['first']:.3f}: {self.difference:+.3f} [{low:+.3f}, {high:+.3f}], n = {self.rows['validation']} validation "
            f"rows, {self.rows['train']} of train"
        )

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        return {**self._asdict(), "sentence": self.sentence()}


def reads_first(task: Any, model: torch.nn.Module, rows: EncodedRows, device: Device) -> bool:
    """Does the model's head read the first position alone?"""
    plan = plan_adaptation(model, "head", weight_decay=0.0)
    trunk = trunk_of(task, model, plan, rows, device)
    return trunk is not None and trunk.first_only


def try_pooling(
    task: Labelling,
    model: Any,
    rows: Mapping[str, EncodedRows],
    votes: Set[str],
    units: Mapping[str, int],
    device: Device,
) -> PoolingTrial | None:
    """Try both on a sample of the rows. ``votes`` holds the ids of the validation rows that choose, ``units`` those of train by unit.
    None where there are too few.
    """
    from threadpoolctl import threadpool_limits

    chosen = {
        "train": _sample(rows["train"], "train", lambda item: item.target is not None),
        "validation": _sample(rows["validation"], "validation", lambda item: item.id in votes and item.target is not None),
    }  # fmt: skip
    if min(map(len, chosen.values())) < _LEAST_ROWS:
        return None
    states = {name: _pooled(task, model, rows[name], places, device) for name, places in chosen.items()}
    labels = {name: _labels(task, rows[name], places) for name, places in chosen.items()}
    units_N = np.array([units[rows["train"][place].id] for place in chosen["train"]])
    losses: dict[str, np.ndarray] = {}
    for mode in MODES:
        train_NF, held_NF = (states[name][mode] for name in ("train", "validation"))
        with threadpool_limits(device.threads):
            fit = fit_linear(train_NF, labels["train"], np.ones(len(train_NF)), units_N, len(task.labels), default=0.01)
        losses[mode] = log_losses(held_NF @ fit.weight.T + fit.bias, labels["validation"])
    apart_N = losses["first"] - losses["mean"]
    error = float(apart_N.std(ddof=1) / np.sqrt(len(apart_N)))
    counts = {name: len(places) for name, places in chosen.items()}
    return PoolingTrial(
        {mode: float(one.mean()) for mode, one in losses.items()}, float(apart_N.mean()), error, counts
    )  # fmt: skip


def _sample(rows: EncodedRows, name: str, is_usable: Any) -> list[int]:
    """Some of the items, the same each time, one a row, within so many tokens."""
    found, tokens, seen = [], 0, set[str]()
    for place in np.random.default_rng(0).permutation(len(rows)).tolist():
        if len(found) == _MOST_ROWS[name] or tokens >= _MOST_TOKENS[name]:
            break
        item = rows[place]
        if item.id not in seen and is_usable(item):
            seen.add(item.id)
            found.append(place)
            tokens += item.cost
    return found


def _labels(task: Any, rows: EncodedRows, places: list[int]) -> np.ndarray:
    targets = task.targets_and_weights([rows[place] for place in places])[0].numpy()
    return targets.astype(np.int64 if targets.ndim == 1 else np.float64)


def _pooled(task: Any, model: Any, rows: EncodedRows, places: list[int], device: Device) -> dict[str, np.ndarray]:
    """Of each mode the pooled states (N, F) of the items at these places."""
    pools = {mode: Pool((mode,)) for mode in MODES}
    found: dict[str, list[Any]] = {mode: [None] * len(places) for mode in MODES}
    costs_N = np.array([rows[place].cost for place in places])
    with evaluating(model):
        for part in cut_by_budget(costs_N, max_cost=_BUDGET, max_rows=2**31):
            batch = task.collate([rows[places[int(number)]] for number in part]).to(device.device)
            with inference(device):
                output = model.base_model(**batch.inputs)
                for mode, pool in pools.items():
                    values_BF = pool(output, batch.inputs.get("attention_mask")).float().cpu().numpy()
                    for number, values_F in zip(part, values_BF, strict=True):
                        found[mode][int(number)] = values_F
    return {mode: np.stack(values) for mode, values in found.items()}
