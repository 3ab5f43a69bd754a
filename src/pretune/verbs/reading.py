"""How a run read its data, and the same rows read again: for verbs that take a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config import CleanSettings, DataSettings
from pretune.errors import DataError, RunError
from pretune.options import option
from pretune.runfolder import RunFolder, is_run

if TYPE_CHECKING:
    from pretune.data.splits import Splits

__all__ = ["ReadSettings", "own_data", "own_settings", "reading_of", "refuse_missing_data"]


@dataclass(frozen=True, kw_only=True)
class ReadSettings(CleanSettings, DataSettings):
    """How a run read its data, and what its rows and classes weighed. A run made from another run keeps its parent's under
    ``reading`` in run.json.
    """

    max_train_samples: int | None = option(None, "learn from this many training rows only, each class by its share")
    seed: int = option(0, "seed of the rows taken")
    class_weights: str = option("none", "what classes weighed by their rarity")
    label_smoothing: float = option(0.0, "share of the target spread over all classes")


def refuse_missing_data(*places: str | None, out: str | None = None) -> None:
    """Raise :class:`DataError` for data that is not there (files, folders or patterns), before heavy libraries are loaded and a
    folder is made.

    A run that was begun in ``out`` is opened first: it may be finished, and need no data.
    """
    from pretune.data.patterns import expanded

    given = () if out is not None and is_run(out) else places
    for path in (path for place in given if place is not None for path in expanded(place)):
        if path != "-" and not os.path.lexists(Path(path).expanduser()):
            from pretune.data.formats_folder import refuse_missing

            refuse_missing(path)


def own_settings(run: RunFolder) -> ReadSettings:
    """How the run read its data. Raises :class:`RunError` for a run without labelled rows."""
    record = run.record
    saved = record.get("reading") or record["settings"]
    if "column" not in saved:
        raise RunError(
            f"{run.path} was made by `{record['verb']}`, which has no labels to score",
            "take a run of pretune finetune, or one made from it",
        )
    return ReadSettings.from_dict(saved)


def reading_of(run: RunFolder) -> dict[str, Any]:
    """:func:`own_settings` as JSON values, for a child's run.json."""
    return own_settings(run).to_dict()


def own_data(run: RunFolder) -> Splits:
    """The rows that the run was made from, the training rows those that it learned from.

    Raises :class:`DataError`, naming the run, where they are gone.
    """
    from pretune.data.load import load_splits
    from pretune.verbs.rows import fewer_rows

    own = own_settings(run)
    try:
        data = load_splits(own)
    except DataError as error:
        error.problem = f"the data that {run.path} learned from cannot be read: {error.problem}"
        if not Path(own.place).exists():
            error.fix = f"bring {own.place} back, or work in the folder from which that path leads to it"
        raise
    if own.max_train_samples is None:
        return data
    return data.replace({**data, "train": fewer_rows(data["train"], own.max_train_samples, seed=own.seed)})
