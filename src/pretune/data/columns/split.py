"""Columns that say in which split or fold a row stands, and what their cells mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pretune.data.checks.finding import finding
from pretune.data.columns.looks import sampled
from pretune.data.columns.names import split_columns
from pretune.data.formats.base import ABSENT, Chunk, Table
from pretune.data.places.place import split_of_word
from pretune.errors import DataError

__all__ = ["FoldTally", "fold_name", "split_of_cell", "split_role"]

_MOST_FOLDS = 100


def split_of_cell(cell: Any) -> str | None:
    """The split that a cell names; None for one that is empty or names none."""
    return split_of_word(cell.strip()) if isinstance(cell, str) else None


def fold_name(cell: Any) -> str | None:
    """A fold as a person names it: ``5``, also where the cell holds 5.0 or ``fold5``; None where the cell says nothing."""
    if cell is None or cell is ABSENT or isinstance(cell, (list, dict, tuple, bytes)):
        return None
    text = str(cell).strip().casefold().removesuffix(".0")
    return text.removeprefix("fold").strip(" _-") or None


def split_role(table: Table, sample: Sequence[Chunk], taken: set[str]) -> dict[str, str]:
    """The role ``split`` for the first column called so whose cells name splits, and ``fold`` for one whose cells number folds."""
    found: dict[str, str] = {}
    for column in split_columns(table.columns, taken):
        cells = [cell for cell in sampled(sample, column) if cell not in (None, "") and cell is not ABSENT]
        if not cells:
            continue
        if all(map(split_of_cell, cells)):
            found.setdefault("split", column)
        elif all((fold_name(cell) or "").isdigit() for cell in cells) and len(set(cells)) <= _MOST_FOLDS:
            found.setdefault("fold", column)
    return found


class FoldTally:
    """The folds of all tables: how many rows each has, and whether the one that was asked for is there."""

    def __init__(self, wanted: str | None) -> None:
        self.wanted = None if wanted is None else fold_name(wanted)
        self.given, self.rows, self.columns = wanted, Counter[str](), dict[str, None]()

    def split_of(self, cell: Any, where: str, column: str) -> str | None:
        """``test`` for a row of the fold that was asked for, ``train`` for another, None where no fold was asked for."""
        name = fold_name(cell)
        if name is None:
            if self.wanted is None:
                return None
            raise DataError(f"{where} has no fold in the column {column!r}", "fill it in, or leave --test-fold out")
        self.rows[name] += 1
        self.columns[column] = None
        return None if self.wanted is None else "test" if name == self.wanted else "train"

    def findings(self) -> list[dict[str, Any]]:
        """What to tell of folds that were not used. Raises :class:`DataError` where the wanted one is not there."""
        names = sorted(self.rows, key=lambda name: (len(name), name))
        if self.wanted is not None and self.wanted not in self.rows:
            if not names:
                raise DataError(
                    f"--test-fold is {self.given}, and no column says in which fold a row stands",
                    "name it: --column fold=NAME",
                )
            raise DataError(f"--test-fold is {self.given}: no row stands in it", f"the folds are {', '.join(names)}")
        if self.wanted is not None or not names:
            return []
        message = f"The column {', '.join(self.columns)} numbers {len(names)} folds ({', '.join(names[:10])}), which were not used to split."
        fix = f"--test-fold {names[-1]} makes one of them the test split, the others train"
        return [finding("warning", "unused-folds", message, sum(self.rows.values()), [], fix)]
