"""The simple features of every row of a data set, computed once and kept on disk.

Shapes: N rows, T terms of a text, F features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.backbones.states.ragged import RaggedArrays, RaggedWriter
from pretune.cache import get_or_create
from pretune.files import fsync_file, write_json
from pretune.modalities.text.store import open_array
from pretune.modalities.text.terms import Terms
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["NumberRows", "StoredTerms", "TermRows", "store_numbers", "store_terms"]

_FORMAT, _KIND = 1, "features"
_ROWS_AT_A_TIME = 1000


class StoredTerms:
    """The numbers int32 (T,) and values float32 (T,) of every text's terms."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.ids = RaggedArrays(folder, "ids", about["ids"])
        self.values = RaggedArrays(folder, "values", about["values"])


def store_terms(dataset: Dataset, terms: Terms, numbers: dict[str, int], *, fingerprint: str) -> StoredTerms:
    """The terms of the texts of ``dataset`` (of pairs joined), from the cache when it has them. ``fingerprint`` names the data."""

    def write(folder: Path) -> None:
        count = len(dataset)
        with (
            RaggedWriter(folder, "ids", count, np.int32) as ids,
            RaggedWriter(folder, "values", count, np.float32) as values,
        ):
            for start in range(0, count, _ROWS_AT_A_TIME):
                rows = dataset[start : start + _ROWS_AT_A_TIME]
                pairs = rows.get("text_pair") or [None] * len(rows["text"])
                texts = [one if two is None else f"{one} {two}" for one, two in zip(rows["text"], pairs, strict=True)]
                found = [terms.encode(text, numbers) for text in texts]
                places = range(start, start + len(found))
                ids.put(places, [one for one, _ in found])
                values.put(places, [one for _, one in found])
        write_json(folder / "about.json", {"ids": ids.facts, "values": values.facts})

    return get_or_create(_KIND, f"{_FORMAT}:terms:{fingerprint}:{terms.identity()}", StoredTerms, write)


class TermRows:
    """Texts as their terms, with ids and targets."""

    def __init__(self, store: StoredTerms, dataset: Dataset, targets: Sequence[Any]) -> None:
        self._store, self._targets = store, targets
        self._ids = dataset.with_format("arrow")[:]["id"]
        sizes_N = np.array([len(store.ids[row]) for row in range(len(dataset))], dtype=np.int64)
        self.lengths_N = np.maximum(1, sizes_N)
        empty = int((sizes_N == 0).sum())
        notes = [f"{empty} texts hold no term of the vocabulary: they get the answer of an empty text"] if empty else []
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset), "notes": notes}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        arrays = {"term_ids": self._store.ids[index], "term_values": self._store.values[index]}
        return Encoded(self._ids[index].as_py(), arrays, int(self.lengths_N[index]), self._targets[index])


def store_numbers(count: int, numbers_of: Callable[[int], np.ndarray], *, name: str) -> np.ndarray:
    """The features of every row by number, float32 (N, F), from the cache when it has them under ``name``."""

    def write(folder: Path) -> None:
        found = [numbers_of(row) for row in range(count)]
        np.save(folder / "numbers.npy", np.stack(found) if found else np.zeros((0, 0), np.float32))
        fsync_file(folder / "numbers.npy")

    def read(folder: Path) -> np.ndarray:
        found = open_array(folder / "numbers.npy")
        if len(found) != count:
            raise ValueError(f"{folder} is incomplete")
        return found

    return get_or_create(_KIND, f"{_FORMAT}:numbers:{name}:{count}", read, write)


class NumberRows:
    """Rows of features with their ids and targets."""

    def __init__(self, numbers_NF: np.ndarray, dataset: Dataset, targets: Sequence[Any]) -> None:
        self._numbers_NF, self._targets = numbers_NF, targets
        self._ids = dataset.with_format("arrow")[:]["id"]
        self.lengths_N = np.ones(len(dataset), dtype=np.int64)
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        arrays = {"numbers": self._numbers_NF[index]}
        return Encoded(self._ids[index].as_py(), arrays, 1, self._targets[index])
