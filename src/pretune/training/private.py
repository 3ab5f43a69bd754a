"""Private training as finetune does it: what is refused since it would break the guarantee, the plan of a run, and what the guarantee covers.

The guarantee is that of DP-SGD (:mod:`pretune.engine.private`) for the weights. What else of a run looks at more than one training row is
either refused here, or is no secret by assumption: how many rows there are and which classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.errors import ModelError, UsageError
from pretune.interface.outcome import Say
from pretune.modalities import Modality
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream
    from pretune.engine.parallel import Cluster
    from pretune.engine.private.gradients import PrivateGradients
    from pretune.engine.private.sampling import PoissonFeeds, Units
    from pretune.runfolder import RunFolder
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows, Learnable
    from pretune.training.learning import Learning
    from pretune.training.settings import FinetuneSettings

__all__ = [
    "PRIVATE_EPOCHS",
    "PrivatePlan",
    "as_private",
    "keep_guarantee",
    "maps_rows",
    "plan_private",
    "private_head_rate",
    "refuse_unprivate",
    "with_canaries",
]

_NOT_PRIVATE: Mapping[str, str] = {
    "class_weights": "counts the classes of the training rows",
    "seeds": "learns from the rows several times and keeps the best: each time gives more away",
    "folds": "learns from the rows once for each fold and once more: each time gives more away",
    "find_learning_rate": "looks at the loss of training rows without noise",
    "minutes": "leaves open how many updates there are, by which the noise is chosen",
    "clip": "is of whole updates; that of each row is --dp-clip",
    "activation_checkpointing": "does not go with gradients of single rows; these are taken in as small parts as memory asks for",
}
"""Settings that private training refuses, with why."""

_BY_ROWS = ("full", "head", "top:N", "gradual", "llrd", "lora")
"""The modes of ``--adapt`` whose loss is a sum over rows."""

_TRAINED_TOKENIZERS = ("auto", "wordpiece", "bpe")
_LEAST_BATCH, _BATCHES_A_PASS = 32, 16
PRIVATE_EPOCHS = 20.0
"""Passes over the training rows where none are asked for."""
_HEAD_RATE_TIMES_WIDTH, _MOST_HEAD_RATE = 6.4, 0.05

COVERS = (
    "the weights in model/, whatever else is known, for fixed settings: two training sets that differ in one {unit} more or less give "
    "almost the same weights"
)
ASSUMES = "that how many {units} there are, the classes and the backbone are no secret, and that the settings were not chosen by other looks at these rows"
LEAVES_OUT = (
    "validation and test rows, by which the best state and the temperature were chosen; the other files of the run folder (log.jsonl, "
    "data.json, train_keys.npy, predictions), and counts of rows and findings in the model card"
)


def refuse_unprivate(settings: FinetuneSettings, cluster: Cluster) -> None:
    """Raise :class:`UsageError` for what would break the guarantee, or has no meaning beside it, before anything is read."""
    from pretune.engine.private.accountant import import_accounting

    if settings.dp_epsilon is None:
        return
    import_accounting()
    for name, why in _NOT_PRIVATE.items():
        settings.refuse_given((name,), f"does not go with --dp-epsilon: it {why}")
    if settings.adapt == "linear" or settings.backbone.startswith("linear:"):
        raise UsageError(
            "a linear model that is solved (--adapt linear, linear:...) has no updates that noise could go into",
            "use --adapt head, which learns the same layer by private updates",
        )
    if settings.adapt not in _BY_ROWS and not settings.adapt.startswith("top:"):
        raise UsageError(
            f"--adapt {settings.adapt} learns from several rows at once, and --dp-epsilon bounds what each row does by itself",
            f"use --adapt head, or one of {', '.join(_BY_ROWS)}",
        )
    _refuse_counted(settings)
    if cluster.world > 1:
        raise UsageError(
            f"--dp-epsilon learns in one process, and this is one of {cluster.world}", "start it without torchrun"
        )


def _refuse_counted(settings: FinetuneSettings) -> None:
    """Raise :class:`UsageError` for what a fresh backbone would take from the training rows by itself."""
    from pretune.backbones.presets.named import SCRATCH, preset_modality

    if not settings.backbone.startswith(SCRATCH):
        return
    option, given, what, advice = {
        Modality.TEXT: (
            "--tokenizer",
            settings.tokenizer not in _TRAINED_TOKENIZERS,
            "vocabulary",
            "a folder that holds one",
        ),
        Modality.IMAGE: ("--image-size", settings.image_size is not None, "size of pictures", "a side in pixels"),
        Modality.AUDIO: ("--sampling-rate", settings.sampling_rate is not None, "sampling rate", "8000 or 16000"),
    }[preset_modality(settings.backbone.removeprefix(SCRATCH))]
    if not given:
        raise UsageError(
            f"--dp-epsilon lets nothing be taken from the training rows but by private updates, and {settings.backbone} takes its {what} from them",
            f"give {option} ({advice}), or begin from a pre-trained backbone",
        )


def as_private(settings: FinetuneSettings) -> FinetuneSettings:
    """The settings of private training, where it is asked for: single rows have gradients in fp32."""
    if settings.dp_epsilon is None or settings.precision != "auto":
        return settings
    return dataclasses.replace(settings, precision="fp32")


def private_head_rate(adaptation: Adaptation) -> float:
    """Learning rate of a head, which begins at random weights and gets few, large updates: 0.05 for 128 features and less as there are more, since
    so many weights move a logit at once (docs/decisions.md, D250).
    """
    weights = [
        weight for part in adaptation.parts if part.depth == 0 for _, weight in part.parameters if weight.ndim > 1
    ]
    widest = max((weight[0].numel() for weight in weights), default=1)
    return min(_MOST_HEAD_RATE, _HEAD_RATE_TIMES_WIDTH / widest)


def maps_rows(settings: Any) -> bool:
    """Are gradients of single rows taken through the trunk too? Layers arranged for whole batches do not go with that."""
    return getattr(settings, "dp_epsilon", None) is not None and not settings.rests


@dataclass
class PrivatePlan:
    """What private training needs from its rows on: the units, how many an update draws on average, delta, and after the length of the run is
    known the noise (times the clip norm).
    """

    units: Units
    unit: str
    expected: int
    epsilon: float
    delta: float
    clip: float
    learned: Learnable
    steps: int = 0
    noise: float = 0.0

    def feeds(self, streams: Mapping[str, Stream], settings: FinetuneSettings) -> PoissonFeeds:
        """Updates whose rows are drawn one by one."""
        from pretune.engine.private.sampling import PoissonFeeds

        return PoissonFeeds(
            streams, self.units, expected=self.expected, max_tokens=settings.max_tokens,
            micro_batch_size=settings.micro_batch_size or 2**31,
        )  # fmt: skip

    def rule(self, steps: int) -> PrivateGradients:
        """How gradients are made in a run of so many updates. Raises :class:`UsageError` where no noise is enough."""
        from pretune.engine.private.accountant import noise_for
        from pretune.engine.private.gradients import PrivateGradients

        self.steps, self.noise = steps, noise_for(self.epsilon, self.delta, rate=self.rate, steps=steps)
        row_loss: Any = getattr(self.learned, "plain_loss", None)
        assert row_loss is not None, "private training is of tasks with a plain loss"
        return PrivateGradients(row_loss, self.units, clip=self.clip, noise=self.noise, expected=self.expected)

    @property
    def rate(self) -> float:
        """The probability with which an update draws a unit."""
        return min(1.0, self.expected / len(self.units))

    def facts(self, steps: int | None = None) -> dict[str, Any]:
        """The guarantee after ``steps`` updates (planned ones where None): what run.json keeps. Raises
        :class:`~pretune.errors.CheckFailed` where two accountants disagree.
        """
        from pretune.engine.private.accountant import Mechanism, agreed_epsilon

        made = self.steps if steps is None else steps
        epsilon, checked = agreed_epsilon(Mechanism(self.noise, self.rate, made), self.delta)
        many = f"{self.unit}s"
        return {
            "epsilon": epsilon, "delta": self.delta, "asked_epsilon": self.epsilon, "unit": self.unit, "units": len(self.units),
            "noise_multiplier": self.noise, "clip": self.clip, "sampling_rate": self.rate, "expected_batch": self.expected,
            "steps": made, "planned_steps": self.steps, "neighbours": "one more or one less",
            "accountant": "privacy loss distributions (dp-accounting)", "epsilon_by_fourier": checked,
            "covers": COVERS.format(unit=self.unit), "assumes": ASSUMES.format(units=many), "leaves_out": LEAVES_OUT,
        }  # fmt: skip


def plan_private(
    settings: FinetuneSettings, task: Task, learned: Learnable, rows: EncodedRows, train: Dataset,
    model: torch.nn.Module, adaptation: Adaptation, say: Say,
) -> PrivatePlan | None:  # fmt: skip
    """The plan of a private run; None where none is asked for. Raises :class:`UsageError` and :class:`ModelError` for what cannot be private."""
    from pretune.engine.private.sampling import Units
    from pretune.tasks.classes.labelling import Labelling

    if settings.dp_epsilon is None:
        return None
    if not isinstance(task, Labelling):
        raise UsageError(
            f"--dp-epsilon is for rows of classes, and {task.name} begins from figures of all training rows",
            "leave --dp-epsilon out",
        )
    if task.mixes:
        raise UsageError(
            "--augment strong mixes pictures with others, and --dp-epsilon bounds what each row does by itself",
            "use --augment light or none",
        )
    _refuse_batch_norms(model, adaptation)
    groups = train["group"] if "group" in train.column_names else None
    ids: Any = train["id"]
    names = (
        ids
        if groups is None
        else [group if group is not None else ("row", row) for group, row in zip(groups, ids, strict=True)]
    )
    units = Units.of([rows[place].id for place in range(len(rows))], dict(zip(ids, names, strict=True)))
    unit = "row" if groups is None else "group"
    expected = min(len(units), settings.batch_size or max(_LEAST_BATCH, len(units) // _BATCHES_A_PASS))
    delta = settings.dp_delta or 1 / (10 * len(units))
    if delta >= 1 / len(units):
        say.warn(
            f"--dp-delta {delta:g} is not below 1/n of {counted(len(units), unit)}: to give one of them away whole would keep such a guarantee"
        )
    return PrivatePlan(units, unit, expected, settings.dp_epsilon, delta, settings.dp_clip, learned)


def keep_guarantee(run: RunFolder, plan: PrivatePlan, learning: Learning) -> None:
    """Write the guarantee into run.json and the log, counted by the updates that were made: those before the run was interrupted once."""
    from pretune.report.privacy_words import guarantee_sentence

    rule = learning.rule
    facts = plan.facts(learning.step) | {"row_by_row": bool(getattr(rule, "one_by_one", False))}
    run.update_record(privacy=facts)
    run.log({"kind": "privacy", **{key: facts[key] for key in ("epsilon", "delta", "noise_multiplier", "sampling_rate", "steps")}, "step": learning.step})  # fmt: skip
    learning.say.note(guarantee_sentence(facts))


def with_canaries(data: Splits, settings: FinetuneSettings, say: Say) -> Splits:
    """The data with made-up rows planted among those of train, for ``pretune audit``. Raises :class:`UsageError` where rows are not of one class each."""
    from pretune.data.changes.canaries import canaries
    from pretune.data.changes.more_rows import with_more_rows
    from pretune.tasks import find_task
    from pretune.tasks.classes.labelling import Labelling

    kind: Any = find_task(data, settings.task)
    labels = kind.labels_of(data) if issubclass(kind, Labelling) else []
    planted, _ = canaries(data["train"].column_names, settings.canaries, labels, settings.seed)
    say.warn(
        f"{counted(len(planted), 'made-up row')} with labels drawn at random {agree(len(planted), 'are', 'is')} planted among {len(data['train']):,} training rows "
        "(--canaries): the model is for measuring"
    )
    return data.replace({**data, "train": with_more_rows(data["train"], planted)})


def _refuse_batch_norms(model: torch.nn.Module, adaptation: Adaptation) -> None:
    """Raise :class:`ModelError` for layers that norm by the batch's statistics while they learn: a row then is in the gradients of others."""
    from torch.nn.modules.batchnorm import _BatchNorm

    resting = {id(inner) for module in adaptation.frozen_modules(1.0) for inner in module.modules()}
    if any(isinstance(module, _BatchNorm) and id(module) not in resting for module in model.modules()):
        raise ModelError(
            f"{type(model).__name__} norms by statistics of the batch while it learns, in which rows mix; --dp-epsilon does not allow that",
            "use --adapt head or --adapt lora, which let these layers rest, or a backbone that norms rows by themselves (vit, convnext)",
        )
