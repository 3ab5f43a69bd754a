"""Few labels: features learn to be alike within a class and apart between classes, and logistic regression tells the classes by them (SetFit:
Tunstall et al. 2022, arXiv 2209.11055, section 3).

Each row of an update meets another of the training rows: by even odds one of its class (their cosine is to be 1) or of another (0).
Which one is a function of (seed, epoch, row): nothing is kept of the pairs, of which there are as many as rows squared.
Shapes: R rows, P = 2 R items (all rows, then all partners), F features, C classes.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.engine.batching import Stream
from pretune.engine.fit import Objective
from pretune.tasks.base import EncodedRows
from pretune.tasks.classes.classification import Classification
from pretune.types import TERM, Batch, Encoded, Feed, Loss

__all__ = ["ContrastiveLabels", "Partners"]

_HALF = 0.5


class Partners:
    """Whom a row meets: its class's rows, or those of all others. Linear in the rows (N,) that have labels."""

    def __init__(self, labels_N: np.ndarray) -> None:
        self.labels_N = labels_N
        self._order_N = np.argsort(labels_N, kind="stable")
        counts_C = np.bincount(labels_N)
        self._starts_C, self._counts_C = np.cumsum(counts_C) - counts_C, counts_C

    def of(self, row: int, rng: np.random.Generator) -> int:
        """Another row of its class, or (by even odds, and where it is alone) one of another class."""
        label = self.labels_N[row]
        start, count = int(self._starts_C[label]), int(self._counts_C[label])
        if count > 1 and (rng.random() < _HALF or count == len(self.labels_N)):
            at = start + int(rng.integers(count - 1))
            found = int(self._order_N[at])
            return found if found != row else int(self._order_N[start + count - 1])
        at = int(rng.integers(len(self.labels_N) - count))
        return int(self._order_N[at if at < start else at + count])


@final
class ContrastiveLabels(Objective):
    """Move what ``layer``, the task's linear head in the model, reads; the head itself is solved, not learned here."""

    log_names: tuple[str, ...] = ("right",)

    def __init__(self, task: Classification, adaptation: Adaptation, layer: torch.nn.Module) -> None:
        self.task, self.adaptation, self.layer = task, adaptation, layer

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The labelled rows, each with the partner that its key draws."""
        places = np.flatnonzero([rows[at].target is not None for at in range(len(rows))])
        partners = Partners(np.array([int(rows[int(at)].target) for at in places]))

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            first, second = [], []
            for row, key in zip(rows_R, keys_R, strict=True):
                rng = np.random.default_rng(int(key))
                other = partners.of(int(row), rng)
                for side, place in ((first, row), (second, other)):
                    side.append(self.task.augment(rows[int(places[place])], rng))
            return {"pairs": self.collate(first, second)}

        return {"pairs": Stream(2 * rows.lengths_N[places], collate, batch_size, group_by_length)}

    def collate(self, first: list[Encoded], second: list[Encoded]) -> Batch:
        """Both sides as one batch of P items, which counts R pairs."""
        batch = self.task.collate([*first, *second])
        alike_R = np.array([float(one.target == other.target) for one, other in zip(first, second, strict=True)])
        batch.targets, batch.counts = torch.from_numpy(alike_R).float(), {TERM: float(len(first))}
        return batch

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode, its dropout too."""
        self.adaptation.train(model, progress)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """The squared distance of each pair's cosine to 1 or 0, summed; ``right`` counts the pairs on the right side of one half."""
        batch = feed["pairs"]
        features_PF = self._features(model, batch)
        one_RF, other_RF = features_PF.float().chunk(2)
        cosines_R = functional.cosine_similarity(one_RF, other_RF)
        right = ((cosines_R > _HALF) == (batch.targets > _HALF)).sum()
        return Loss.of(functional.mse_loss(cosines_R, batch.targets, reduction="sum"), {"right": float(right)})

    def _features(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(P, F): what the layer reads."""
        held: list[Any] = []
        handle = self.layer.register_forward_pre_hook(lambda *told: held.append(told[1][0]))
        try:
            self.task.logits_of(model, batch)
        finally:
            handle.remove()
        return held[-1]
