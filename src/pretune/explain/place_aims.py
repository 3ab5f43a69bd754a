"""What of an answer with places is explained, and how sure the model is of it with parts of the picture taken out.

Shapes: B rows of a batch, M items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.errors import UsageError, did_you_mean
from pretune.explain.aim import Aim, EmptyAnswer
from pretune.tasks.places.placed import NothingFound, PlacedTask
from pretune.tasks.predicting import BUDGET_TOKENS
from pretune.types import Batch, Encoded

__all__ = ["PlaceAim"]


class PlaceAim(Aim):
    """The place that the task names (:meth:`PlacedTask.explained_place`)."""

    def __init__(
        self, task: PlacedTask, model: torch.nn.Module, device: Device, item: Encoded, label: str | None
    ) -> None:
        """Raises :class:`UsageError` for a label that the model does not know, :class:`EmptyAnswer` where nothing is found."""
        self._task, self._model, self._device = task, model, device
        if label is not None and label not in task.index:
            raise UsageError(f"the label {label!r} is not among those trained on", did_you_mean(label, task.labels))
        logits = self._logits([item])
        try:
            self._place = task.explained_place(logits, label)
        except NothingFound as error:
            raise EmptyAnswer(error.problem, error.fix) from None
        self.measure, self.figure, self.notes = self._place.measure, self._place.figure, (self._place.note,)
        self.explained = self.answer = self._place.explained
        self.probability = float(self._place.shares(logits)[0])

    def _logits(self, items: Sequence[Encoded]) -> torch.Tensor:
        batch = self._task.collate(list(items)).to(self._device.device)
        with inference(self._device):
            return self._task.logits_of(self._model, batch).float()

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """See :class:`Aim`."""
        return self._place.score(logits)

    def probabilities(self, items: Sequence[Encoded]) -> np.ndarray:
        """See :class:`Aim`."""
        found_M = np.zeros(len(items))
        costs_M = np.array([item.cost for item in items])
        for places in cut_by_budget(costs_M, max_cost=BUDGET_TOKENS, max_rows=2**31):
            logits = self._logits([items[int(place)] for place in places])
            found_M[places] = self._place.shares(logits).cpu().double().numpy()
        return found_M

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """See :class:`Aim`."""
        return self._place.drawn(pixels)
