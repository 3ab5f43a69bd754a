"""The only training loop. A generator: saving, evaluating and printing are statements in the caller's ``for`` body."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from pretune.engine.batching import BLANK, Feeds
from pretune.engine.devices import Device
from pretune.engine.optim import Optim
from pretune.engine.parallel import Cluster
from pretune.engine.randomness import seed_of, torch_generator
from pretune.errors import CheckFailed, NonFiniteUpdate
from pretune.types import TERM, Feed, Loss, Step

__all__ = ["Budget", "GradientRule", "Objective", "fit"]


class Objective(ABC):
    """What training means: which rows are drawn, and the loss of them. ``weights`` names the terms of its loss, each with what it
    counts for; ``log_names`` are the keys of its losses' logs.
    """

    weights: Mapping[str, float] = {TERM: 1.0}
    log_names: tuple[str, ...] = ()

    @abstractmethod
    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Put the model into the state for an update at ``progress``: training mode, what is frozen."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """The summed terms of one micro-batch."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What the objective has learned beside the model (thresholds, a teacher's average weights): kept in checkpoints."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take that back."""
        assert not state, f"{type(self).__name__} keeps no state, and was given {', '.join(state)}"


class GradientRule(Protocol):
    """How an update's gradient is made, where it is not that of the summed loss: clipped row by row, with noise
    (:class:`pretune.engine.private.gradients.PrivateGradients`). One process, and an objective of one term.
    """

    def begin(self) -> None:
        """An update begins, perhaps again."""
        ...

    def add(self, model: torch.nn.Module, feed: Feed) -> Loss:
        """Take in a micro-batch; returns its summed loss."""
        ...

    def close(self, model: torch.nn.Module) -> None:
        """Give the parameters their gradient."""
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

    terms: dict[str, float]
    log: dict[str, float]
    num_rows: int = 0
    num_tokens: int = 0
    num_padded: int = 0
    suspects: list[str] = field(default_factory=list)

    def add(self, loss: Loss, feed: Feed) -> None:
        values = {name: float(term.detach()) for name, term in loss.terms.items()}
        for name, value in values.items():
            self.terms[name] += value
        if not all(map(math.isfinite, values.values())):
            self.suspects += [i for batch in feed.values() for i in batch.ids]
        for name, value in loss.log.items():
            self.log[name] += value
        for batch in feed.values():
            self.num_rows += len(batch.ids)
            self.num_tokens += batch.num_tokens
            self.num_padded += batch.num_padded


def fit(
    model: torch.nn.Module,
    feeds: Feeds,
    objective: Objective,
    optim: Optim,
    budget: Budget,
    *,
    device: Device,
    cluster: Cluster,
    seed: int,
    start_step: int = 0,
    rule: GradientRule | None = None,
) -> Iterator[Step]:
    """One :class:`Step` per optimizer update, until the budget is spent.

    The gradient of an update is that of the terms of the loss, each summed over the micro-batches of all processes and divided
    once by its own count: accumulation and data parallel give the step of one big batch, and labelled and unlabelled rows,
    rows and tokens do not share a denominator. A NaN or infinite update is refused before it
    touches a weight (:class:`NonFiniteUpdate` names the step and the rows). Out of memory halves the micro-batches and
    repeats the update. A ``rule`` makes the gradient in another way.
    """
    step, updates = start_step, iter(feeds)
    while not budget.is_spent(step):
        began = time.perf_counter()
        update, data_state = next(updates)
        progress = budget.progress(step)
        objective.prepare(model, progress)
        sums, counts = _gradients(model, feeds, update, objective, optim, device, cluster, seed, step, rule)
        loss = sum(weight * sums.terms[name] / counts[name] for name, weight in objective.weights.items())
        rate, norm = _apply(optim, budget, update, sums, loss, cluster, step)
        step += 1
        seconds = time.perf_counter() - began
        budget.used_seconds = cluster.sum([budget.used_seconds + seconds])[0] / cluster.world
        yield Step(
            number=step,
            loss=loss,
            parts=_told(sums, counts, objective),
            grad_norm=norm,
            learning_rate=rate,
            num_items=counts[next(iter(objective.weights))],
            num_rows=sums.num_rows,
            num_tokens=sums.num_tokens,
            num_padded=sums.num_padded,
            seconds=seconds,
            progress=budget.progress(step),
            epoch=data_state["updates"] / feeds.updates_per_epoch,
            data_state=data_state,
        )


def _told(sums: _Sums, counts: Mapping[str, float], objective: Objective) -> dict[str, float]:
    """The log's figures, each divided by its count; the terms of the loss among them where there are several."""
    first = counts[next(iter(objective.weights))]
    terms = sums.terms if len(objective.weights) > 1 else {}
    return {name: value / counts.get(name, first) for name, value in {**terms, **sums.log}.items()}


