"""One fold of several as the test split: each row is in one fold, by its content and its class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from pretune.data.split import content_keys, row_units, strata, unit_numbers
from pretune.data.splits import Splits
from pretune.errors import DataError, UsageError

if TYPE_CHECKING:
    import datasets

__all__ = ["fold_apart", "folds_of"]


def fold_apart(splits: Splits, fold: str, *, seed: int, place: str) -> Splits:
    """The training rows of ``fold`` (``2/5``: the second of five) as the test split.

    Raises :class:`UsageError` for what is no fold, :class:`DataError` for data that has a test split of its own, no
    rows with labels, or fewer units (different rows, groups) than folds.
    """
    number, count = _numbers(fold)
    if "test" in splits:
        raise DataError(
            f"{place} has a test split of its own, and --fold would make another of its training rows",
            "leave --fold out, or give --splits none to take files and folders called test like others",
        )
    if "train" not in splits:
        raise DataError(
            f"{place} has no training rows with labels, of which --fold could set some apart",
            "name their column: --column label=NAME; or leave --fold out",
        )
    train = splits["train"]
    fold_N = folds_of(train, count, seed=seed)
    apart_N = fold_N == number - 1
    parts = {"train": train.select(np.flatnonzero(~apart_N)), "test": train.select(np.flatnonzero(apart_N))}
    return splits.replace({**splits, **parts}, fold={"number": number, "of": count, "seed": seed})


def folds_of(train: datasets.Dataset, count: int, *, seed: int) -> np.ndarray:
    """(N,) the fold of each row, from 0. Rows of equal content or of one group are of one fold; each class is dealt out in turn.

    Raises :class:`DataError` where there are fewer such units than folds.
    """
    unit_N, keys_N = row_units(train), content_keys(train)
    units = int(unit_N.max(initial=-1)) + 1
    if units < count:
        raise DataError(
            f"{units} different rows (or groups) cannot be dealt out to {count} folds", "ask for fewer folds"
        )
    least_U = np.full(units, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least_U, unit_N, keys_N)
    class_U = np.zeros(units, dtype=np.int64)
    class_U[unit_N] = np.unique(np.array(strata(train), dtype=str), return_inverse=True)[1]
    order_U = np.lexsort((unit_numbers(least_U, seed, "folds"), class_U))
    fold_U = np.empty(units, dtype=np.int64)
    fold_U[order_U] = np.arange(units) % count  # a class goes on where the one before it ended, so that folds are even
    return fold_U[unit_N]


def _numbers(fold: str) -> tuple[int, int]:
    told = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", fold)
    number, count = (int(told[1]), int(told[2])) if told else (0, 0)
    if count < 2 or not 1 <= number <= count:
        raise UsageError(f"--fold is {fold!r}", "write the fold and how many there are: 2/5 is the second of five")
    return number, count
