"""``finetune --adapt contrastive``: what few labels are learned by, and the head that is solved whenever the model is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError, ModelError
from pretune.training.linear_start import units_by_id

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.engine.devices import Device
    from pretune.objectives.contrastive_labels import ContrastiveLabels
    from pretune.tasks.base import EncodedRows, Task
    from pretune.training.learning import Learning

__all__ = ["contrastive", "pair_epochs", "solve_when_evaluated"]

_PAIRS_A_ROW, _MOST_PAIRS = 40, 1_500
"""The first is SetFit's (section 4.2: 20 of either kind); the second ends it in minutes where labels are some hundreds."""
_EVALUATIONS = 8


def pair_epochs(rows: int) -> float:
    """Passes where none are asked for."""
    return float(max(1, min(_PAIRS_A_ROW, _MOST_PAIRS // max(1, rows))))


def contrastive(
    task: Task, adaptation: Adaptation, model: torch.nn.Module, rows: EncodedRows, device: Device
) -> ContrastiveLabels:
    """The objective. Raises :class:`ModelError` where the answers do not come from a linear layer, :class:`DataError` for one class."""
    from pretune.objectives.contrastive_labels import ContrastiveLabels
    from pretune.tasks.classes.classification import Classification
    from pretune.tasks.linear.head import find_linear_head

    assert isinstance(task, Classification), "others are refused"
    head = find_linear_head(task, task, model, rows, device)
    if head is None:
        raise ModelError(f"the answers of {type(model).__name__} do not come from a linear layer", "use --adapt full")
    if len({rows[at].target for at in range(len(rows))} - {None}) < 2:
        raise DataError("the training rows are of one class: no pair is apart", "give rows of two classes at least")
    return ContrastiveLabels(task, adaptation, head.layer)


def solve_when_evaluated(learning: Learning, rows: EncodedRows, train: Dataset, *, every: str) -> None:
    """Let each evaluation begin with logistic regression on the features as they are then, the first before any update: so the run is
    never worse on validation than it is without learning. ``every`` is ``--eval-every``; where it was not given there are eight.
    """
    from pretune.config import TrainSettings
    from pretune.objectives.contrastive_labels import ContrastiveLabels
    from pretune.tasks.linear.head import LinearHead, place, solve

    objective, units = learning.objective, units_by_id(train)
    assert isinstance(objective, ContrastiveLabels), "what --adapt contrastive learns by"
    head = LinearHead(objective.task, objective.task, learning.model, objective.layer)
    evaluate = learning.goal.evaluate

    def solved(on_batch: Callable[[int], None]) -> Mapping[str, float]:
        fit = solve(head, rows, units, learning.device)
        place(head, fit)
        if not learning.step:
            learning.run.update_record(linear_model=fit.facts())
            learning.say.note(f"before learning, logistic regression on {fit.rows} rows: {fit.sentence()}")
        return evaluate(on_batch)

    learning.goal = dataclasses.replace(learning.goal, evaluate=solved)
    learning.begin = lambda: None
    if every == TrainSettings.__dataclass_fields__["eval_every"].default:
        pace: Any = learning.pace
        learning.pace = dataclasses.replace(pace, eval_every=max(pace.eval_every, -(-pace.total_steps // _EVALUATIONS)))
