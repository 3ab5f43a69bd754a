"""The whole way from a place to rows ready for a task: read, complete the splits, clean."""

from __future__ import annotations

from pretune.config import CleanSettings, DataSettings
from pretune.data.changes.clean import clean
from pretune.data.changes.folds import fold_apart
from pretune.data.changes.redact import NameFinder
from pretune.data.read import read
from pretune.data.reading import Reading
from pretune.data.split import complete_splits
from pretune.data.splits import Splits
from pretune.modalities import Modality, modality_of_columns

__all__ = ["load_splits", "modality_of"]


def load_splits(settings: DataSettings, learned: Reading | None = None, *, names: NameFinder | None = None) -> Splits:
    """Read, split and clean, as the settings say; they may also be :class:`CleanSettings`. ``learned``: see :func:`read`;
    ``names``: what finds the names that --redact takes out beside what patterns find.

    Raises :class:`pretune.errors.DataError` and :class:`pretune.errors.UsageError`.
    """
    splits = read(settings, learned)
    if settings.fold is not None:
        splits = fold_apart(splits, settings.fold, seed=settings.split_seed, place=settings.place)
    splits = complete_splits(splits, settings)
    return clean(splits, settings, names) if isinstance(settings, CleanSettings) else splits


def modality_of(splits: Splits) -> Modality:
    """What the rows are made of."""
    return modality_of_columns(column for rows in splits.values() for column in rows.column_names)
