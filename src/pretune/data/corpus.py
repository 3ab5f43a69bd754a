"""Rows that a model learns from without labels, and those of them that are held out meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.data.split import content_keys, held_out
from pretune.data.splits import Splits
from pretune.errors import DataError
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

__all__ = ["corpus_of", "rows_without"]

_HELD_OUT_SHARE, _HELD_OUT_ROWS = 0.05, 2000


def corpus_of(data: Splits, seed: int) -> Splits:
    """``train`` and ``validation`` (at most 2,000 rows, 5 %) of the rows to learn from, rows of equal content on one side. Raises :class:`DataError`."""
    corpus = _to_learn_from(data)
    if corpus is None:
        raise DataError("there are no rows to learn from", "pretune inspect DATA shows what was read")
    train, held = held_out(corpus, min(_HELD_OUT_SHARE, _HELD_OUT_ROWS / len(corpus)), seed)
    if len(train) == 0 or len(held) == 0:
        raise DataError(
            f"{counted(len(corpus))} {agree(len(corpus), 'are', 'is')} too few to hold some out",
            "pre-training wants hundreds of rows at least",
        )
    return Splits({"train": train, "validation": held}, data.facts)


def rows_without(data: Splits, held_keys: np.ndarray) -> Dataset | None:
    """The rows to learn from whose content is not held out (sorted keys, see :func:`content_keys`); None where there are none."""
    import numpy as np

    corpus = _to_learn_from(data)
    if corpus is None:
        return None
    kept_N = ~np.isin(content_keys(corpus), held_keys)
    return None if not kept_N.any() else corpus if kept_N.all() else corpus.select(np.flatnonzero(kept_N))


def _to_learn_from(data: Splits) -> Dataset | None:
    from datasets import concatenate_datasets

    found = [data[name] for name in ("train", "unlabelled") if name in data and len(data[name])]
    if not found:
        return None
    shared = [column for column in found[0].column_names if all(column in rows.column_names for rows in found)]
    return concatenate_datasets([rows.select_columns(shared) for rows in found])
