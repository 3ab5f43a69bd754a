"""What the verbs that learn set up alike: device, backbone, encoder, model, optimizer, loop; and how a run is closed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pretune.config import (
    AudioSettings,
    AugmentSettings,
    BackboneSettings,
    CleanSettings,
    DataSettings,
    ImageSettings,
    OutSettings,
    RunSettings,
    TextSettings,
    TrainSettings,
)
from pretune.errors import Interrupted, PretuneError, UsageError
from pretune.interface.outcome import Say
from pretune.newrun import create_run, default_out
from pretune.runfolder import RunFolder, is_run
from pretune.training.backbone import default_learning_rate
from pretune.training.goal import Goal
from pretune.training.learning import Learning
from pretune.training.pace import pace_of

if TYPE_CHECKING:
    import numpy as np
    import torch

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.backbones.adaptation.lora import LowRankSpec
    from pretune.backbones.load import Backbone, LoadReport
    from pretune.engine.batching import Feeds
    from pretune.engine.devices import Device
    from pretune.engine.parallel import Cluster
    from pretune.engine.plateau import Plateau
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import PartsPace
    from pretune.training.labelled import ChoosingRows
    from pretune.training.private import PrivatePlan

__all__ = [
    "LearnSettings",
    "Setup",
    "choose",
    "make_learning",
    "open_together",
]


@dataclass(frozen=True, kw_only=True)
class LearnSettings(
    BackboneSettings,
    TrainSettings,
    TextSettings,
    ImageSettings,
    AudioSettings,
    AugmentSettings,
    CleanSettings,
    DataSettings,
    RunSettings,
):
    """What every verb that learns is told."""


Out = TypeVar("Out", bound=OutSettings)


@dataclass
class Setup:
    """What was built for a run, for the verb that writes its record.

    ``encoded`` maps a split to the lengths of its encoded rows and what encoding lost; ``rows`` to the rows themselves.
    ``kept`` is the part of the model that is written, where it is not the whole.
    """

    backbone: Backbone
    report: LoadReport
    adaptation: Adaptation
    objective: Any
    learning_rate: float
    task: Task | None = None
    rows: dict[str, Any] = field(default_factory=dict)
    encoded: dict[str, tuple[np.ndarray, dict[str, Any]]] = field(default_factory=dict)
    choosing: ChoosingRows | None = None
    pooling: dict[str, Any] | None = None
    fingerprint: str = ""
    kept: torch.nn.Module | None = None
    private: PrivatePlan | None = None

    def learn_from(
        self, rows: Mapping[str, Any], fingerprint: str, *, task: Task | None = None, choosing: ChoosingRows | None = None,
        pooling: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Note the encoded rows of each split and what the data is known by; with a task the rows that choose, and of texts how
        their tokens are pooled (:func:`pretune.training.head_pooling.decide_pooling`).
        """
        self.pooling = pooling
        self.rows, self.fingerprint, self.task, self.choosing = dict(rows), fingerprint, task, choosing
        self.encoded = {name: (found.lengths_N, found.ledger) for name, found in rows.items()}


@contextlib.contextmanager
def open_together(
    settings: Out, cluster: Cluster, *, begun_from: str, named_after: str
) -> Iterator[tuple[Out, RunFolder, str]]:
    """The settings with ``out`` found, the run folder and its state: the first process opens and locks it, the others wait.

    ``begun_from`` is the backbone or run that the new run comes from, ``named_after`` what the folder is called after.
    """
    from pretune.engine.parallel import told_of_peers
    from pretune.runs.rows import parents_of

    out = settings.out or str(default_out(settings.verb, named_after))
    cluster.barrier()  # every process has found the free name before the first one takes it
    settings = dataclasses.replace(settings, out=out)
    place = Path(begun_from).resolve()
    if place.exists() and Path(out).resolve() in (place, *place.parents):
        raise UsageError(
            f"--out {out} is where {place.name} lies, which it begins from", "choose another folder with --out"
        )
    with told_of_peers():
        if cluster.is_first:
            parents = parents_of(begun_from)
            with create_run(settings, out, overwrite=settings.overwrite, parents=parents) as (run, state):
                cluster.barrier()
                with _failure_noted(run):
                    yield settings, run, state
        else:
            cluster.barrier()
            run = RunFolder(Path(out))
            yield settings, run, "finished" if run.record["status"] == "finished" else "resumed"


