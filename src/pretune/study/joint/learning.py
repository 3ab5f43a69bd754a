"""A joint run's model, objective and goal: each task as ``pretune finetune`` would set it up, on one trunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, is_run
from pretune.study.joint.tasks import SIZE, UNCERTAINTY, JointTask, same_rows, shares_of, whole_data
from pretune.wording import counted

if TYPE_CHECKING:
    import torch

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.backbones.load import Backbone, LoadReport
    from pretune.backbones.states.shared_trunk import SharedTrunk
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.metrics.base import ScoreSpec
    from pretune.objectives.multitask import Multitask
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows
    from pretune.training.labelled import ChoosingRows
    from pretune.training.learning import Learning
    from pretune.training.settings import FinetuneSettings
    from pretune.training.setup import Setup

__all__ = ["MEAN", "JointLearning", "TaskPart", "build_joint", "normalised", "told_groups"]

MEAN = "mean_score"
"""The score that chooses the best epoch: the mean of the tasks' own."""


@dataclass
class TaskPart:
    """A task of a joint run, set up: its model (on a trunk of its own until they are joined), rows and goal."""

    of: JointTask
    task: Task
    model: torch.nn.Module
    report: LoadReport
    rows: Mapping[str, EncodedRows]
    choosing: ChoosingRows
    fingerprint: str
    pooling: dict[str, Any] | None
    goal: dict[str, Any]
    batch_size: int = 0

    @property
    def name(self) -> str:
        """What the person calls it."""
        return self.of.name

    @property
    def spec(self) -> ScoreSpec:
        """Of the score that it is chosen by."""
        found = self.task.metric.spec(self.goal["metric"])
        assert found is not None, "the goal's score is one of the metric's"
        return found

    def facts(self) -> dict[str, Any]:
        """What a run that goes on must find again."""
        return {
            "data_fingerprint": self.fingerprint,
            "labels": list(self.task.labels),
            "pooling": self.pooling,
            "batch_size": self.batch_size,
        }


@dataclass
class JointLearning:
    """All that a joint run learns with."""

    parts: list[TaskPart]
    backbone: Backbone
    model: SharedTrunk
    setup: Setup
    learning: Learning
    groups: list[list[str]] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)


def normalised(value: float, spec: ScoreSpec) -> float:
    """A score as a share of what can be had, so that scores of several tasks can be averaged: 1 is the best.

    Shares and correlations stay, points are hundredths, an error rate counts as its rest; of a likelihood it is the
    probability, of a distance ``1 / (1 + it)``.
    """
    if spec.unit == "points":
        value = value / 100
    if spec.rising:
        return value
    if spec.unit in ("share", "rate", "points"):
        return 1.0 - value
    if spec.unit in ("nats", "bits"):
        return (math.e if spec.unit == "nats" else 2.0) ** -value
    return 1.0 / (1.0 + value)


def build_joint(settings: Any, run: RunFolder, tasks: Sequence[JointTask], say: Say, cluster: Cluster) -> JointLearning:
    """Tasks, models on one trunk, objective, optimizer and loop. The task with most rows comes first: an epoch is a pass over it."""
    from pretune.backbones.states.shared_trunk import SharedTrunk
    from pretune.objectives.multitask import Multitask, TaskRows, rows_an_update
    from pretune.training.backbone import find_backbone, steady
    from pretune.training.setup import choose, make_learning

    device = choose(settings, run, cluster)
    with cluster.first_before_others():
        backbone = find_backbone(tasks[0].settings, whole_data(tasks))
    _refuse_linear(backbone)
    device = steady(device, backbone, settings)
    begun = run.record.get("tasks", {}) if is_run(run.path) else {}
    parts = [_part(one, run, backbone, device, say, cluster, begun.get(one.name, {})) for one in tasks]
    parts.sort(key=lambda part: -len(part.rows["train"]))
    sizes = {part.name: len(part.rows["train"]) for part in parts}
    largest = settings.batch_size or min(part.task.default_batch_size for part in parts)
    for part, rows in zip(parts, rows_an_update(sizes, largest, settings.temperature).values(), strict=True):
        part.batch_size = rows
    shares = shares_of(settings.weights, sizes if settings.weights == SIZE else dict.fromkeys(sizes, 0))
    groups = _groups(parts)
    trunk = SharedTrunk({part.name: part.model for part in parts}, weighs=settings.weights == UNCERTAINTY)

    def objective(adaptation: Adaptation) -> Multitask:
        streams = {part.name: TaskRows(part.task, part.rows["train"], part.batch_size) for part in parts}
        return Multitask(
            streams, adaptation, shares=shares, groups=groups, learns_weights=settings.weights == UNCERTAINTY
        )

    setup, learning = make_learning(
        settings, run, backbone, trunk, parts[0].report, device, cluster, say,
        objective=objective,
        streams=lambda one: one.streams(group_by_length=settings.group_by_length),
        goal=_joint_goal(parts),
        default_epochs=max(_epochs(part) for part in parts),
    )  # fmt: skip
    setup.fingerprint = "+".join(part.fingerprint for part in parts)
    return JointLearning(parts, backbone, trunk, setup, learning, groups, shares)