def _gradients(
    model: torch.nn.Module,
    feeds: Feeds,
    update: list[tuple[int, Feed]],
    objective: Objective,
    optim: Optim,
    device: Device,
    cluster: Cluster,
    seed: int,
    step: int,
    rule: GradientRule | None,
) -> tuple[_Sums, dict[str, float]]:
    """Accumulate the update's gradients; on out of memory cut smaller and begin the update again."""
    while True:
        try:
            return _accumulate(model, update, objective, optim, device, cluster, seed, step, rule)
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
    objective: Objective,
    optim: Optim,
    device: Device,
    cluster: Cluster,
    seed: int,
    step: int,
    rule: GradientRule | None,
) -> tuple[_Sums, dict[str, float]]:
    counts = _counts(update, objective, cluster)
    sums = _Sums(dict.fromkeys(objective.weights, 0.0), dict.fromkeys(objective.log_names, 0.0))
    if rule is not None:
        rule.begin()
    for number, feed in update:
        torch.manual_seed(seed_of(seed, "dropout", step, number))
        on_device = {name: batch.to(device.device) for name, batch in feed.items()}
        with device.arithmetic():
            if rule is not None:
                loss = rule.add(model, on_device)
            else:
                loss = objective.loss(model, on_device, torch_generator(seed, "loss", step, number))
        if rule is None and (whole := _weighed(loss, counts, objective.weights)) is not None:
            (whole if number != BLANK else 0.0 * whole).backward()
        if number != BLANK:
            sums.add(loss, feed)
    if rule is not None:
        rule.close(model)
    cluster.sum_gradients(optim.parameters)
    return _over_processes(sums, cluster), counts


def _counts(update: list[tuple[int, Feed]], objective: Objective, cluster: Cluster) -> dict[str, float]:
    """Of each term, and of each figure of the log that is counted by itself, what the update has of it on all processes."""
    names = [*objective.weights, *(name for name in objective.log_names if name not in objective.weights)]
    found = dict.fromkeys(names, 0.0)
    for number, feed in update:
        for batch in feed.values() if number != BLANK else ():
            for name, count in batch.counts.items():
                assert name in found, f"a batch counts {name}, which is no term of the loss: {', '.join(names)}"
                found[name] += count
    summed = dict(zip(names, cluster.sum([float(found[name]) for name in names]), strict=True))
    return {name: max(value, 1e-12) for name, value in summed.items() if value > 0 or name in objective.weights}


def _weighed(loss: Loss, counts: Mapping[str, float], weights: Mapping[str, float]) -> torch.Tensor | None:
    """The terms that can be learned from, each divided by its count and times its weight; None where there is none."""
    whole = None
    for name, term in loss.terms.items():
        if term.requires_grad:
            part = term / counts[name]
            part = part if weights[name] == 1.0 else weights[name] * part
            whole = part if whole is None else whole + part
    return whole


def _over_processes(sums: _Sums, cluster: Cluster) -> _Sums:
    if cluster.world == 1:
        return sums
    terms, log = sorted(sums.terms), sorted(sums.log)
    counted = [sums.num_rows, sums.num_tokens, sums.num_padded]
    values = cluster.sum([*(sums.terms[name] for name in terms), *(sums.log[name] for name in log), *counted])
    return _Sums(
        dict(zip(terms, values, strict=False)),
        dict(zip(log, values[len(terms) :], strict=False)),
        *(int(value) for value in values[-3:]),
        suspects=sums.suspects,
    )


def _apply(
    optim: Optim,
    budget: Budget,
    update: list[tuple[int, Feed]],
    sums: _Sums,
    loss: float,
    cluster: Cluster,
    step: int,
) -> tuple[float, float]:
    norm = float(optim.gradient_norm())
    if cluster.any(not (math.isfinite(norm) and math.isfinite(loss))):
        others = [i for _, feed in update for batch in feed.values() for i in batch.ids if i not in sums.suspects]
        row_ids = (*sums.suspects, *others)
        optim.drop_gradients()
        raise NonFiniteUpdate(
            f"update {step + 1} was refused: loss {loss:g}, gradient norm {norm:g}; rows {_some(tuple(sums.suspects) or row_ids)}",
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
