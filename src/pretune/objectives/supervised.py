"""Supervised learning: the task's own loss on labelled rows."""

from __future__ import annotations

from typing import final

import numpy as np
import torch

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.engine.batching import Stream
from pretune.engine.fit import Objective
from pretune.tasks.protocols import EncodedRows, Learnable
from pretune.types import Encoded, Feed, Loss

__all__ = ["Supervised", "learned_item"]


def learned_item(task: Learnable, rows: EncodedRows, number: int, key: int) -> Encoded:
    """Row ``number`` as it is learned from this time: varied, perhaps mixed with others; ``key`` draws how."""
    rng = np.random.default_rng(key)
    row = task.augment(rows[number], rng)
    if task.mixes == 0.0 or rng.random() >= task.mixes:
        return row
    others = [task.augment(rows[int(number)], rng) for number in rng.integers(len(rows), size=task.mixed_with)]
    return task.mixed(row, others, rng)


@final
class Supervised(Objective):
    """Learn ``task`` from the stream ``labelled``; ``adaptation`` says which weights learn when."""

    def __init__(self, task: Learnable, adaptation: Adaptation) -> None:
        self.task = task
        self.adaptation = adaptation
        self.log_names = task.loss_parts

    def streams(
        self, rows: EncodedRows, *, batch_size: int, group_by_length: bool, name: str = "labelled"
    ) -> dict[str, Stream]:
        """The one stream of labelled rows; ``name`` is that of the stream and of its batches."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            pairs = zip(rows_R, keys_R, strict=True)
            return {name: self.task.collate([learned_item(self.task, rows, int(i), int(key)) for i, key in pairs])}

        order_N = getattr(rows, "order_N", None)  # of rows with two lengths
        is_whole = self.task.ties_rows
        return {name: Stream(rows.lengths_N, collate, batch_size, group_by_length, is_whole, order_N=order_N)}

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode, its dropout too."""
        self.adaptation.train(model, progress)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """The task's loss."""
        return self.task.loss(model, feed["labelled"])