@contextlib.contextmanager
def _failure_noted(run: RunFolder) -> Iterator[None]:
    """run.json says why a run ended early, so that the report can."""
    try:
        yield
    except Interrupted:
        raise
    except PretuneError as error:
        with contextlib.suppress(PretuneError, OSError):
            run.update_record(status="failed", problem=error.problem)
        raise


def choose(settings: TrainSettings, run: RunFolder, cluster: Cluster) -> Device:
    """The device, alike in all processes; a resumed run keeps the number format and threads it began with."""
    from pretune.engine.devices import choose_device

    like = run.record.get("device") if is_run(run.path) else None
    device = choose_device(
        settings.device, precision=settings.precision, threads=settings.threads, like=like,
        keeps_memory=not getattr(settings, "shard", False),  # where memory is what is short
    )  # fmt: skip
    # Each process measures for itself: where one finds bf16 no faster, all take fp32.
    return dataclasses.replace(device, precision="fp32") if cluster.any(device.precision == "fp32") else device


def make_learning(
    settings: Any,
    run: RunFolder,
    backbone: Backbone,
    model: torch.nn.Module,
    report: LoadReport,
    device: Device,
    cluster: Cluster,
    say: Say,
    *,
    objective: Callable[[Adaptation], Any],
    streams: Callable[[Any], Any],
    goal: dict[str, Any],
    default_epochs: float,
    parts_pace: PartsPace | None = None,
    private: Callable[[Adaptation], PrivatePlan | None] = lambda _adaptation: None,
    feed: Callable[..., Feeds] | None = None,
) -> tuple[Setup, Learning]:
    """Put the pieces of a training run together. ``parts_pace`` is how fast the parts of the model learn, where its task says so;
    ``private`` is asked for a plan once the objective stands; ``feed`` makes :class:`Feeds` of streams that are not all there is."""
    from pretune.backbones.adaptation.adapt import plan_adaptation
    from pretune.engine.average import Average
    from pretune.engine.batching import Feeds
    from pretune.engine.fit import Budget
    from pretune.engine.optim import Optim
    from pretune.tasks.protocols import PartsPace
    from pretune.training.shared import refuse_streams, share_layers

    adapt = getattr(settings, "adapt", "full")
    _arrange(model, settings, device)
    shards = share_layers(model, settings, device)
    pace_of_parts = parts_pace or PartsPace()
    adaptation = plan_adaptation(
        model, adapt, weight_decay=settings.weight_decay, llrd_decay=getattr(settings, "llrd_decay", 0.9),
        trunk_scale=pace_of_parts.trunk_scale, trunk=pace_of_parts.trunk, resting=pace_of_parts.resting, fresh=report.initialised,
    )  # fmt: skip
    rate = _rate(settings, backbone, adaptation, pace_of_parts)
    learner = objective(adaptation)
    plan = private(adaptation)
    feeds = plan.feeds(streams(learner), settings) if plan else (feed or Feeds)(
        streams(learner), seed=settings.seed, max_tokens=settings.max_tokens,
        micro_batch_size=settings.micro_batch_size, rank=cluster.rank, world=cluster.world, in_step=shards is not None,
    )  # fmt: skip
    if shards is not None:
        refuse_streams(feeds)
    pace = pace_of(settings, updates_per_epoch=feeds.updates_per_epoch, default_epochs=default_epochs)
    optim = Optim(
        adaptation.groups, learning_rate=rate, schedule=settings.schedule, warmup=pace.warmup,
        clip=math.inf if plan else settings.clip,
    )  # fmt: skip
    budget = Budget(pace.total_steps, None if settings.minutes is None else settings.minutes * 60)
    learning = Learning(
        run=run, model=model, objective=learner, optim=optim, feeds=feeds,
        goal=Goal(patience=settings.early_stopping_patience, **goal), pace=pace, budget=budget,
        device=device, cluster=cluster, seed=settings.seed, flops_per_token=_flops_per_token(model), say=say,
        average=Average(model, settings.ema) if settings.ema else None, plateau=_plateau(settings),
        finds_rate=settings.find_learning_rate,
        rule=plan.rule(pace.total_steps) if plan else None, shards=shards,
    )  # fmt: skip
    return Setup(backbone, report, adaptation, learner, rate, private=plan), learning


