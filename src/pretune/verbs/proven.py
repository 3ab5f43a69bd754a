"""A finished run's model and task, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.errors import RunError
from pretune.files import read_object
from pretune.runfolder import RunFolder

if TYPE_CHECKING:
    import torch

    from pretune.engine.devices import Device
    from pretune.tasks.base import Task
    from pretune.types import Prediction

__all__ = ["Proven", "load_proven", "record_of", "tempered"]


@dataclass(frozen=True)
class Proven:
    """A trained model with its task, device and the temperature fitted on validation."""

    task: Task
    model: torch.nn.Module
    device: Device
    temperature: float


def load_proven(run: RunFolder, *, precision: str = "auto", threads: int | None = None) -> Proven:
    """Load ``run/model``. Raises :class:`RunError` when the run has no classifier, or none yet."""
    from pretune.backbones.fast import make_fast
    from pretune.backbones.load import load_backbone
    from pretune.engine.devices import choose_device
    from pretune.tasks import TASKS

    about_path = run.model_dir / "pretune.json"
    if not about_path.exists():
        status = run.record.get("status")
        raise RunError(
            f"{run.path} has no model yet (its status is {status})",
            f"finish it first: {run.record.get('command', 'pretune finetune ...')}",
        )
    about = read_object(about_path, "task")
    if about["task"] not in {task.name for task in TASKS}:
        raise RunError(
            f"{run.path} is a run of {about['task']}, which gives no labels",
            f"fine-tune it first: pretune finetune {run.path} --data DATA",
        )
    backbone = load_backbone(str(run.model_dir))
    task = next(task for task in TASKS if task.name == about["task"]).restore(about, backbone)
    model, report = task.build(backbone, seed=0)
    if report.initialised:
        raise RunError(
            f"{run.model_dir} lacks the weights {', '.join(report.initialised[:5])}",
            "the folder was changed after training: train again",
        )
    device = choose_device(precision=precision, threads=threads)
    if device.device.type == "cpu":
        make_fast(model)
    return Proven(task, model.to(device.device).eval(), device, float(about.get("temperature", 1.0)))


def record_of(labels: Sequence[str], prediction: Prediction, truth: str | None = None) -> dict[str, Any]:
    """A line of a predictions file."""
    record = {
        "id": prediction.id,
        "label": prediction.label,
        "probabilities": dict(zip(labels, prediction.probabilities_C, strict=True)),
    }
    return record if truth is None else {**record, "truth": truth}


def tempered(records: Sequence[Mapping[str, Any]], temperature: float) -> list[dict[str, Any]]:
    """The records with probabilities at ``temperature``; labels stay."""
    import numpy as np

    from pretune.evaluation.calibration import apply_temperature

    if not records:
        return []
    labels = list(records[0]["probabilities"])
    before_NC = np.array([[record["probabilities"][label] for label in labels] for record in records])
    after_NC = apply_temperature(before_NC, temperature)
    return [
        {**record, "probabilities": dict(zip(labels, row, strict=True))}
        for record, row in zip(records, after_NC.tolist(), strict=True)
    ]
