"""The distinct contents of all splits together, and where each stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import datasets

    from pretune.data.near.pairs import NearPairs

__all__ = ["Contents", "distinct_contents"]


@dataclass(frozen=True, slots=True)
class Contents:
    """The distinct contents of all splits together (U of them), and the near pairs among them (None: not looked for).

    ``of_row`` gives for each split the content (N,) of each row; ``split_U`` and ``row_U`` where a content first stands.
    """

    splits: Mapping[str, datasets.Dataset]
    of_row: Mapping[str, np.ndarray]
    split_U: np.ndarray
    row_U: np.ndarray
    near: NearPairs | None = None

    def present(self, split: str) -> np.ndarray:
        """(U,) bool: does the content stand in the split."""
        mask_U = np.zeros(len(self.split_U), dtype=bool)
        mask_U[self.of_row[split]] = True
        return mask_U

    def have(self, column: str) -> bool:
        """Whether every split has the column."""
        return all(column in dataset.column_names for dataset in self.splits.values())

    def column(self, name: str, contents: np.ndarray | None = None) -> list[Any]:
        """A column's value where each content, or each of some, first stands."""
        chosen = np.arange(len(self.split_U)) if contents is None else contents
        found = np.empty(len(chosen), dtype=object)
        for number, dataset in enumerate(self.splits.values()):
            here = np.flatnonzero(self.split_U[chosen] == number)
            if len(here):
                values = dataset.select_columns([name]).select(self.row_U[chosen[here]])[:][name]
                found[here] = np.fromiter(values, dtype=object, count=len(here))
        return found.tolist()


def distinct_contents(splits: Mapping[str, datasets.Dataset], keys: Mapping[str, np.ndarray]) -> Contents:
    """Collapse rows of equal content; contents are numbered by where they first stand."""
    sizes = [len(keys[name]) for name in splits]
    everything = np.concatenate([keys[name] for name in splits]) if sizes else np.empty(0, dtype=np.uint64)
    _, first_U, content_of_row = np.unique(everything, return_index=True, return_inverse=True)
    rank_U = np.argsort(np.argsort(first_U))  # by first appearance, so that the left row of a pair comes first
    first_U = np.sort(first_U)
    ends = np.cumsum(sizes)
    split_U = np.searchsorted(ends, first_U, side="right")
    row_U = first_U - (ends - sizes)[split_U] if sizes else first_U
    of_row = dict(zip(splits, np.split(rank_U[content_of_row], ends[:-1]), strict=True))
    return Contents(splits, of_row, split_U, row_U)
