"""A small model learns from a large one: its right answers, its doubts, and what happens inside it.

Shapes: B rows of a batch, T positions, D numbers of a position's inner states.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import nn

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.backbones.states.inner_states import Listener
from pretune.engine.batching import Stream
from pretune.engine.fit import Objective
from pretune.objectives.distilling.inner_matching import InnerMatching
from pretune.objectives.supervised import learned_item
from pretune.tasks.base import Task
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.trunk import positions_of
from pretune.tasks.teacher import Teaching
from pretune.types import TERM, Batch, Feed, Loss

__all__ = ["HARD_WEIGHT", "TEMPERATURE", "Distil", "MatchedStudent"]

TEMPERATURE = 2.0
HARD_WEIGHT = 0.1
"""The right answers weigh "considerably" less than the teacher's (Hinton et al. 2015, arXiv 1503.02531, section 2)."""

INSIDE_SHARE = 0.5
"""Inner states first, answers alone afterwards, as in TinyBERT (Jiao et al. 2020, arXiv 1909.10351, section 3.2), here in one run.
Held to the teacher's states to the end, a student of two layers was right on 76 % of 870 rows, in this order on 78 %."""

_LOGITS, _STATES = "teacher_logits", "teacher_states"


class MatchedStudent(nn.Module):
    """A student with what is held against its teacher's inner states: both learn, the student alone is kept.

    Its forward is the student's. ``listener`` hears the student.
    """

    def __init__(self, student: nn.Module, matching: InnerMatching, listener: Listener) -> None:
        super().__init__()
        self.student = student
        self.matching = matching
        self.listener = listener

    def forward(self, **inputs: torch.Tensor) -> Any:
        """What the student says; what was heard before is forgotten."""
        self.listener.take()
        return self.student(**inputs)


@final
class Distil(Objective):
    """Learn ``task`` from a teacher, on rows with and without right answers (the stream ``rows``).

    The loss of a row is ``hard_weight`` times the task's own and the rest times the distance from the teacher's softened answer
    (Hinton et al. 2015); a row without a right answer has the latter alone. In the first half of the run a model that is a
    :class:`MatchedStudent` adds the distances of inner states, each as they are. An update is normalised by the rows' weights, of
    transcripts by frames.
    """

    log_names: tuple[str, ...] = ("hard", "soft")

    def __init__(
        self,
        task: Task,
        adaptation: Adaptation,
        teaching: Teaching,
        *,
        temperature: float = TEMPERATURE,
        hard_weight: float = HARD_WEIGHT,
        matching: InnerMatching | None = None,
    ) -> None:
        self.task = task
        self.adaptation = adaptation
        self.teaching = teaching
        self.temperature = temperature
        self.hard_weight = hard_weight
        self.log_names = (*type(self).log_names, *(() if matching is None else matching.names))
        self._looks_inside = matching is not None

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of all rows, with what the teacher says of them."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            places = rows_R.tolist()
            items = [learned_item(self.task, rows, place, int(key)) for place, key in zip(places, keys_R, strict=True)]
            batch = self.task.collate(items)
            said = self.teaching.of(places, items, batch)
            batch.extras[_LOGITS] = said.logits
            self.task.learned_from(batch, said.logits)
            if said.states is not None and self._looks_inside:
                batch.extras[_STATES] = said.states
            batch.counts = {TERM: float(self.task.item_weights(batch).sum())}
            return {"rows": batch}

        order_N = getattr(rows, "order_N", None)  # of rows with two lengths
        is_whole = self.task.ties_rows
        return {"rows": Stream(rows.lengths_N, collate, batch_size, group_by_length, is_whole, order_N=order_N)}

    def prepare(self, model: nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode, its dropout too."""
        self.adaptation.train(model, progress)
        self._looks_inside = isinstance(model, MatchedStudent) and progress < INSIDE_SHARE

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """See the class. ``log`` holds the sums of each distance over the rows that have it."""
        batch = feed["rows"]
        logits = self.task.logits_of(model, batch)
        soft_B = self.task.soft_losses(logits, batch.extras[_LOGITS], batch, self.temperature)
        hard_B = self.task.hard_losses(logits, batch)
        both_B = self.hard_weight * hard_B + (1 - self.hard_weight) * soft_B
        total = torch.where(self.task.is_labelled(batch), both_B, soft_B).sum()
        parts = {"hard": float(hard_B.detach().sum()), "soft": float(soft_B.detach().sum())}
        if self._looks_inside and isinstance(model, MatchedStudent):
            for name, apart_B in self._inside(model, batch).items():
                inside = (apart_B * self.task.item_weights(batch)).sum()
                total, parts[name] = total + inside, float(inside.detach())
        return Loss.of(total, parts)

    @staticmethod
    def _inside(model: MatchedStudent, batch: Batch) -> dict[str, torch.Tensor]:
        states = model.listener.take()
        assert states is not None, "every layer that is listened to is heard once a forward pass"
        found = model.matching(states, batch.extras[_STATES], positions_of(batch))._asdict()
        return {name: apart_B for name, apart_B in found.items() if apart_B is not None}
