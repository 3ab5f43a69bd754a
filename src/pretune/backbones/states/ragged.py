"""Arrays of different lengths kept on disk one after the other, written in any order and read by number through memory maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pretune.files import fsync_file
from pretune.modalities.text.store import Growing, open_array

__all__ = ["RaggedArrays", "RaggedWriter"]


class RaggedArrays:
    """What a :class:`RaggedWriter` wrote under ``name``: array i is (n_i, ...), of which all but n_i is the same for all.

    ``facts`` is what the writer's :attr:`~RaggedWriter.facts` said at its end. Raises ValueError where files are incomplete.
    """

    def __init__(self, folder: Path, name: str, facts: Mapping[str, Any]) -> None:
        self._values = open_array(folder / f"{name}.npy")
        self._starts = open_array(folder / f"{name}-starts.npy")
        self._sizes = open_array(folder / f"{name}-sizes.npy")
        self._shape = tuple(facts["shape"])
        if len(self._values) != facts["values"] or len(self._starts) != len(self._sizes):
            raise ValueError(f"{folder} is incomplete")

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Array ``index``; a view of the file."""
        start, shape = int(self._starts[index]), (int(self._sizes[index]), *self._shape)
        return self._values[start : start + int(np.prod(shape))].reshape(shape)


class RaggedWriter:
    """Writes ``count`` arrays, each once, as they come: ``with RaggedWriter(folder, "values", 10, np.float32) as values``."""

    def __init__(self, folder: Path, name: str, count: int, kind: type) -> None:
        self._folder, self._name = folder, name
        self._values = Growing(folder / f"{name}.npy", kind)
        self._starts_N, self._sizes_N = np.zeros(count, np.int64), np.zeros(count, np.int32)
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> RaggedWriter:
        self._values.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._values.__exit__(*error)
        for part, array in {"starts": self._starts_N, "sizes": self._sizes_N}.items():
            path = self._folder / f"{self._name}-{part}.npy"
            np.save(path, array)
            fsync_file(path)
        fsync_file(self._folder / f"{self._name}.npy")

    def put(self, places: Iterable[int], arrays: Iterable[np.ndarray]) -> None:
        """Add the arrays of these places."""
        for place, array in zip(places, arrays, strict=True):
            self._starts_N[place], self._sizes_N[place], self._shape = self._values.size, len(array), array.shape[1:]
            self._values.append(array.reshape(-1))

    @property
    def facts(self) -> dict[str, Any]:
        """What :class:`RaggedArrays` has to be told, as JSON values."""
        return {"shape": list(self._shape), "values": self._values.size}