def _refuse_linear(backbone: Backbone) -> None:
    from pretune.backbones.linear import MODEL_TYPE

    if backbone.config.model_type == MODEL_TYPE:
        raise UsageError(
            f"{backbone.name} has no trunk that learns: its features are what they are",
            "take a neural network, such as scratch:...",
        )


def _part(
    one: JointTask, run: RunFolder, backbone: Backbone, device: Device, say: Say, cluster: Cluster, begun: Mapping[str, Any]
) -> TaskPart:  # fmt: skip
    """One task as ``pretune finetune`` would begin it, its labels and pooling as the run ``begun`` has them."""
    from pretune.runs.rows import data_fingerprint
    from pretune.tasks import check_settings, find_task, task_on
    from pretune.training.head_pooling import decide_pooling
    from pretune.training.labelled import choosing_rows, encode_labelled, goal_on_validation

    settings: FinetuneSettings = one.settings
    kind = task_on(find_task(one.data, settings.task), backbone)
    check_settings(settings, kind)
    data = one.data.replace(one.data, classes=begun["labels"]) if begun.get("labels") else one.data
    task = kind.start(data, backbone, settings)
    fingerprint = data_fingerprint(data)
    choosing = choosing_rows(task, data, say)
    rows = encode_labelled(task, data, fingerprint, cluster)
    pooling = begun.get("pooling")
    if pooling is not None:
        task.pooling = tuple(pooling["modes"])  # type: ignore[attr-defined]
    else:
        pooling = decide_pooling(task, settings.pooling, backbone, data, rows, device, say)
    model, report = task.build(backbone, seed=settings.seed)
    goal = _goal(task, model, rows["validation"], choosing, device, settings.metric, goal_on_validation)
    return TaskPart(one, task, model, report, rows, choosing, fingerprint, pooling, goal)


def _goal(
    task: Task, model: torch.nn.Module, rows: EncodedRows, choosing: ChoosingRows, device: Device, metric: str | None,
    goal_on_validation: Callable[..., dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    from pretune.tasks.predicting import predict_rows, watched_scores

    return goal_on_validation(
        task, metric, choosing,
        lambda on_batch: predict_rows(task, model, rows, device, on_batch=on_batch),
        lambda on_batch: watched_scores(task, model, rows, choosing.votes_N, device, on_batch),
    )  # fmt: skip


def _epochs(part: TaskPart) -> float:
    from pretune.training.pace import default_epochs

    return default_epochs(part.task, part.rows["train"].lengths_N, part.batch_size)


def _groups(parts: Sequence[TaskPart]) -> list[list[str]]:
    """The tasks by the rows that they learn from: those of equal rows, read alike, are drawn together."""
    import numpy as np

    groups: list[list[TaskPart]] = []
    for part in parts:
        ours = part.rows["train"]
        for group in groups:
            theirs = group[0].rows["train"]
            alike = len(ours) == len(theirs) and bool(np.array_equal(ours.lengths_N, theirs.lengths_N))
            if alike and same_rows(part.of.data["train"], group[0].of.data["train"]):
                group.append(part)
                break
        else:
            groups.append([part])
    return [[part.name for part in group] for group in groups]


def _joint_goal(parts: Sequence[TaskPart]) -> dict[str, Any]:
    """The mean of the tasks' normalised scores; where it is equal, the sum of their finer scores."""
    finer = {part.name: part.goal["tie_breaker"] for part in parts if part.goal.get("tie_breaker")}

    def evaluate(on_batch: Callable[[int], None]) -> dict[str, float]:
        found: dict[str, float] = {}
        values, ties = [], [0.0]
        for part in parts:
            scores = part.goal["evaluate"](on_batch)
            values.append(normalised(scores[part.goal["metric"]], part.spec))
            if part.name in finer:
                name, rising = finer[part.name]
                ties.append(scores[name] if rising else -scores[name])
            found |= {f"{part.name}.{name}": value for name, value in scores.items()}
        return {MEAN: sum(values) / len(values), "finer": sum(ties), **found}

    return {"metric": MEAN, "rising": True, "tie_breaker": ("finer", True) if finer else None, "evaluate": evaluate}


def told_groups(joint: JointLearning) -> str:
    """How the rows of an update are made up, in a sentence."""
    sizes = {part.name: part.batch_size for part in joint.parts}
    shown = [f"{counted(sizes[group[0]])} for {' and '.join(group)}" for group in joint.groups]
    together = any(len(group) > 1 for group in joint.groups)
    weights = ", ".join(f"{name} {share:.3g}" for name, share in joint.shares.items())
    return f"an update learns from {', '.join(shown)}{' (the same rows, read once)' if together else ''}; the losses weigh {weights}"
