"""The tasks of a joint run as they are typed, with their rows: which of them read the same ones, and which rows one must not show another."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.config import CleanSettings, DataSettings, TaskSettings
from pretune.errors import UsageError
from pretune.interface.declare import build_settings
from pretune.interface.outcome import Say
from pretune.options import Settings, flag_of
from pretune.study.plan import options_of
from pretune.study.recipe import as_declared
from pretune.training.settings import FinetuneSettings
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.data.splits import Splits

__all__ = ["JointTask", "parse_tasks", "read_tasks", "same_rows", "settings_of", "shares_of", "whole_data"]

EQUAL, SIZE, UNCERTAINTY = "equal", "size", "uncertainty"
WEIGHTS = (EQUAL, SIZE, UNCERTAINTY)
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_TAKEN = {"alone", "checkpoints", "model", "predictions", "seeds", "loss", "balance"}
"""Names of folders of a run, and of terms of the loss."""
_OF_ALL = {"adapt", "llrd_decay", "lora_rank", "lora_alpha", "lora_targets", "cache_trunk"}


@dataclass(frozen=True)
class JointTask:
    """A task by name: how ``pretune finetune`` would learn it alone, and its rows."""

    name: str
    settings: FinetuneSettings
    data: Splits


def parse_tasks(words: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name to place and options, from ``NAME=DATA[,OPTION=VALUE...]``. Raises :class:`UsageError` for what is no task, and equal names."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for word in words:
        first, *rest = word.split(",")
        name, _, place = first.partition("=")
        if _NAME.fullmatch(name) is None or not place or name in _TAKEN:
            raise UsageError(
                f"{word!r} is no task" if name not in _TAKEN else f"no task can be called {name}",
                "it takes NAME=DATA,OPTION=VALUE, such as slots=atis/,task=token-classification",
            )
        if name in found:
            raise UsageError(f"two tasks are called {name}", f"give one another name: other={place}")
        found[name] = place, options_of(rest, word)
    if len(found) < 2:
        raise UsageError(
            f"a trunk is shared by several tasks, and there {agree(len(found), 'are', 'is')} {len(found) or 'none'}",
            "name two or more, or learn one with pretune finetune",
        )
    return found


def settings_of(
    settings: Settings, tasks: Sequence[str], common: Sequence[str], out: str
) -> dict[str, FinetuneSettings]:
    """How each task would be learned alone, with the training options of ``settings``. Raises :class:`UsageError` naming the task for
    an option that it cannot have.
    """
    own = {spec.name for group in (DataSettings, CleanSettings, TaskSettings) for spec in dataclasses.fields(group)}
    own = (own | {"metric", "max_train_samples"}) - _OF_ALL - {"data"}
    of_all = {spec.name for spec in dataclasses.fields(FinetuneSettings)} - own
    shared = {name: value for name, value in settings.to_dict().items() if name in of_all - {"dry_run", "overwrite"}}
    found = {}
    for name, (place, options) in parse_tasks(tasks).items():
        given = {**options_of(common, "--set"), **options}
        if wrong := sorted(given.keys() & of_all):
            raise UsageError(
                f"{name}: {wrong[0]} is the same for all tasks", f"give it as {flag_of(wrong[0])}, beside the tasks"
            )
        try:
            given = {key: as_declared(FinetuneSettings, key, value) for key, value in given.items()}
            values = {**shared, **given, "data": place, "out": f"{out}/{name}"}
            found[name] = build_settings(FinetuneSettings, (), values)
        except UsageError as error:
            raise UsageError(f"{name}: {error.problem}", error.fix) from None
    return found


def shares_of(asked: str, rows: Mapping[str, int]) -> dict[str, float]:
    """What each task's loss counts for, 1 on average. Raises :class:`UsageError` for what is no weights of these tasks."""
    if asked in (EQUAL, UNCERTAINTY):
        return dict.fromkeys(rows, 1.0)
    found = {name: float(count) for name, count in rows.items()} if asked == SIZE else _numbers(asked, rows)
    mean = sum(found.values()) / len(found)
    return {name: value / mean for name, value in found.items()}


