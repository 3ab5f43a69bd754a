"""A finished run's model and task, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import AnsweringSettings
from pretune.data.text.scrub import STEPS
from pretune.errors import CorruptFile, RunError, UsageError
from pretune.files import read_json
from pretune.runfolder import RunFolder
from pretune.schema import flag, listed, mapped, maybe, record, require, text, whole
from pretune.sums import Sums

if TYPE_CHECKING:
    import torch

    from pretune.backbones.load import Backbone
    from pretune.engine.devices import Device
    from pretune.tasks.base import Task

_ABOUT = record(
    {
        "task": text(),
        "engine?": text("torch", "onnxruntime", "openvino", "torch.export"),
        "graph?": record({"inputs": listed(record({"name": text()}))}),
        "rows_alone?": flag,
        "reading?": record(
            {
                **{f"{name}?": mapped(text()) for name in ("columns", "found", "how")},
                "width?": whole(0),
                "clean?": listed(text(*STEPS)),
                "key?": text(),
                "tagger?": record({"fingerprint?": text(), "types?": listed(text())}),
                "pairs?": maybe(flag),
            }
        ),
    }
)
"""What every ``pretune.json`` holds; each task has more (:meth:`pretune.tasks.base.Task.saved_fields`)."""

__all__ = [
    "Proven",
    "TrainedModel",
    "about_in",
    "about_of",
    "graph_device",
    "load_plain",
    "load_proven",
    "open_model",
    "refuse_joint",
    "refuse_lacking",
]


@dataclass(frozen=True)
class Proven:
    """A trained model with its task and device."""

    task: Task
    model: torch.nn.Module
    device: Device


@dataclass(frozen=True)
class TrainedModel:
    """What a model folder holds, as it lies there: not arranged for this machine, nor moved from the processor."""

    folder: Path
    task: Task
    backbone: Backbone
    model: torch.nn.Module


def load_proven(run: RunFolder, settings: AnsweringSettings) -> Proven:
    """Load ``run/model``; what ``settings`` ask of its answers goes before what it was fine-tuned with.

    Raises :class:`RunError` when the run has no task, or none yet, and :class:`pretune.errors.UsageError` for a setting that
    its task, or the engine of its model, does not read.
    """
    from pretune.backbones.cpu.fast import make_fast
    from pretune.backbones.linear import is_linear
    from pretune.engine.devices import choose_device

    engine = _labelled(run)["engine"]
    if engine != "torch":
        return _load_graph(run, settings, engine)
    task, model = load_plain(run, settings)
    exact = settings.precision == "auto" and is_linear(model.config)
    device = choose_device(settings.device, precision="fp32" if exact else settings.precision, threads=settings.threads)
    if device.device.type == "cpu":
        make_fast(model)
    return Proven(task, model.to(device.device).eval(), device)


def load_plain(run: RunFolder, settings: AnsweringSettings) -> tuple[Task, torch.nn.Module]:
    """Task and torch model as they lie in ``run/model``: on the processor, not arranged for it. Raises as :func:`load_proven`."""
    found = open_model(run.model_dir, **_asked(settings, _labelled(run)["task"]))
    return found.task, found.model


def open_model(folder: Path | str, **changes: Any) -> TrainedModel:
    """The torch model of a folder (or run folder), answering, with the task that its ``pretune.json`` tells of; ``changes`` go
    before that. What transformers' own classes cannot say is loaded too: parts that were pruned, poolings.

    Raises :class:`RunError` where weights are missing.
    """
    from pretune.backbones.load import load_backbone
    from pretune.tasks import task_restored

    folder = Path(folder)
    folder = folder / "model" if (folder / "run.json").exists() else folder
    about = {**about_in(folder), **changes}
    backbone = load_backbone(str(folder))
    task = task_restored(about, backbone)
    model, report = task.build(backbone, seed=0)
    if report.initialised:
        raise RunError(
            f"{folder} lacks the weights {', '.join(report.initialised[:5])}",
            "the folder was changed after training: train again",
        )
    return TrainedModel(folder, task, backbone, model.eval())


def _load_graph(run: RunFolder, settings: AnsweringSettings, engine: str) -> Proven:
    """A model that another engine than torch runs, on the processor."""
    from pretune.backbones.graph_parts import parts_of
    from pretune.backbones.load import load_backbone
    from pretune.export.engines import load_engine
    from pretune.export.graphs.limits import check_graph
    from pretune.export.onnx_model import GRAPH_FILE
    from pretune.export.openvino_model import IR_FILE
    from pretune.tasks import task_restored

    if settings.precision == "bf16":
        raise UsageError(
            f"--precision bf16 does not fit {run.path}: its numbers are those of its graph ({engine})",
            "leave --precision out",
        )
    about = _labelled(run)
    asked = _asked(settings, about["task"])
    task = task_restored({**about, **asked}, load_backbone(str(run.model_dir), weights=False))
    for place in (*parts_of(run.model_dir / GRAPH_FILE).values(), run.model_dir / IR_FILE):
        check_graph(place)
    device = graph_device(settings.threads)
    model = load_engine(engine, run.model_dir, threads=device.threads)
    answers = task.num_outputs
    if model.width not in (None, answers):
        raise CorruptFile(
            f"{run.model_dir / 'pretune.json'} names {answers} outputs (labels, letters), the graph gives {model.width}",
            "the folder holds files of two runs: copy it again, or export the run again",
        )
    return Proven(task, model.eval(), device)


def graph_device(threads: int | None) -> Device:
    """Where other engines than torch run here: the processor, in fp32."""
    from pretune.engine.devices import choose_device

    return choose_device("cpu", precision="fp32", threads=threads)


def _asked(settings: AnsweringSettings, task: str) -> dict[str, Any]:
    """What ``settings`` ask of the answers. Raises :class:`pretune.errors.UsageError` for what the task does not read."""
    from pretune.tasks import check_settings, task_named

    kind = task_named(task)
    check_settings(settings, kind)
    return {name: value for name, value in settings.to_dict().items() if name in kind.reads and value is not None}


def about_of(run: RunFolder) -> dict[str, Any]:
    """``pretune.json`` of a run's model; its ``engine`` is ``torch`` where none is named. Raises :class:`RunError` without a model."""
    path = run.model_dir / "pretune.json"
    if not path.exists():
        refuse_joint(run)
        command = run.record.get("command", "pretune finetune ...")
        if run.record.get("status") == "finished":
            raise RunError(
                f"{run.path} has no model: {path} was moved or deleted",
                f"bring it back, or make the run again: {command} --overwrite",
            )
        raise RunError(
            f"{run.path} has no model yet (its status is {run.record.get('status')})", f"finish it first: {command}"
        )
    return {"engine": "torch", **about_in(run.model_dir)}


