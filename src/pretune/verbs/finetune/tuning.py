"""``finetune --tune``: settings are searched by successive halving on validation rows (Jamieson & Talwalkar 2016, arXiv 1502.07943, section 3).

Every trial has the schedule of a whole run and is stopped on its way; the better half go on from where they stopped, exactly as a run
that was interrupted does, until one is left. So nothing is computed twice, and the model that is kept is that of the last one.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.errors import NonFiniteUpdate, UsageError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, is_run, open_run
from pretune.training.learning import Paused
from pretune.verbs.finetune.kept import best_first, take_over

if TYPE_CHECKING:
    from pretune.training.settings import FinetuneSettings

__all__ = ["refuse_untunable", "rungs_of", "tune", "tuned_passes"]

_OCTAVES = 3.0
"""Learning rates are tried from an eighth to eight times the one that would be taken anyway."""
_HIGHEST_RATE = 10.0
_BATCH_POWERS = (-1, 0, 1, 2)
_WEIGHT_DECAYS, _MOST_SMOOTHING, _MOST_WARMUP = (1e-4, 0.3), 0.3, 0.2
_NOT_TUNED = {
    "seeds": "repeats the run", "folds": "repeats the run", "dp_epsilon": "bounds what one run gives away, and each trial gives more",
    "find_learning_rate": "chooses the learning rate by itself",
}  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """One choice of values, where its run lies, and why it ended where it did not come to its end: a run that learned nothing leaves no folder."""

    place: Path
    values: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)


def refuse_untunable(settings: FinetuneSettings, processes: int) -> None:
    """Raise :class:`UsageError` for what does not go with a search."""
    if not settings.tune:
        settings.refuse_given({"trials"}, "says how many settings --tune tries")
        return
    for name, why in _NOT_TUNED.items():
        settings.refuse_given({name}, f"does not go with --tune: it {why}")
    if settings.adapt == "linear" or settings.backbone.startswith("linear:"):
        raise UsageError("--tune does nothing for a linear model: there are no updates", "leave --tune out")
    if settings.schedule == "plateau":
        raise UsageError(
            "--schedule plateau ends when evaluations say so, and --tune stops its trials at shares of a known whole",
            "leave one of them out",
        )
    if processes > 1:
        raise UsageError("--tune learns in one process", "start it without torchrun")


def rungs_of(trials: int) -> list[float]:
    """The shares of a whole run at which the worse half end, and 1: a half, a quarter, ... as often as ``trials`` can be halved."""
    halvings = math.ceil(math.log2(trials))
    return [2.0 ** (step - halvings) for step in range(halvings + 1)]


def tuned_passes(trials: int) -> float:
    """How many whole runs a search costs."""
    left, before, cost = trials, 0.0, 0.0
    for share in rungs_of(trials):
        cost += left * (share - before)
        left, before = math.ceil(left / 2), share
    return cost


def tune(
    settings: FinetuneSettings, run: RunFolder, say: Say, learn: Callable[[FinetuneSettings, float], None]
) -> None:
    """Try as many settings as were asked for below ``trials/``; what the best one made is what ``run`` holds.

    ``learn`` carries a run on to a share of its whole, and raises :class:`Paused` there. Trials that are there already are gone on with.
    """
    began = time.monotonic()
    first = _trial(run, 0, {})
    tried, left = [first], [0]
    for share in rungs_of(settings.num_trials):
        if len(tried) == 1:  # the values around which others are drawn are those of a run that began
            _go_on(settings, first, share, say, learn)
            tried += _drawn(settings, run, first)
            left = [*range(len(tried))]
        for number in left:
            _go_on(settings, tried[number], share, say, learn)
        left = _better_half(tried, left)
    best = left[0]
    kept = open_run(tried[best].place)
    say.note(f"trial {best + 1} of {len(tried)} is kept: {_told(tried[best].values)}")
    told = {"tuned": list(settings.tune), "best": best, "passes": round(tuned_passes(settings.num_trials), 3), "trials": [_facts(run, one) for one in tried]}  # fmt: skip
    take_over(run, kept, seconds=time.monotonic() - began, result=kept.record["result"], tuning=told)
    for one in tried:
        shutil.rmtree(RunFolder(one.place).checkpoints_dir, ignore_errors=True)


def _trial(run: RunFolder, number: int, values: Mapping[str, Any]) -> _Trial:
    return _Trial(run.path / "trials" / f"trial-{number + 1}", values)


def _go_on(
    settings: FinetuneSettings, trial: _Trial, share: float, say: Say, learn: Callable[[FinetuneSettings, float], None]
) -> None:
    """Carry a trial on to this share of its run; one that has got there, ended or failed is left as it is."""
    record = _record(trial)
    if record.get("status") in ("finished", "failed") or record.get("paused", {}).get("share", 0.0) >= share:
        return
    say.note(f"{trial.place.name}: {_told(trial.values)}, to {share:.0%}")
    one = dataclasses.replace(settings, **trial.values, tune=(), trials=None, out=str(trial.place), overwrite=False)
    try:
        learn(one, share)
    except Paused:
        pass
    except NonFiniteUpdate as error:
        trial.problems.append(error.problem)
        say.note(f"{trial.place.name} ends here: {error.problem}")


def _record(trial: _Trial) -> dict[str, Any]:
    return open_run(trial.place).record if is_run(trial.place) else {}


def _standing(trial: _Trial) -> dict[str, Any] | None:
    """The best evaluation of a trial so far; None of one that failed before its first."""
    record = _record(trial)
    found = record.get("result") or record.get("paused") or {}
    return found if found.get("value") is not None else None


def _better_half(tried: Sequence[_Trial], numbers: Sequence[int]) -> list[int]:
    """Of these numbers of trials the better half, the best first; those that failed come last."""
    from pretune.tasks import task_named

    standing = [(number, one) for number in numbers if (one := _standing(tried[number])) is not None]
    if not standing:
        raise UsageError(
            "every trial ended in a loss that is not finite", "give a smaller --learning-rate, or --precision fp32"
        )
    task = task_named(_record(tried[standing[0][0]])["model"]["task"])
    order = best_first(task.metric_type, [one for _, one in standing])
    return [standing[place][0] for place in order][: math.ceil(len(numbers) / 2)]


def _drawn(settings: FinetuneSettings, run: RunFolder, first: _Trial) -> list[_Trial]:
    """The other trials: every setting in as many equal parts of its range as there are trials, one of each, in an order of its own."""
    from pretune.tasks import task_named

    record = _record(first)
    rate = float(record["training"]["learning_rate"])
    batch = settings.batch_size or task_named(record["model"]["task"]).default_batch_size
    count = settings.num_trials - 1
    rng = np.random.default_rng([settings.seed, len(settings.tune)])
    parts = {name: (rng.permutation(count) + rng.random(count)) / count for name in settings.tune}
    ways: dict[str, Callable[[float], Any]] = {
        "learning_rate": lambda part: min(_HIGHEST_RATE, _two_digits(rate * 2.0 ** (_OCTAVES * (2 * part - 1)))),
        "batch_size": lambda part: max(2, round(batch * 2.0 ** _BATCH_POWERS[int(part * len(_BATCH_POWERS))])),
        "weight_decay": lambda part: _two_digits(_WEIGHT_DECAYS[0] * (_WEIGHT_DECAYS[1] / _WEIGHT_DECAYS[0]) ** part),
        "label_smoothing": lambda part: _two_digits(_MOST_SMOOTHING * part),
        "warmup": lambda part: f"{100 * _MOST_WARMUP * part:.0f}%",
    }
    return [
        _trial(run, number + 1, {name: ways[name](float(parts[name][number])) for name in settings.tune})
        for number in range(count)
    ]


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "as it would be without --tune"


def _facts(run: RunFolder, trial: _Trial) -> dict[str, Any]:
    """What run.json tells of a trial: its values, how far it came, and the best validation score on the way."""
    record = _record(trial)
    standing = _standing(trial) or {}
    share = 1.0 if record.get("status") == "finished" else record.get("paused", {}).get("share", 0.0)
    problem = trial.problems[-1] if trial.problems else record.get("problem")
    return {"run": str(trial.place.relative_to(run.path)), "values": dict(trial.values), "share": share, "value": standing.get("value"), **({"problem": problem} if problem else {})}  # fmt: skip
