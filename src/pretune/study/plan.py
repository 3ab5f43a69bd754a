"""What a study learns: arms × budgets × seeds, as steps of a recipe that is never written by hand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.config import CleanSettings, DataSettings
from pretune.errors import UsageError
from pretune.interface.declare import build_settings, load_verb
from pretune.options import Settings
from pretune.study.recipe import Recipe, Step, as_declared
from pretune.study.recipe_file import typed

__all__ = ["Arm", "Cell", "arms_of", "budgets_of", "cells_of", "options_of", "plan_of"]

_USUAL_BUDGETS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_MOST_USUAL = 4
_OF_THE_STUDY = {"out", "overwrite", "dry_run", "seed", "seeds", "max_train_samples", "backbone"}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Arm:
    """One way to learn: a name, where it starts from, and options of ``pretune finetune`` that it alone has."""

    name: str
    backbone: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a study: an arm that learns from ``labels`` rows (all, where it is None) with a seed."""

    arm: Arm
    labels: int | None
    seed: int

    @property
    def name(self) -> str:
        """The folder of its run."""
        return f"{self.arm.name}-{'all' if self.labels is None else self.labels}-{self.seed}"


def arms_of(words: Sequence[str]) -> list[Arm]:
    """Arms from ``[NAME=]BACKBONE[,OPTION=VALUE...]``. Raises :class:`UsageError` for a word that is no arm, and for equal names."""
    if len(words) < 2:
        raise UsageError(
            "a study holds arms against each other, and there is but one",
            "name two or more: pretune study scratch:bert-mini MODEL_DIR --data DATA",
        )
    arms: list[Arm] = []
    for word in words:
        first, *rest = word.split(",")
        name, equals, backbone = first.partition("=")
        name, backbone = (name, backbone) if equals else (_named_after(first, rest), first)
        if _NAME.fullmatch(name) is None or not backbone:
            raise UsageError(
                f"{word!r} is no arm", "it takes NAME=MODEL,OPTION=VALUE, such as head=MODEL_DIR,adapt=head"
            )
        if any(arm.name == name for arm in arms):
            raise UsageError(f"two arms are called {name}", f"give one another name: other={backbone}")
        arms.append(Arm(name, backbone, options_of(rest, word)))
    return arms


def _named_after(backbone: str, options: Sequence[str]) -> str:
    """``scratch:bert-mini`` is ``bert-mini`` from scratch, a folder is called by its last part; options are added."""
    stem = re.sub(r"[^\w.-]+", "-", backbone.rstrip("/").rpartition("/")[2]).strip("-.") or "arm"
    return "-".join([stem, *(re.sub(r"[^\w.-]+", "-", option.partition("=")[2]) for option in options)])


def options_of(words: Sequence[str], where: str) -> dict[str, Any]:
    """``OPTION=VALUE`` words as options; ``where`` they stand is told. Raises :class:`UsageError` for a word that is none."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r} of {where!r} is no option", "it takes OPTION=VALUE, such as adapt=head")
        found[name.replace("-", "_")] = typed(value)
    return found


def budgets_of(asked: str, rows: int) -> list[int | None]:
    """Numbers of labels in ascending order, None for all ``rows``. Raises :class:`UsageError` for what is no number of them."""
    if asked == "auto":
        usual = [labels for labels in _USUAL_BUDGETS if labels * 2 <= rows][-_MOST_USUAL:]
        return [*usual, None]
    found: list[int | None] = []
    for word in asked.split(","):
        if word == "all":
            found.append(None)
        elif word.isascii() and word.isdigit() and 2 <= int(word) <= rows:
            found.append(None if int(word) == rows else int(word))
        else:
            raise UsageError(
                f"--budgets has {word!r}",
                f"it takes numbers of labels from 2 to {rows:,}, or all: --budgets 30,100,all",
            )
    if len(set(found)) != len(found):
        raise UsageError(f"--budgets {asked} names one number twice", "name each once")
    return sorted(found, key=lambda labels: rows if labels is None else labels)


def cells_of(arms: Sequence[Arm], budgets: Sequence[int | None], seeds: Sequence[int]) -> list[Cell]:
    """Every run, the cheap ones first, arms side by side."""
    return [Cell(arm, labels, seed) for labels in budgets for seed in seeds for arm in arms]


def plan_of(settings: Settings, cells: Sequence[Cell], out: Path, shared: Sequence[str], split: str) -> Recipe:
    """Two steps a cell: learn, then answer ``split``. ``settings`` tell of the data; ``shared`` are options of every arm.

    Raises :class:`UsageError` naming the arm for whatever ``pretune finetune`` would refuse before it computes.
    """
    common = options_of(shared, "--set")
    for one in (common, *(cell.arm.options for cell in cells)):
        if wrong := sorted(_OF_THE_STUDY & one.keys()):
            raise UsageError(f"{wrong[0]} is the study's own to say", f"leave {wrong[0]} out of the arms and of --set")
    data = {
        spec.name: getattr(settings, spec.name)
        for group in (DataSettings, CleanSettings)
        for spec in dataclasses.fields(group)
    }
    steps = []
    for cell in cells:
        own = {"max_train_samples": cell.labels} if cell.labels else {}
        values = {**data, **common, **cell.arm.options, **own, "seed": cell.seed, "out": str(out / cell.name)}
        steps.append(_step(cell, "finetune", {"backbone": cell.arm.backbone, **values}))
        beside = {"baselines": cell.arm is cells[0].arm, "resamples": 200}
        steps.append(_step(cell, "evaluate", {"run": str(out / cell.name), "split": split, **beside}))
    return Recipe(out, out, tuple(steps))


def _step(cell: Cell, verb: str, values: dict[str, Any]) -> Step:
    settings_class = load_verb(verb).settings_class
    try:
        declared = {key: as_declared(settings_class, key, value) for key, value in values.items()}
        settings = build_settings(settings_class, (), declared)
    except UsageError as error:
        raise UsageError(f"arm {cell.arm.name}: {error.problem}", error.fix) from None
    name = cell.name if verb == "finetune" else f"{cell.name}.{verb}"
    return Step(name, verb, settings, () if verb == "finetune" else (cell.name,))
