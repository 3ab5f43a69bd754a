"""Items of whole numbers as flat arrays on disk, read through memory maps: what tasks keep whose rows are cut into windows with places in them.

Shapes: N rows, P items of all rows (one a row, or one a window).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np

from pretune.answers import answer_of
from pretune.cache import get_or_create
from pretune.files import fsync_file, write_json
from pretune.modalities.text.encoder import Ledger
from pretune.modalities.text.store import Growing, open_array
from pretune.tasks.predicting import example_of
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.tasks.base import Task

__all__ = ["ArrayKind", "Counted", "ItemRows", "store_items"]

_FORMAT = 1
_ROWS, _TARGETS = "row_of_item", "target"


class ArrayKind(NamedTuple):
    """How an array of an item is kept: its whole numbers, and its shape but for the first size."""

    dtype: type
    tail: tuple[int, ...] = ()


class Counted(NamedTuple):
    """What a row's items tell the ledger beside their tokens: whether they hold nothing, and how much of the row no item holds."""

    empty: bool
    lost: int


Count: TypeAlias = Callable[[Sequence[Encoded]], Counted]


def store_items(
    task: Task, dataset: Dataset, arrays: Mapping[str, ArrayKind], count: Count, *, about: str, unknown: int | None
) -> ItemRows:
    """The items of a data set's rows, from the cache where it has them under ``about``, which tells the data and all that decides the
    items. Their targets are whole numbers. ``unknown`` is the token that stands for others; arrays that the first item lacks are not kept.

    Raises :class:`~pretune.errors.DiskFull`.
    """
    return get_or_create(
        "items",
        f"{_FORMAT}:{task.name}:{about}",
        lambda folder: ItemRows(folder, dataset, arrays),
        lambda folder: _write(folder, task, dataset, arrays, count, unknown),
    )


def _add(ledger: Ledger, items: Sequence[Encoded], told: Counted, unknown: int | None) -> None:
    missed = sum(int((item.arrays["input_ids"] == unknown).sum()) for item in items) if unknown is not None else 0
    ledger.rows += 1
    ledger.pieces += len(items)
    ledger.tokens += sum(item.cost for item in items)
    ledger.window_rows += len(items) > 1
    ledger.empty_rows += told.empty
    ledger.unknown_tokens += missed
    ledger.unknown_rows += missed > 0
    if told.lost > 0:
        ledger.add_lost(items[0].id, told.lost)


def _write(
    folder: Path, task: Task, dataset: Dataset, arrays: Mapping[str, ArrayKind], count: Count, unknown: int | None
) -> None:
    ledger, names = Ledger(), None
    kinds = {name: kind.dtype for name, kind in arrays.items()} | {_TARGETS: np.int32}
    with ExitStack() as stack:
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", kind)) for name, kind in kinds.items()}
        ends = {name: stack.enter_context(Growing(folder / f"{name}.ends.npy", np.int64)) for name in kinds}
        rows = stack.enter_context(Growing(folder / f"{_ROWS}.npy", np.int64))
        for number, row in enumerate(cast("Iterable[dict[str, Any]]", dataset)):
            target = answer_of(task.answer, row.get(task.answer))
            items = task.encode(dataclasses.replace(example_of(row, row["id"]), target=target))
            for item in items:
                names = list(item.arrays) if names is None else names
                values = {name: item.arrays[name].reshape(-1) for name in names}
                for name, flat in {**values, _TARGETS: np.array(item.target or (), dtype=np.int32)}.items():
                    files[name].append(flat)
                    ends[name].append(np.array([files[name].size]))
                rows.append(np.array([number if item.target is not None else -1 - number]))
            _add(ledger, items, count(items), unknown)
    for file in (*files.values(), *ends.values(), rows):
        fsync_file(file.path)
    write_json(folder / "about.json", {"ledger": ledger.to_dict(), "items": ledger.pieces, "arrays": names or []})


class ItemRows:
    """Items by number; a row's items share its weight. ``lengths_N`` are tokens, ``ledger`` what encoding did to the rows."""

    def __init__(self, folder: Path, dataset: Dataset, arrays: Mapping[str, ArrayKind]) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        names = about["arrays"]
        self._tails = {name: arrays[name].tail for name in names}
        self._flat = {name: open_array(folder / f"{name}.npy") for name in (*names, _TARGETS)}
        self._ends = {name: open_array(folder / f"{name}.ends.npy") for name in (*names, _TARGETS)}
        rows_P = open_array(folder / f"{_ROWS}.npy")
        if len(rows_P) != about["items"] or any(len(ends) != len(rows_P) for ends in self._ends.values()):
            raise ValueError(f"{folder} is incomplete")
        self._known_P, self._row_P = rows_P >= 0, np.where(rows_P >= 0, rows_P, -1 - rows_P)
        self._items_N = np.bincount(self._row_P, minlength=len(dataset))
        self._ids = dataset.with_format("arrow")[:]["id"]
        self.lengths_N = np.diff(self._ends["input_ids"], prepend=0) if names else np.zeros(0, dtype=np.int64)
        self.ledger: dict[str, Any] = about["ledger"]

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        row = int(self._row_P[index])
        arrays = {name: self._values(name, index).reshape(-1, *tail) for name, tail in self._tails.items()}
        target = tuple(self._values(_TARGETS, index).tolist()) if self._known_P[index] else None
        return Encoded(
            self._ids[row].as_py(), arrays, int(self.lengths_N[index]), target, 1.0 / int(self._items_N[row])
        )

    def _values(self, name: str, index: int) -> np.ndarray:
        ends = self._ends[name]
        return np.array(self._flat[name][int(ends[index - 1]) if index else 0 : int(ends[index])])
