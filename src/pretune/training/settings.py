"""The settings by which a task is learned: those of ``pretune finetune``, and of all that learns as it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pretune.config import LabelledTrainSettings, PrivacySettings, ShardSettings, TaskSettings
from pretune.errors import UsageError
from pretune.options import option
from pretune.training.setup import LearnSettings

__all__ = ["FinetuneSettings"]


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(LabelledTrainSettings, LearnSettings, ShardSettings, TaskSettings, PrivacySettings):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Settings of ``pretune finetune``."""

    verb: ClassVar[str] = "finetune"

    metric: str | None = option(
        None, "score that decides which model is best; default: the task's own (accuracy, ...)", metavar="SCORE"
    )
    max_train_samples: int | None = option(
        None, "learn from this many training rows only, each class by its share", low=2
    )
    rewrite: str | None = option(
        None,
        "texts: learn also from versions of each training row in which this masked model (a run of pretrain, a folder) chose some words; those stay to which a classifier that never saw the row answers as to the row",
        metavar="MODEL",
    )
    rewrites: int = option(1, "with --rewrite: versions of each row", low=1, high=20)
    seeds: int = option(
        1, "repeat with this many seeds and give mean and sd; the best on validation is kept", low=1, high=100
    )
    folds: int | None = option(
        None,
        "cross-validate: each row is answered by a model that did not learn from it, in this many folds; the model that is kept learns from all",
        low=2,
        high=100,
    )
    tune: tuple[str, ...] = option(
        (),
        "search these settings by successive halving on validation rows: learning_rate,batch_size (several with commas); the better half of the trials go on, until one is left",
        choices=("learning_rate", "batch_size", "weight_decay", "label_smoothing", "warmup"),
        metavar="SETTINGS",
    )
    trials: int | None = option(None, "how many settings --tune tries (8)", low=2, high=256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rewrite is None and self.rewrites != 1:
            raise UsageError("--rewrites does nothing without --rewrite", "name a masked model: --rewrite MODEL")

    @property
    def num_trials(self) -> int:
        """How many settings a search tries."""
        return 8 if self.trials is None else self.trials
