"""A finished run's model and task, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretune.config import AnsweringSettings
from pretune.errors import RunError
from pretune.files import read_object
from pretune.runfolder import RunFolder

if TYPE_CHECKING:
    import torch

    from pretune.engine.devices import Device
    from pretune.tasks.base import Task

__all__ = ["Proven", "load_proven"]


@dataclass(frozen=True)
class Proven:
    """A trained model with its task and device."""

    task: Task
    model: torch.nn.Module
    device: Device


def load_proven(run: RunFolder, settings: AnsweringSettings) -> Proven:
    """Load ``run/model``; what ``settings`` ask of its answers goes before what it was fine-tuned with.

    Raises :class:`RunError` when the run has no task, or none yet, and :class:`pretune.errors.UsageError` for a setting that
    its task does not read.
    """
    from pretune.backbones.fast import make_fast
    from pretune.backbones.load import load_backbone
    from pretune.engine.devices import choose_device
    from pretune.tasks import TASKS, check_settings, task_named

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
    kind = task_named(about["task"])
    check_settings(settings, kind)
    asked = {name: value for name, value in settings.to_dict().items() if name in kind.reads and value is not None}
    backbone = load_backbone(str(run.model_dir))
    task = kind.restore({**about, **asked}, backbone)
    model, report = task.build(backbone, seed=0)
    if report.initialised:
        raise RunError(
            f"{run.model_dir} lacks the weights {', '.join(report.initialised[:5])}",
            "the folder was changed after training: train again",
        )
    device = choose_device(precision=settings.precision, threads=settings.threads)
    if device.device.type == "cpu":
        make_fast(model)
    return Proven(task, model.to(device.device).eval(), device)
