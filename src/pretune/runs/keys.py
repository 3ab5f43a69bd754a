"""What a run learned from, as keys of content: kept with it, so that later rows can be told from those it has seen.

``train_keys.npy`` holds those of all rows; of a corpus that was learned from file by file, those of the first, and
``train_keys-00001.npy``, ... those of the others.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pretune.errors import CorruptFile
from pretune.runfolder import RunFolder, is_run

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

__all__ = ["key_files", "leaked_rows", "save_train_keys"]

_FIRST = "train_keys.npy"


def save_train_keys(run: RunFolder, *datasets: Dataset, file: int = 0) -> None:
    """Keep the content keys of the rows that were learned from, sorted; with ``file`` those of that file of several."""
    import numpy as np

    from pretune.data.split import content_keys

    name = f"train_keys-{file:05}.npy" if file else _FIRST
    held = io.BytesIO()
    np.save(held, np.unique(np.concatenate([content_keys(dataset) for dataset in datasets])))
    run.sums.write(name, held.getvalue())


def key_files(run: RunFolder) -> list[str]:
    """The names of the files that hold the run's keys."""
    return sorted(path.name for path in run.path.glob("train_keys*.npy"))


def leaked_rows(run: RunFolder, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Which rows the run learned labels from, and which its parents saw and it did not: two bool (N,)."""
    import numpy as np

    from pretune.data.split import content_keys

    keys_N = content_keys(dataset)
    own_N = _known(run, keys_N)
    seen_N = np.zeros_like(own_N)
    for place in _lineage(run)[1:]:
        seen_N |= _known(RunFolder(Path(place)), keys_N)
    return own_N, seen_N & ~own_N


def _lineage(run: RunFolder) -> list[str]:
    """The run and its ancestors that are still there, nearest first."""
    found, waiting = [], [str(run.path)]
    while waiting:
        place = waiting.pop(0)
        if place in found or not is_run(place):
            continue
        found.append(place)
        waiting += RunFolder(Path(place)).record.get("parents", [])
    return found


def _known(run: RunFolder, keys_N: np.ndarray) -> np.ndarray:
    """Which rows the run learned from: bool (N,)."""
    import numpy as np

    from pretune.evaluation.leaks import overlap

    known_N = np.zeros(len(keys_N), dtype=bool)
    for train_keys in _keys(run):
        known_N |= overlap(train_keys, keys_N)
    return known_N


def _keys(run: RunFolder) -> Iterator[np.ndarray]:
    """The keys of each file. Raises :class:`CorruptFile`."""
    import numpy as np

    for name in key_files(run):
        try:
            keys = np.lib.format.read_array(io.BytesIO(run.sums.read(name)), allow_pickle=False)
            if keys.ndim != 1 or keys.dtype.kind not in "iu":
                raise ValueError(f"it holds {keys.dtype} {keys.shape}")
        except (ValueError, EOFError) as error:
            if isinstance(error, CorruptFile):
                raise
            raise CorruptFile(
                f"{run.path / name} is damaged: {error}", "restore the file, or train again with --overwrite"
            ) from None
        yield keys
