"""Do an exported model and the model it was made from say the same of the same rows?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pretune.engine.batching import cut_by_budget
from pretune.tasks.base import Task
from pretune.types import Encoded, Prediction, in_double

__all__ = ["Parity", "chosen_rows", "measure_parity", "row_by_row"]

_MOST_COST = 65_536
_ALONE = 16
_BUDGET = 4096
_MOST_NUMBERS = 1 << 25
"""Of what is said of the tokens of a batch: a quarter of a gigabyte."""


@dataclass(frozen=True, slots=True)
class Parity:
    """``rows`` were compared, ``alone`` of them also by themselves (lengths from the shortest to the longest);
    ``largest`` is the largest difference of an output (:meth:`pretune.tasks.base.Task.difference`), ``same`` counts rows with the same answer.
    """

    rows: int
    alone: int
    largest: float
    same: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class _Repeating(nn.Module):
    """Keeps what a model says, to say it again after :meth:`again`: for two questions about one batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.said: list[Any] = []
        self.place = 0

    def again(self) -> None:
        """The next call repeats the first answer."""
        self.place = 0

    def forward(self, **inputs: torch.Tensor) -> Any:
        """What the model says of the batch."""
        if self.place == len(self.said):
            self.said.append(self.model(**inputs))
        self.place += 1
        return self.said[self.place - 1]


def chosen_rows(costs: Iterable[int], most_rows: int) -> int:
    """How many rows from the first are compared: at most ``most_rows``, fewer where they are long; two at least."""
    total = np.cumsum(np.fromiter(costs, dtype=np.int64))[:most_rows]
    return max(2, int((total <= _MOST_COST).sum()))


def row_by_row(task: Task, model: nn.Module, items: Iterable[Encoded]) -> list[Prediction]:
    """A prediction for each row, answered by itself (its windows together): in 8 bits with ranges found while it answers, the
    rows beside it change an answer.
    """
    found = []
    for _, together in itertools.groupby(items, key=lambda item: item.id):
        with torch.inference_mode():
            found += task.merge(task.predict(model, task.collate([*together])))
    return found


def measure_parity(
    task: Task, before: nn.Module, after: nn.Module, items: Sequence[Encoded], on_batch: Callable[[int], None]
) -> Parity:
    """Compare what both models say on the processor, in batches and one by one."""
    found: dict[bool, list[Prediction | None]] = {side: [None] * len(items) for side in (True, False)}
    lengths_N = np.array([item.cost for item in items])
    by_length = np.argsort(lengths_N, kind="stable")
    alone = by_length[np.unique(np.linspace(0, len(items) - 1, min(_ALONE, len(items))).astype(np.int64))]
    largest = 0.0
    budget = min(_BUDGET, max(1, _MOST_NUMBERS // max(1, task.num_outputs))) if task.by_tokens else _BUDGET
    for places in [*([place] for place in alone), *cut_by_budget(lengths_N, max_cost=budget, max_rows=2**31)]:
        batch = task.collate([items[int(place)] for place in places])
        said = {}
        for side, model in ((True, before), (False, after)):
            # What answers step by step is asked anew by each of them.
            repeating = model if task.by_steps else _Repeating(model)
            with torch.inference_mode():
                said[side] = in_double(task.outputs(repeating, batch))
                if isinstance(repeating, _Repeating):
                    repeating.again()
                predictions = task.predict(repeating, batch)
            for place, prediction in zip(places, predictions, strict=True):
                found[side][int(place)] = prediction
        difference = task.difference(said[True], said[False])
        largest = math.inf if math.isnan(difference) else max(largest, difference)
        on_batch(len(places))
    rows = {side: task.merge([one for one in held if one is not None]) for side, held in found.items()}
    same = sum(task.same_answer(task.record(a), task.record(b)) for a, b in zip(rows[True], rows[False], strict=True))
    return Parity(len(rows[True]), len(alone), largest, same)
