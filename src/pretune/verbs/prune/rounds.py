"""The rounds of ``pretune prune``: each takes parts out and learns to do without them, in a run folder of its own.

::

    RUN/rounds/vocabulary/   model/ with fewer tokens, where they were asked for
    RUN/rounds/cut-1/        model/ as it was cut, before it learns
    RUN/rounds/round-1/      the run that recovers: log, checkpoints, model/
    ...

What is there is never made again, so that a killed command goes on where it was. All of it goes when RUN/model is there.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder
from pretune.runs.proven import TrainedModel, open_model

if TYPE_CHECKING:
    import torch

    from pretune.compress.pruning.plan import Shares
    from pretune.data.splits import Splits
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.runs.reading import ReadSettings
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows
    from pretune.tasks.teacher import Teaching
    from pretune.training.labelled import ChoosingRows
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup
    from pretune.verbs.prune.story import PruneSettings

__all__ = [
    "Pruning",
    "fewer_tokens",
    "keep_of",
    "one_cut",
    "one_round",
    "recovery",
    "rounds_dir",
]


_SETTLING_ROWS = 1024
"""Rows from which batch norms get their statistics after a cut."""


@dataclass(frozen=True)
class Pruning:
    """What all rounds share. ``first`` is the model that pruning begins with, and the teacher of every round; ``read`` says
    how its run learned.
    """

    settings: PruneSettings
    first: TrainedModel
    read: ReadSettings
    data: Splits
    rows: dict[str, EncodedRows]
    choosing: ChoosingRows
    fingerprint: str
    device: Device
    cluster: Cluster
    say: Say

    def open(self, folder: Path) -> TrainedModel:
        """The model of a round, its task weighing rows as the pruned run's did."""
        stage = open_model(folder)
        stage.task.with_training_options(self.data, self.read)
        return stage

    @property
    def batch_size(self) -> int:
        """Rows of an update."""
        return self.settings.batch_size or self.first.task.default_batch_size


def rounds_dir(run: RunFolder) -> Path:
    """Where the rounds of a run lie until it is finished."""
    return run.path / "rounds"


def fewer_tokens(run: RunFolder, stage: TrainedModel, data: Splits) -> Path:
    """The folder of the stage's model without the tokens that the run's rows to learn from never use."""
    from pretune.compress.pruning.vocabulary import keep_embeddings, reduced_tokenizer
    from pretune.training.record import write_model

    place = RunFolder(rounds_dir(run) / "vocabulary")
    if not place.model_dir.exists():
        place.path.mkdir(parents=True, exist_ok=True)
        reduced, kept = reduced_tokenizer(stage.backbone.tokenizer, lambda: _texts(data))
        keep_embeddings(stage.model, kept)
        write_model(place, stage.model, reduced, stage.task.to_dict())
    return place.model_dir


def _texts(data: Splits) -> Any:
    for rows in (data[name] for name in ("train", "unlabelled") if name in data):
        for column in ("text", "text_pair"):
            if column in rows.column_names:
                yield from rows[column]


def keep_of(settings: PruneSettings, number: int) -> Shares:
    """The shares that stay after round ``number``, counted from 1: each round takes out as many parts as any other."""
    from pretune.compress.pruning.plan import Shares

    done = number / settings.rounds
    heads = settings.ratio if settings.heads is None else settings.heads
    neurons = settings.ratio if settings.ffn is None else settings.ffn
    return Shares(1 - done * heads, 1 - done * neurons, 1 - done * settings.ratio)


def one_round(pruning: Pruning, run: RunFolder, number: int, stage_folder: Path) -> Path:
    """Cut the model of ``stage_folder`` and let it recover; the folder of the result. What was done before is not done again."""
    from pretune.training.setup import open_together

    settings, cluster = pruning.settings, pruning.cluster
    own = RunFolder(rounds_dir(run) / f"round-{number}")
    is_done = (own.path / "run.json").exists() and own.record["status"] == "finished"
    if is_done:
        return own.model_dir
    cut = one_cut(pruning, run, number, stage_folder)
    if not settings.recover:
        return cut
    shared = share_of_budget(settings, number, out=str(own.path))
    opened = open_together(shared, cluster, begun_from=settings.run, named_after=run.path.name)
    with opened as (shared, own, _):
        _recover(pruning, shared, own, cut, number)
    if cluster.is_first:
        shutil.rmtree(cut.parent)
    cluster.barrier()
    return own.model_dir


