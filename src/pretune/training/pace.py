"""How long a run that learns is, and how often it evaluates, saves and logs, in updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretune.config import TrainSettings
from pretune.errors import UsageError
from pretune.options import parse_duration

if TYPE_CHECKING:
    import numpy as np

    from pretune.tasks.base import Task

__all__ = ["Pace", "default_epochs", "pace_of"]

_LOG_LINES = 400
_PLATEAU_EPOCHS = 4
"""Passes at most, as a multiple of the default, where evaluations decide when learning ends."""


@dataclass(frozen=True)
class Pace:
    """Durations of a run, resolved to updates."""

    total_steps: int
    eval_every: int
    save_every: int | None
    log_every: int
    warmup: float


def pace_of(settings: TrainSettings, *, updates_per_epoch: int, default_epochs: float) -> Pace:
    """The one place where epochs, steps and percents become numbers of updates."""
    at_most = _PLATEAU_EPOCHS * default_epochs if settings.schedule == "plateau" else default_epochs
    by_epochs = settings.epochs if settings.epochs is not None else at_most
    if settings.epochs is None and (settings.max_steps or settings.minutes):
        by_epochs = float("inf")
    steps = by_epochs * updates_per_epoch
    if settings.max_steps is not None:
        steps = min(steps, settings.max_steps)
    by_time_alone = steps == float("inf")
    total = 10**9 if by_time_alone else max(1, round(steps))

    def updates(flag: str, text: str) -> int:
        is_share = text.strip().endswith("%")
        if by_time_alone and is_share != (flag == "--warmup"):
            raise UsageError(
                f"{flag} is {text!r}, and with --minutes alone the number of updates is not known",
                f"give {'500 (steps) or 0.5epoch' if is_share else 'a share such as 6%'}, or --max-steps or --epochs too",
            )
        return parse_duration(text, flag=flag, steps_per_epoch=updates_per_epoch, total_steps=total)

    warmup = updates("--warmup", settings.warmup) / total
    if settings.warmup.endswith("%"):
        warmup = float(settings.warmup.rstrip("% ")) / 100
    return Pace(
        total_steps=total,
        eval_every=max(1, min(updates("--eval-every", settings.eval_every), total)),
        save_every=None if settings.save_every is None else max(1, updates("--save-every", settings.save_every)),
        log_every=max(1, min(50, total // _LOG_LINES)),
        warmup=min(1.0, warmup),
    )


def default_epochs(task: Task, costs_N: np.ndarray, batch_size: int) -> float:
    """Three passes, more on small data: about the task's ``default_updates``, but no more work than its ``default_cost``.

    50 passes at most for each 300 such updates. Early rows are cheap, the best is kept.
    """
    enough = task.default_updates / max(1, len(costs_N) // batch_size)
    most = min(50 * max(1.0, task.default_updates / 300), task.default_cost / max(1, int(costs_N.sum())))
    return float(max(3, int(min(most, round(enough)))))