def _arrange(model: torch.nn.Module, settings: Any, device: Device) -> None:
    """Make the model, in place, what learns: with low rank added, fast or by single rows, on its device."""
    from pretune.backbones.adaptation.adapt import LORA, adapt_low_rank
    from pretune.backbones.adaptation.by_row import make_mappable
    from pretune.backbones.adaptation.recompute import recompute_activations
    from pretune.backbones.cpu.fast import make_fast
    from pretune.training.private import maps_rows

    if getattr(settings, "adapt", "full") == LORA:
        adapt_low_rank(model, _low_rank(settings), seed=settings.seed)
    is_private = getattr(settings, "dp_epsilon", None) is not None
    if device.device.type == "cpu" and not maps_rows(settings):
        make_fast(model, dropout=not is_private)
    if is_private:
        make_mappable(model)
    if settings.activation_checkpointing:
        recompute_activations(model)
    model.to(device.device)


def _plateau(settings: TrainSettings) -> Plateau | None:
    from pretune.engine.plateau import Plateau

    if settings.schedule != "plateau":
        return None
    return Plateau(settings.plateau_patience, settings.plateau_factor)


def _low_rank(settings: Any) -> LowRankSpec:
    """What ``--adapt lora`` and its options ask for."""
    from pretune.backbones.adaptation.lora import ALL, LowRankSpec

    words = () if settings.lora_targets == ALL else settings.lora_targets.split(",")
    alpha = 2.0 * settings.lora_rank if settings.lora_alpha is None else settings.lora_alpha
    return LowRankSpec(settings.lora_rank, alpha, tuple(word.strip() for word in words))


def _rate(settings: Any, backbone: Backbone, adaptation: Adaptation, pace: PartsPace) -> float:
    """The peak learning rate: as asked, else as the task says, else by the backbone."""
    from pretune.training.private import private_head_rate

    adapt = adaptation.mode
    if settings.learning_rate is not None:
        return settings.learning_rate
    if adapt == "head" and getattr(settings, "dp_epsilon", None) is not None:
        return private_head_rate(adaptation)
    if adapt == "head" and pace.alone_rate is not None:
        return pace.alone_rate
    if pace.learning_rate is not None:
        return pace.learning_rate
    masked = settings.verb == "pretrain"
    return default_learning_rate(backbone, adapt, masked=masked) / pace.trunk_scale


def _flops_per_token(model: torch.nn.Module) -> float:
    """2 a weight forward and 4 backward for weights that learn (2 for those that low rank adapts, which the gradient passes), embeddings
    and attention's quadratic part left out (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
    import torch

    from pretune.backbones.adaptation.lora import LowRank

    passed = {
        id(held.original)
        for held in model.modules()
        if isinstance(held, torch.nn.utils.parametrize.ParametrizationList) and isinstance(held[0], LowRank)
    }
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in tables]
    return float(sum(p.numel() * (6 if p.requires_grad else 4 if id(p) in passed else 2) for p in matrices))
