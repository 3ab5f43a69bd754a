"""The only training loop. A generator: saving, evaluating and printing are statements in the caller's ``for`` body."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch

from pretune.engine.batching import Feeds
from pretune.engine.devices import Device
from pretune.engine.optim import Optim
from pretune.engine.parallel import Cluster
from pretune.engine.randomness import seed_of, torch_generator
from pretune.errors import CheckFailed, NonFiniteUpdate
from pretune.types import Feed, Loss, Step

__all__ = ["Budget", "Learner", "fit"]


class Learner(Protocol):
    """What the loop needs of an objective. ``part_names`` are the keys of its losses' parts."""

    part_names: tuple[str, ...]

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Put the model into the state for an update at ``progress``: training mode, what is frozen."""
        ...

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """The summed loss of one micro-batch."""
        ...


@dataclass
class Budget:
    """How long to learn: updates at most and, where given, seconds at most; progress is the larger share used."""

    max_steps: int
    max_seconds: float | None = None
    used_seconds: float = 0.0

    def progress(self, step: int) -> float:
        """Share of the budget used before update ``step + 1``, in [0, 1]."""
        by_time = self.used_seconds / self.max_seconds if self.max_seconds else 0.0
        return min(1.0, max(step / self.max_steps, by_time))

    def is_spent(self, step: int) -> bool:
        """Is nothing of it left after update ``step``?"""
        return self.progress(step) >= 1.0


@dataclass
class _Sums:
    """What one update added up, over its micro-batches."""

    loss: float = 0.0
    num_rows: int = 0
    num_tokens: int = 0
    num_padded: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    suspects: list[str] = field(default_factory=list)

    def add(self, loss: Loss, feed: Feed) -> None:
        total = float(loss.total.detach())
        self.loss += total
        if not math.isfinite(total):
            self.suspects += [i for batch in feed.values() for i in batch.ids]
        for name, value in loss.parts.items():
            self.parts[name] += value
        for batch in feed.values():
            self.num_rows += len(batch.ids)
            self.num_tokens += batch.num_tokens
            self.num_padded += batch.num_padded


def fit(
    model: torch.nn.Module,
    feeds: Feeds,
    objective: Learner,
    optim: Optim,
    budget: Budget,
    *,
    device: Device,
    cluster: Cluster,
    seed: int,
    start_step: int = 0,
) -> Iterator[Step]:
    """One :class:`Step` per optimizer update, until the budget is spent.

    The gradient of an update is the summed loss of its micro-batches on all processes, divided once by their items:
    accumulation and data parallel give the step of one big batch. A NaN or infinite update is refused before it
    touches a weight (:class:`NonFiniteUpdate` names the step and the rows). Out of memory halves the micro-batches and
    repeats the update.
    """
    step, updates = start_step, iter(feeds)
    while not budget.is_spent(step):
        began = time.perf_counter()
        update, data_state = next(updates)
        progress = budget.progress(step)
        objective.prepare(model, progress)
        sums, num_items = _gradients(model, feeds, update, objective, optim, device, cluster, seed, step)
        rate, norm = _apply(optim, budget, update, sums, num_items, cluster, step)
        step += 1
        seconds = time.perf_counter() - began
        budget.used_seconds = cluster.sum([budget.used_seconds + seconds])[0] / cluster.world
        yield Step(
            number=step,
            loss=sums.loss / num_items,
            parts={name: value / num_items for name, value in sums.parts.items()},
            grad_norm=norm,
            learning_rate=rate,
            num_items=num_items,
            num_rows=sums.num_rows,
            num_tokens=sums.num_tokens,
            num_padded=sums.num_padded,
            seconds=seconds,
            progress=budget.progress(step),
            epoch=data_state["updates"] / feeds.updates_per_epoch,
            data_state=data_state,
        )


def _gradients(
    model: torch.nn.Module,
    feeds: Feeds,
    update: list[tuple[int, Feed]],
    objective: Learner,
    optim: Optim,
    device: Device,
    cluster: Cluster,
    seed: int,
    step: int,
) -> tuple[_Sums, float]:
    """Accumulate the update's gradients; on out of memory cut smaller and begin the update again."""
    while True:
        try:
            return _accumulate(model, update, objective, optim, device, cluster, seed, step)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error) or cluster.world > 1:
                raise
            optim.drop_gradients()
            if feeds.is_whole:
                raise CheckFailed(
                    f"out of memory in update {step + 1}, whose rows are compared with each other and cannot be parted",
                    "lower --batch-size, or take a smaller backbone or smaller pictures (--image-size)",
                ) from error
            if not feeds.halve():
                raise CheckFailed(
                    f"out of memory in update {step + 1}, even with one row a forward pass",
                    "shorten rows (--max-length), take a smaller backbone, or --activation-checkpointing",
                ) from error
            update[:] = feeds.again()


def _accumulate(
    model: torch.nn.Module,
    update: list[tuple[int, Feed]],
    objective: Learner,
    optim: Optim,
    device: Device,
    cluster: Cluster,
    seed: int,
    step: int,
) -> tuple[_Sums, float]:
    local_items = float(sum(batch.num_items for _, feed in update for batch in feed.values()))
    num_items = max(cluster.sum([local_items])[0], 1e-12)
    sums = _Sums(parts=dict.fromkeys(objective.part_names, 0.0))
    for number, feed in update:
        torch.manual_seed(seed_of(seed, "dropout", step, number))
        on_device = {name: batch.to(device.device) for name, batch in feed.items()}
        with device.arithmetic():
            loss = objective.loss(model, on_device, torch_generator(seed, "loss", step, number))
        if loss.total.requires_grad:
            (loss.total / num_items).backward()
        sums.add(loss, feed)
    cluster.sum_gradients(optim.parameters)
    return _over_processes(sums, cluster), num_items


def _over_processes(sums: _Sums, cluster: Cluster) -> _Sums:
    if cluster.world == 1:
        return sums
    names = sorted(sums.parts)
    values = cluster.sum([sums.loss, sums.num_rows, sums.num_tokens, sums.num_padded, *(sums.parts[n] for n in names)])
    return _Sums(
        values[0],
        int(values[1]),
        int(values[2]),
        int(values[3]),
        dict(zip(names, values[4:], strict=True)),
        sums.suspects,
    )


def _apply(
    optim: Optim,
    budget: Budget,
    update: list[tuple[int, Feed]],
    sums: _Sums,
    num_items: float,
    cluster: Cluster,
    step: int,
) -> tuple[float, float]:
    norm = float(optim.gradient_norm())
    if cluster.any(not (math.isfinite(norm) and math.isfinite(sums.loss))):
        others = [i for _, feed in update for batch in feed.values() for i in batch.ids if i not in sums.suspects]
        row_ids = (*sums.suspects, *others)
        optim.drop_gradients()
        raise NonFiniteUpdate(
            f"update {step + 1} was refused: loss {sums.loss / num_items:g}, gradient norm {norm:g}; rows {_some(tuple(sums.suspects) or row_ids)}",
            "no weight was changed and nothing was saved since the last checkpoint: look at these rows, lower --learning-rate, or use --precision fp32",
            step=step + 1,
            row_ids=row_ids,
        )
    # The rate is that of the progress after the update, so that warm-up starts above zero.
    after = max(budget.progress(step), min(1.0, (step + 1) / (budget.max_steps + 1)))
    return optim.step(after, norm), norm


def _some(row_ids: tuple[str, ...], most: int = 64) -> str:
    listed = ", ".join(row_ids[:most])
    return listed if len(row_ids) <= most else f"{listed} and {len(row_ids) - most} more"


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
    )