def _numbers(asked: str, names: Mapping[str, Any]) -> dict[str, float]:
    example = ",".join(f"{name}={number}" for name, number in zip(names, (1, 2, 1, 1), strict=False))
    fix = f"it takes {', '.join(WEIGHTS)}, or a number for each task: {example}"
    found: dict[str, float] = {}
    for word in asked.split(","):
        name, _, number = word.partition("=")
        if name not in names or name in found:
            raise UsageError(
                f"--weights is {asked!r}, and {name!r} is {'named twice' if name in found else 'no task'}", fix
            )
        try:
            found[name] = float(number)
        except ValueError:
            raise UsageError(f"--weights is {asked!r}, and {number!r} is no number", fix) from None
        if not 0 < found[name] < 1e6:
            raise UsageError(f"--weights is {asked!r}, and {number} is no weight", "it takes numbers above 0")
    if lacking := [name for name in names if name not in found]:
        raise UsageError(f"--weights is {asked!r}, and says nothing of {lacking[0]}", fix)
    return found


def read_tasks(settings: Mapping[str, FinetuneSettings], say: Say) -> list[JointTask]:
    """Every task with its rows. Training rows that are in the validation or test rows of another task are dropped, and that is said:
    the shared trunk would have seen them. Raises :class:`UsageError` where one has pictures and another texts.
    """
    from pretune.data.load import modality_of
    from pretune.verbs.finetune.story import read_labelled

    tasks = []
    for name, one in settings.items():
        say.note(f"== {name}")
        tasks.append(JointTask(name, one, read_labelled(one, say)))
    kinds = {one.name: modality_of(one.data) for one in tasks}
    if len(set(kinds.values())) > 1:
        raise UsageError(
            f"the tasks read different things: {', '.join(f'{name} {kind}' for name, kind in kinds.items())}",
            "one trunk reads one kind of data: learn them apart",
        )
    return [_without_leaks(one, tasks, say) for one in tasks]


def _without_leaks(task: JointTask, tasks: Sequence[JointTask], say: Say) -> JointTask:
    """The task without training rows that another task is scored on and does not learn from itself."""
    import numpy as np

    from pretune.data.split import content_keys
    from pretune.evaluation.leaks import overlap

    keys = content_keys(task.data["train"])
    leaked_N = np.zeros(len(keys), dtype=bool)
    held: list[str] = []
    for other in tasks:
        if other is task:
            continue
        scored = _keys([other.data[name] for name in ("validation", "test") if name in other.data])
        found_N = overlap(scored, keys) & ~overlap(np.unique(content_keys(other.data["train"])), keys)
        leaked_N |= found_N
        held += [other.name] if found_N.any() else []
    if not leaked_N.any():
        return task
    count = int(leaked_N.sum())
    say.warn(
        f"{count} of {counted(len(keys), 'training row')} of {task.name} {agree(count, 'stand', 'stands')} in validation or test of {' and '.join(held)}: "
        f"{agree(count, 'they are', 'it is')} not learned from, as the trunk is shared"
    )
    rows = task.data["train"].select(np.flatnonzero(~leaked_N))
    return dataclasses.replace(task, data=task.data.replace({**task.data, "train": rows}, left_to_other_tasks=count))


def _keys(datasets: Sequence[Dataset]) -> np.ndarray:
    import numpy as np

    from pretune.data.split import content_keys

    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *map(content_keys, datasets)]))


def same_rows(one: Dataset, other: Dataset) -> bool:
    """Are these the same rows in the same order, by id and content?"""
    import numpy as np

    from pretune.data.split import content_keys

    return (
        len(one) == len(other)
        and list(one["id"]) == list(other["id"])
        and bool(np.array_equal(content_keys(one), content_keys(other)))
    )


def whole_data(tasks: Sequence[JointTask]) -> Splits:
    """The training rows of all tasks together, without their answers, for a backbone that is made for them; of equal rows once."""
    from datasets import concatenate_datasets

    from pretune.data.columns.roles import ANSWER_ROLES

    kept: list[Dataset] = []
    for task in tasks:
        if not any(same_rows(task.data["train"], one.data["train"]) for one in tasks[: tasks.index(task)]):
            kept.append(task.data["train"])
    names = [
        name
        for name in kept[0].column_names
        if name not in ANSWER_ROLES and all(name in rows.column_names for rows in kept)
    ]
    whole = concatenate_datasets([rows.select_columns(names) for rows in kept])
    return tasks[0].data.replace({"train": whole})
