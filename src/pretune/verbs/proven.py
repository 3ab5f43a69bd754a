"""A finished run's model and task, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pretune.config import AnsweringSettings
from pretune.errors import RunError, UsageError
from pretune.files import read_object
from pretune.runfolder import RunFolder

if TYPE_CHECKING:
    import torch

    from pretune.backbones.load import Backbone
    from pretune.engine.devices import Device
    from pretune.tasks.base import Task

__all__ = ["Proven", "load_plain", "load_proven"]


@dataclass(frozen=True)
class Proven:
    """A trained model with its task and device."""

    task: Task
    model: torch.nn.Module
    device: Device


def load_proven(run: RunFolder, settings: AnsweringSettings) -> Proven:
    """Load ``run/model``; what ``settings`` ask of its answers goes before what it was fine-tuned with.

    Raises :class:`RunError` when the run has no task, or none yet, and :class:`pretune.errors.UsageError` for a setting that
    its task, or the engine of its model, does not read.
    """
    from pretune.backbones.fast import make_fast
    from pretune.engine.devices import choose_device

    engine = _about(run).get("engine", "torch")
    if engine != "torch":
        return _load_graph(run, settings, engine)
    task, model = load_plain(run, settings)
    device = choose_device(precision=settings.precision, threads=settings.threads)
    if device.device.type == "cpu":
        make_fast(model)
    return Proven(task, model.to(device.device).eval(), device)


def load_plain(run: RunFolder, settings: AnsweringSettings) -> tuple[Task, torch.nn.Module]:
    """Task and torch model as they lie in ``run/model``: on the processor, not arranged for it. Raises as :func:`load_proven`."""
    task, backbone = _restored(run, settings)
    model, report = task.build(backbone, seed=0)
    if report.initialised:
        raise RunError(
            f"{run.model_dir} lacks the weights {', '.join(report.initialised[:5])}",
            "the folder was changed after training: train again",
        )
    return task, model.eval()


def _load_graph(run: RunFolder, settings: AnsweringSettings, engine: str) -> Proven:
    """A model that another engine than torch runs, on the processor."""
    import torch

    from pretune.engine.devices import choose_device
    from pretune.export.engines import load_engine

    if settings.precision == "bf16":
        raise UsageError(
            f"--precision bf16 does not fit {run.path}: its numbers are those of its graph ({engine})",
            "leave --precision out",
        )
    task, _ = _restored(run, settings, weights=False)
    device = replace(choose_device(precision="fp32", threads=settings.threads), device=torch.device("cpu"))
    return Proven(task, load_engine(engine, run.model_dir, threads=device.threads).eval(), device)


def _restored(run: RunFolder, settings: AnsweringSettings, *, weights: bool = True) -> tuple[Task, Backbone]:
    from pretune.backbones.load import load_backbone
    from pretune.tasks import check_settings, task_named

    about = _about(run)
    kind = task_named(about["task"])
    check_settings(settings, kind)
    asked = {name: value for name, value in settings.to_dict().items() if name in kind.reads and value is not None}
    backbone = load_backbone(str(run.model_dir), weights=weights)
    return kind.restore({**about, **asked}, backbone), backbone


def _about(run: RunFolder) -> dict[str, Any]:
    """``pretune.json`` of a run that has a task. Raises :class:`RunError` for another, or one that is not finished."""
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
    return about