def refuse_joint(run: RunFolder) -> None:
    """Raise :class:`RunError` for a run of several tasks (`pretune multitask`), naming the run of each."""
    if tasks := run.record.get("tasks"):
        raise RunError(
            f"{run.path} is several tasks on one trunk, each of which is a run of its own",
            f"name one: {', '.join(str(run.path / name) for name in tasks)}",
        )


def refuse_lacking(run: RunFolder, verb: str) -> None:
    """Raise :class:`pretune.errors.UsageError` where the task of a run says why ``verb`` cannot take it (its ``lacks``)."""
    from pretune.tasks import saved_task

    kind = saved_task(about_of(run))
    if kind is not None and (why := kind.lacks.get(verb)):
        raise UsageError(
            f"pretune {verb} does not take {run.path}: {why}", "pretune list --tasks shows what each task goes with"
        )


def about_in(folder: Path) -> dict[str, Any]:
    """``pretune.json`` of a model's folder. Raises :class:`pretune.errors.CorruptFile` where it is not what was written."""
    from pretune.tasks import saved_task

    sums, path = Sums(folder), folder / "pretune.json"
    sums.check([path.name])
    about = require(read_json(path), _ABOUT, path)
    if (task := saved_task(about)) is not None:
        require(about, task.saved_fields(), path)
    sums.miss(about)
    return about


def _labelled(run: RunFolder) -> dict[str, Any]:
    """:func:`about_of` a run that has a task. Raises :class:`RunError` for another."""
    from pretune.tasks import TASKS

    about = about_of(run)
    if about["task"] not in {task.name for task in TASKS}:
        raise RunError(
            f"{run.path} is a run of {about['task']}, which gives no labels",
            f"fine-tune it first: pretune finetune {run.path} --data DATA",
        )
    return about
