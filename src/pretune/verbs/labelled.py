"""What verbs share that learn from right answers: what "better" means on validation rows, and calibrated probabilities at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError, did_you_mean
from pretune.runfolder import RunFolder, is_run
from pretune.verbs.outcome import Say

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from pretune.data.splits import Splits
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.tasks.base import EncodedRows, Task
    from pretune.types import Prediction

__all__ = ["as_begun", "calibrate", "encode_labelled", "goal_on_validation", "kept_under"]


def kept_under(fingerprint: str, data: Mapping[str, Dataset], name: str) -> str:
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
            name: task.encode_rows(data[name], fingerprint=kept_under(fingerprint, data, name))
            for name in ("train", "validation")
        }


def goal_on_validation(
    task: Task,
    metric: str | None,
    truths: Sequence[Any],
    predict: Callable[[Callable[[int], None]], Sequence[Prediction]],
) -> dict[str, Any]:
    """What :func:`pretune.verbs.setup.make_learning` is told of the goal: the score, whether more is better, the finer score
    that decides between equal ones, and how they are computed. ``predict`` gives the present model's predictions of the validation rows. Raises :class:`UsageError` for a score
    that the task does not have.
    """
    from pretune.tasks.predicting import scores_of

    specs = task.metric_type.specs
    metric = metric or task.metric_type.primary
    if metric not in specs:
        raise UsageError(f"--metric is {metric!r}", did_you_mean(metric, specs))
    finer = task.metric_type.tie_breaker
    return {
        "metric": metric,
        "rising": specs[metric].rising,
        "tie_breaker": None if finer in (None, metric) else (finer, specs[finer].rising),
        "evaluate": lambda on_batch: scores_of(task, predict(on_batch), truths),
    }


def calibrate(
    task: Task, model: torch.nn.Module, rows: EncodedRows, truths: Sequence[Any], device: Device, say: Say
) -> None:
    """Fit on validation rows what calibrates probabilities; what is wrong with the answers as a whole is said."""
    from pretune.tasks.predicting import predict_rows

    predictions = predict_rows(task, model, rows, device)
    records = [task.record(p, truth) for p, truth in zip(predictions, truths, strict=True)]
    for warning in task.warnings(records):
        say.warn(warning)
    for note in task.calibrate(records):
        say.note(note)
