"""Several tasks learned at once on one trunk: a term of the loss for each, over rows of its own.

Weights are fixed, or each task's loss is divided by a variance that is learned with it (Kendall, Gal & Cipolla 2018, arXiv 1705.07115,
equation 7). Rows of a task in an update go with a power of how many it has (temperature: Raffel et al. 2020, arXiv 1910.10683, section 3.5.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.backbones.states.shared_trunk import SharedTrunk
from pretune.engine.batching import Stream
from pretune.engine.fit import Objective
from pretune.objectives.supervised import Supervised
from pretune.tasks.protocols import EncodedRows, Learnable
from pretune.types import TERM, Batch, Feed, Loss

__all__ = ["Multitask", "TaskRows", "rows_an_update"]

_BALANCE = "balance"
"""The term of the variances themselves: without it a task's loss would be divided away."""


@dataclass(frozen=True)
class TaskRows:
    """A task, its training rows, and how many of them an update takes."""

    task: Learnable
    rows: EncodedRows
    batch_size: int


def rows_an_update(sizes: Mapping[str, int], largest: int, temperature: float) -> dict[str, int]:
    """Rows of each task in an update: ``largest`` of the task with most rows, of the others by the root of how many they have.

    At temperature 1 all tasks come round alike often; the larger it is, the more a small task is repeated.
    """
    most = max(sizes.values())
    return {name: max(1, round(largest * (size / most) ** (1 / temperature))) for name, size in sizes.items()}


@final
class Multitask(Objective):
    """Learn the ``tasks`` (the one with most rows first: an epoch is a pass over it) by the terms of their own losses times ``shares``;
    with ``learns_weights`` by variances that the model learns.

    Tasks of ``groups`` read the same rows: these are drawn once for all of them.
    """

    def __init__(
        self, tasks: Mapping[str, TaskRows], adaptation: Adaptation, *, shares: Mapping[str, float],
        groups: Sequence[Sequence[str]], learns_weights: bool = False,
    ) -> None:  # fmt: skip
        self.tasks = dict(tasks)
        self.adaptation = adaptation
        self.groups = [tuple(group) for group in groups]
        self.learns_weights = learns_weights
        self.weights: Mapping[str, float] = {name: shares[name] for name in tasks}
        parts = [f"{name}.{part}" for name, one in tasks.items() for part in one.task.loss_parts]
        if learns_weights:
            self.weights = {**self.weights, _BALANCE: 1.0}
            parts += [f"{name}.{what}" for name in tasks for what in (TERM, "weight")]
        self.log_names = tuple(parts)

    def streams(self, *, group_by_length: bool) -> dict[str, Stream]:
        """A stream of rows for each group of tasks."""
        return {"+".join(group): self._stream(group, group_by_length) for group in self.groups}

    def _stream(self, group: Sequence[str], group_by_length: bool) -> Stream:
        streams = {}
        for name in group:
            one = self.tasks[name]
            own = Supervised(one.task, self.adaptation)
            streams |= own.streams(one.rows, batch_size=one.batch_size, group_by_length=group_by_length, name=name)

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            drawn = {name: stream.collate(rows_R, keys_R)[name] for name, stream in streams.items()}
            return {name: self._counted(name, batch) for name, batch in drawn.items()}

        is_whole = any(stream.is_whole for stream in streams.values())
        return dataclasses.replace(streams[group[0]], collate=collate, is_whole=is_whole)

    def _counted(self, name: str, batch: Batch) -> Batch:
        """The batch with its counts under the task's name."""
        counts = {name if part == TERM else f"{name}.{part}": count for part, count in batch.counts.items()}
        for part in self.tasks[name].task.loss_parts:
            counts.setdefault(f"{name}.{part}", batch.num_items)
        if self.learns_weights:
            counts |= {f"{name}.{TERM}": batch.num_items, f"{name}.weight": batch.num_items, _BALANCE: len(batch.ids)}
        return dataclasses.replace(batch, counts=counts)

    def _own(self, name: str, batch: Batch) -> Batch:
        """The batch as its task made it."""
        parts = {part.removeprefix(f"{name}."): count for part, count in batch.counts.items() if part != name}
        return dataclasses.replace(batch, counts={TERM: batch.counts[name], **parts})

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode, its dropout too."""
        self.adaptation.train(model, progress)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Each task's own loss; the trunk runs once where tasks read the same rows."""
        assert isinstance(model, SharedTrunk), "tasks share one trunk"
        terms: dict[str, torch.Tensor] = {}
        log: dict[str, float] = {}
        with model.once():
            for name, batch in feed.items():
                found = self.tasks[name].task.loss(model.of(name), self._own(name, batch))
                terms[name] = found.total
                log |= {f"{name}.{part}": value for part, value in found.log.items()}
        return Loss(self._balanced(model, feed, terms, log), log) if self.learns_weights else Loss(terms, log)

    def _balanced(
        self, model: SharedTrunk, feed: Feed, terms: Mapping[str, torch.Tensor], log: dict[str, float]
    ) -> dict[str, torch.Tensor]:
        """The terms divided by their variances, and the logarithms of these, which keep them from growing."""
        found = {}
        for name, term in terms.items():
            precision = torch.exp(-model.log_variance(name))
            found[name] = precision * term
            log |= {
                f"{name}.{TERM}": float(term.detach()),
                f"{name}.weight": float(precision.detach()) * feed[name].counts[name],
            }
        logarithms = torch.stack([model.log_variance(name) for name in self.tasks])
        rows = sum(len(feed[name].ids) for name in feed)
        return {**found, _BALANCE: 0.5 * logarithms.sum() * rows}
