"""Which rows of a test split were trained on."""

from __future__ import annotations

import numpy as np

from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["overlap", "require_held_out"]


def overlap(train_keys: np.ndarray, row_keys_N: np.ndarray) -> np.ndarray:
    """Which rows have a content key that a training row has: bool ``(N,)``. ``train_keys`` are sorted."""
    train_keys = np.asarray(train_keys)
    if len(train_keys) == 0:
        return np.zeros(len(row_keys_N), dtype=bool)
    place_N = np.minimum(np.searchsorted(train_keys, row_keys_N), len(train_keys) - 1)
    return train_keys[place_N] == row_keys_N


def require_held_out(leaked_N: np.ndarray, what: str) -> None:
    """Refuse to call training rows a test set: raises :class:`DataError` when more than half of ``what`` was trained on."""
    num_leaked = int(np.count_nonzero(leaked_N))
    if 2 * num_leaked > len(leaked_N):
        raise DataError(
            f"{num_leaked} of the {counted(len(leaked_N))} of {what} {agree(num_leaked, 'are training rows', 'is a training row')}: a score on them says nothing about new rows",
            "give rows that the model was not trained on; scores of training rows, called so, come with --split train",
        )