def one_cut(pruning: Pruning, run: RunFolder, number: int, stage_folder: Path) -> Path:
    """The folder of the model that is left of ``stage_folder`` in a round, before it learns."""
    cut = RunFolder(rounds_dir(run) / f"cut-{number}")
    if pruning.cluster.is_first and not cut.model_dir.exists():
        _write_cut(pruning, run, cut, number, stage_folder)
    pruning.cluster.barrier()
    return cut.model_dir


def share_of_budget(settings: PruneSettings, number: int, *, out: str) -> PruneSettings:
    """The settings of a round: the last one learns for half of what there is, all before it for the other half."""
    share = _share(settings, number)
    return dataclasses.replace(
        settings,
        out=out,
        overwrite=False,
        epochs=None if settings.epochs is None else max(0.001, settings.epochs * share),
        max_steps=None if settings.max_steps is None else max(1, round(settings.max_steps * share)),
        minutes=None if settings.minutes is None else max(0.01, settings.minutes * share),
    )


def _share(settings: PruneSettings, number: int) -> float:
    if settings.rounds == 1:
        return 1.0
    return 0.5 if number == settings.rounds else 0.5 / (settings.rounds - 1)


def _write_cut(pruning: Pruning, run: RunFolder, cut: RunFolder, number: int, stage_folder: Path) -> None:
    """Score the parts of what there is, take out those that matter least, and write the model that is left."""
    from pretune.backbones.parts.units import units_of
    from pretune.compress.pruning.importance import part_scores
    from pretune.compress.pruning.norms import settle_norms
    from pretune.compress.pruning.plan import apply_plan, choose_parts, plan_of
    from pretune.training.record import write_model

    first, settings, stage = pruning.first, pruning.settings, pruning.open(stage_folder)
    units = units_of(stage.model)
    counts = {unit.name: unit.count for unit in units_of(first.model)}
    plan = plan_of(stage.model, first.backbone.config, keep_of(settings, number), first_counts=counts)
    chosen = _drawn(pruning, number)
    bar = pruning.say.progress(min(settings.score_rows, len(chosen)), f"round {number}: what each part is worth")
    stage.model.to(pruning.device.device)
    rows, device = pruning.rows["train"], pruning.device
    scores = part_scores(stage.task, stage.model, rows, chosen[: settings.score_rows], device, on_batch=bar.update)
    bar.close()
    kept = choose_parts(units, plan, scores)
    apply_plan(stage.model, plan, kept)
    settle_norms(stage.task, stage.model, rows, chosen[:_SETTLING_ROWS], device)
    if not settings.recover:
        _calibrate(pruning, stage.task, stage.model)
    left: dict[str, list[int]] = {}
    for unit in units:
        before, after = left.get(unit.kind, [0, 0])
        left[unit.kind] = [before + unit.count, after + len(kept[unit.name])]
    told = ", ".join(f"{after} of {before} {kind}" for kind, (before, after) in left.items())
    pruning.say.note(f"round {number} of {settings.rounds}: {told} stay")
    run.log({"kind": "cut", "round": number, "step": 0, "left": left})
    cut.path.mkdir(parents=True, exist_ok=True)
    write_model(cut, stage.model.to("cpu"), stage.task.processor_to_save(stage.backbone), stage.task.to_dict())
    if stage_folder.is_relative_to(rounds_dir(run)) and stage_folder != first.folder:
        shutil.rmtree(stage_folder)


def _calibrate(pruning: Pruning, task: Task, model: torch.nn.Module) -> None:
    from pretune.training.labelled import calibrate

    calibrate(task, model, pruning.rows["validation"], pruning.choosing, pruning.device, pruning.say)


