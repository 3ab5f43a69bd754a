"""Rows to learn from, less those that also stand among rows that are held out: by content, and nearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.checks.duplicates import near_rows, read_contents
from pretune.data.split import content_keys

if TYPE_CHECKING:
    import datasets

__all__ = ["Apart", "found_in", "held_apart"]


@dataclass(frozen=True)
class Apart:
    """``rows`` are those that stand in no held-out split. Of the ``of`` rows, ``same`` said what a held-out row says and
    ``near`` nearly so (None: the rows could be compared by content alone).
    """

    rows: datasets.Dataset
    of: int
    same: int
    near: int | None

    @property
    def dropped(self) -> int:
        """How many rows were dropped."""
        return self.same + (self.near or 0)

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        return {"rows": self.of, "kept": len(self.rows), "dropped_same": self.same, "dropped_near": self.near}


def held_apart(rows: datasets.Dataset, held: Mapping[str, datasets.Dataset]) -> Apart:
    """``rows`` without those that stand in a split of ``held``, or nearly do (:func:`found_in`)."""
    same_N, near_N = found_in(rows, held)
    dropped_N = same_N if near_N is None else same_N | near_N
    kept = rows.select(np.flatnonzero(~dropped_N))
    return Apart(kept, len(rows), int(same_N.sum()), None if near_N is None else int(near_N.sum()))


def found_in(rows: datasets.Dataset, held: Mapping[str, datasets.Dataset]) -> tuple[np.ndarray, np.ndarray | None]:
    """Two bool (N,): the content of which rows stands in a split of ``held``, and of which other rows a near duplicate does
    (see ``near``; None for pictures and clips that were read without sketches, which are compared by content alone).
    """
    splits = {**held, "unlabelled": rows}
    keys = {name: content_keys(dataset) for name, dataset in splits.items()}
    contents = read_contents(splits, keys, near_duplicates=True)
    same_N, near_N = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    for name in held:
        same_N |= contents.present(name)[contents.of_row["unlabelled"]]
        if contents.near is not None:
            near_N |= near_rows(contents, "unlabelled", name)
    return same_N, None if contents.near is None else near_N & ~same_N
