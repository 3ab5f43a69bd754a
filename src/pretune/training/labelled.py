"""What verbs share that learn from right answers: what "better" means on validation rows, and calibrated probabilities at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError, UsageError, did_you_mean
from pretune.interface.outcome import Say
from pretune.options import flag_of
from pretune.runfolder import RunFolder, is_run
from pretune.wording import counted

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows
    from pretune.types import Prediction

__all__ = [
    "ChoosingRows",
    "also_in_train",
    "as_begun",
    "cached_under",
    "calibrate",
    "choosing_rows",
    "encode_labelled",
    "goal_on_validation",
]


_SAMPLE_ROWS = 300


def cached_under(fingerprint: str, data: Mapping[str, Dataset], name: str) -> str:
    """The name that the encoded rows of a split are kept under. Verbs that read the same rows alike find each other's."""
    return f"{fingerprint}:{name}:{len(data[name])}"


def as_begun(data: Splits, run: RunFolder) -> Splits:
    """The rows, their classes in the order that the run began with, where it began before."""
    begun = run.record.get("model", {}).get("labels") if is_run(run.path) else None
    return data.replace(data, classes=begun) if begun else data


def encode_labelled(
    task: Task, data: Mapping[str, Dataset], fingerprint: str, cluster: Cluster
) -> dict[str, EncodedRows]:
    """The rows of ``train`` and ``validation`` as the task reads them; the first process encodes, the others find it done."""
    with cluster.first_before_others():
        return {
            name: task.encode_rows(data[name], fingerprint=cached_under(fingerprint, data, name))
            for name in ("train", "validation")
        }


@dataclass(frozen=True)
class ChoosingRows:
    """The validation rows that choose a model and fit its probabilities: right answers of all (N), and which of them have a vote
    (``votes_N`` bool). Rows that stand in train have none: what is known by heart says nothing.
    """

    truths: list[Any]
    votes_N: np.ndarray

    def of(self, predictions: Sequence[Prediction]) -> tuple[list[Prediction], list[Any]]:
        """The predictions that count, of all rows in their order, and their right answers."""
        pairs = [
            pair for pair, votes in zip(zip(predictions, self.truths, strict=True), self.votes_N, strict=True) if votes
        ]
        return [prediction for prediction, _ in pairs], [truth for _, truth in pairs]

    def facts(self) -> dict[str, int]:
        """What run.json says of them."""
        return {"rows": int(self.votes_N.sum()), "also_in_train": int((~self.votes_N).sum())}


def choosing_rows(task: Task, data: Mapping[str, Dataset], say: Say) -> ChoosingRows:
    """The validation rows of ``data``; those that also stand in ``train`` are left out, and that is said.

    Raises :class:`DataError` where no other is left.
    """
    leaked_N = also_in_train(data, "validation")
    if leaked_N.all():
        raise DataError(
            f"all {len(leaked_N)} validation rows also stand in train: none is left to choose the best model by",
            "drop them from train with --drop-leaks, or give other validation rows",
        )
    if leaked_N.any():
        say.warn(
            f"{int(leaked_N.sum())} of {len(leaked_N)} validation rows also stand in train: they take no part in choosing the best "
            "model and in fitting its probabilities (--drop-leaks drops them from train)"
        )
    return ChoosingRows(task.truths(data["validation"]), ~leaked_N)


def also_in_train(data: Mapping[str, Dataset], split: str) -> np.ndarray:
    """Which rows of a split stand in ``train`` too, by content: bool (N,)."""
    import numpy as np

    from pretune.data.split import content_keys
    from pretune.evaluation.leaks import overlap

    return overlap(np.unique(content_keys(data["train"])), content_keys(data[split]))


def goal_on_validation(
    task: Task,
    metric: str | None,
    choosing: ChoosingRows,
    predict: Callable[[Callable[[int], None]], Sequence[Prediction]],
    watch: Callable[[Callable[[int], None]], Mapping[str, float]] | None = None,
    *,
    costs_N: np.ndarray | None = None,
) -> dict[str, Any]:
    """What :func:`pretune.training.setup.make_learning` is told of the goal: the score, whether more is better, the finer score
    that decides between equal ones, and how they are computed. ``predict`` gives the present model's predictions of the validation rows, ``watch`` the cheap score that the metric names for while it learns: it
    decides where no ``metric`` is asked for; ``costs_N`` is what the rows cost. Raises :class:`UsageError` for a score
    that the task does not have.
    """
    from pretune.tasks.predicting import scores_of

    specs = {**task.metric.specs, **task.metric.watch}
    cheap = next(iter(task.metric.watch), None) if watch is not None else None
    metric = metric or cheap or task.metric.primary
    if metric not in specs:
        raise UsageError(f"--metric is {metric!r}", did_you_mean(metric, specs))
    if metric == cheap:
        return {"metric": metric, "rising": specs[metric].rising, "evaluate": watch, "costs_N": costs_N}
    finer = task.metric.tie_breaker
    return {
        "metric": metric,
        "rising": specs[metric].rising,
        "tie_breaker": None if finer in (None, metric) else (finer, specs[finer].rising),
        "evaluate": lambda on_batch: scores_of(task, *choosing.of(predict(on_batch))),
        "costs_N": costs_N,
    }


def calibrate(
    task: Task, model: torch.nn.Module, rows: EncodedRows, choosing: ChoosingRows, device: Device, say: Say
) -> None:
    """Fit on validation rows what calibrates probabilities; what is wrong with the answers as a whole is said.

    Where answers are costly, some rows stand for all, and what was not computed while learning is said of them.
    """
    import numpy as np

    from pretune.metrics.base import values_of
    from pretune.tasks.predicting import predict_items, predict_rows

    if task.metric.watch:
        votes = np.flatnonzero(choosing.votes_N)
        places = votes[np.linspace(0, len(votes) - 1, min(_SAMPLE_ROWS, len(votes))).astype(int)]
        predictions = predict_items(task, model, [rows[int(place)] for place in places], device)
        records = [task.record(p, choosing.truths[int(i)]) for p, i in zip(predictions, places, strict=True)]
        found, main = values_of(task.metric.measure(records)), task.metric.primary
        how = ", ".join(f"{flag_of(name)} {value}" for name, value in task.answering().items())
        say.note(f"{counted(len(records), 'validation row')}: {main} {found[main]:.4g}{f' ({how})' if how else ''}")
        for warning in task.warnings(records):
            say.warn(warning)
        return
    predictions, truths = choosing.of(predict_rows(task, model, rows, device))
    records = [task.record(p, truth) for p, truth in zip(predictions, truths, strict=True)]
    for warning in task.warnings(records):
        say.warn(warning)
    for note in task.calibrate(records):
        say.note(note)