def _drawn(pruning: Pruning, number: int) -> list[int]:
    """The training items in an order of chance, another one each round."""
    import numpy as np

    rng = np.random.default_rng([pruning.settings.seed, number])
    return rng.permutation(len(pruning.rows["train"])).tolist()


def _recover(pruning: Pruning, settings: PruneSettings, own: RunFolder, cut: Path, number: int) -> None:
    """Learn from the teacher and the right answers, from the round's last checkpoint to its end."""
    from pretune.training.record import finish_model, write_model

    began = time.monotonic()
    setup, learning = recovery(pruning, settings, own, cut, share=_share(settings, number))
    task, cluster = setup.task, pruning.cluster
    assert task is not None, "a run that is pruned has a task"
    if cluster.is_first:
        own.update_record(
            status="running",
            problem=None,
            device=pruning.device.to_dict(),
            training={"learning_rate": setup.learning_rate, "total_steps": learning.pace.total_steps},
        )
    for note in learning.resume():
        pruning.say.warn(note)
    learning.go()
    if cluster.is_first:
        _calibrate(pruning, task, learning.model)
        write_model(own, learning.model, task.processor_to_save(setup.backbone), task.to_dict())
        result = {"metric": learning.goal.metric, **learning.best}
        finish_model(own, learning, seconds=time.monotonic() - began, result=result)
    cluster.barrier()


def recovery(
    pruning: Pruning, settings: PruneSettings, own: RunFolder, cut: Path, *, share: float
) -> tuple[Setup, Learning]:
    """The learning of one round: the model of ``cut`` is taught by the one that pruning began with, on the training rows."""
    from pretune.backbones.load import LoadReport
    from pretune.compress.pruning.norms import follow_closely
    from pretune.objectives.distilling.distil import Distil
    from pretune.tasks.predicting import predict_rows
    from pretune.training.labelled import goal_on_validation
    from pretune.training.pace import default_epochs
    from pretune.training.setup import make_learning

    stage, rows = pruning.open(cut), pruning.rows
    task, model = stage.task, stage.model
    follow_closely(model)
    teaching = _teaching(pruning)

    goal = goal_on_validation(
        task, None, pruning.choosing,
        lambda on_batch: predict_rows(task, model, rows["validation"], pruning.device, on_batch=on_batch),
        costs_N=rows["validation"].lengths_N,
    )  # fmt: skip
    epochs = default_epochs(task, rows["train"].lengths_N, pruning.batch_size)
    setup, learning = make_learning(
        settings, own, stage.backbone, model, LoadReport(), pruning.device, pruning.cluster, pruning.say,
        objective=lambda adaptation: Distil(task, adaptation, teaching),
        streams=lambda objective: objective.streams(rows["train"], batch_size=pruning.batch_size, group_by_length=settings.group_by_length),
        goal=goal,
        default_epochs=epochs * share,
    )  # fmt: skip
    setup.task = task
    return setup, learning


def _teaching(pruning: Pruning) -> Teaching:
    """What the first model says of the rows: kept where they stay as they are, said anew where they are varied."""
    from pretune.backbones.cpu.fast import make_fast
    from pretune.tasks.teacher import CachedTeaching, LiveTeaching, Teacher, cache_teaching

    first, rows, device = pruning.first, pruning.rows["train"], pruning.device
    model = make_fast(first.model) if device.device.type == "cpu" else first.model
    teacher = Teacher(first.task, model.to(device.device).eval(), device)
    if first.task.varies_rows:
        return LiveTeaching(teacher)
    bar = pruning.say.progress(len(rows), "asking the teacher")
    with pruning.cluster.first_before_others():
        kept = cache_teaching(
            teacher, rows, rows, is_alike=True, fingerprint=f"{pruning.fingerprint}:train", on_batch=bar.update
        )
    bar.close()
    return LiveTeaching(teacher) if kept is None else CachedTeaching([kept])
