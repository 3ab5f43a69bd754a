"""Pictures with their masks, fitted into one size once and read from disk by number.

Shapes: N rows, H and W the size that pictures are fitted into.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import Mask
from pretune.backbones.places.fitted import fit_mask, fit_picture
from pretune.cache import get_or_create
from pretune.data.media.image import decode_image
from pretune.files import check_free_space, fsync_file, write_json
from pretune.modalities.image.pixels import store_pixels
from pretune.modalities.text.store import Growing, open_array
from pretune.tasks.places.dense import OWN, DenseTask
from pretune.types import Encoded

if TYPE_CHECKING:
    from datasets import Dataset


__all__ = ["MaskedRows", "store_masked"]

_FORMAT = 1


def store_masked(task: DenseTask, dataset: Dataset, *, fingerprint: str) -> MaskedRows:
    """Every picture and mask of ``dataset``, kept on disk under ``fingerprint``.

    Raises :class:`pretune.errors.DataError` for a picture that cannot be read, :class:`~pretune.errors.DiskFull`.
    """
    images = dataset.with_format("arrow")[:]["image"]
    identity = task.inputs_identity()

    def read(index: int) -> np.ndarray:
        return fit_picture(decode_image(images[index].as_py()), task.geometry)

    picture = store_pixels(len(dataset), read, task.geometry, fingerprint=f"{fingerprint}:{identity}")
    masks = None
    if "mask" in dataset.column_names:
        about = f"{_FORMAT}:{fingerprint}:{identity}:{json.dumps(task.labels)}"
        masks = get_or_create("masks", about, _StoredMasks, lambda folder: _write(folder, task, dataset))
    return MaskedRows(dataset, picture, masks, task.cost)


def _write(folder: Path, task: DenseTask, dataset: Dataset) -> None:
    """Class numbers of the fitted masks, one after the other, and which rows have one."""
    size = task.geometry.crop
    check_free_space(folder, len(dataset) * size[0] * size[1], "keeping masks")
    cells = dataset.with_format("arrow")[:]["mask"]
    with ExitStack() as stack:
        kinds = {"masks": np.uint8, "has": np.uint8}
        files = {name: stack.enter_context(Growing(folder / f"{name}.npy", kind)) for name, kind in kinds.items()}
        for cell in cells:
            value = cell.as_py()
            files["has"].append(np.array([value is not None]))
            if value is not None:
                files["masks"].append(fit_mask(Mask.from_json(value).pixels(task.labels), size).reshape(-1))
    for name in kinds:
        fsync_file(folder / f"{name}.npy")
    write_json(folder / "about.json", {"rows": len(dataset), "size": list(size)})


class _StoredMasks:
    """Masks by row number, uint8 (H, W); None for a row without."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self._masks, self._has = open_array(folder / "masks.npy"), open_array(folder / "has.npy")
        self._size = tuple(about["size"])
        self._place_N = np.cumsum(self._has) - 1
        if len(self._has) != about["rows"] or len(self._masks) != int(self._has.sum()) * self._size[0] * self._size[1]:
            raise ValueError(f"{folder} is incomplete")

    def __getitem__(self, index: int) -> np.ndarray | None:
        if not self._has[index]:
            return None
        area = self._size[0] * self._size[1]
        place = int(self._place_N[index])
        return np.array(self._masks[place * area : (place + 1) * area]).reshape(self._size)


class MaskedRows:
    """Fitted pictures uint8 (H, W, 3) by number, their targets the fitted masks (H, W)."""

    def __init__(
        self, dataset: Dataset, picture: Callable[[int], np.ndarray], masks: _StoredMasks | None, cost: int
    ) -> None:
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._sizes_N2 = _own_sizes(dataset)
        self._picture, self._masks = picture, masks
        self.lengths_N = np.full(len(dataset), cost, dtype=np.int64)
        self.ledger: dict[str, Any] = {"rows": len(dataset), "pieces": len(dataset)}

    def __len__(self) -> int:
        return len(self.lengths_N)

    def __getitem__(self, index: int) -> Encoded:
        target = None if self._masks is None else self._masks[index]
        arrays = {"pixels": self._picture(index), OWN: self._sizes_N2[index]}
        return Encoded(self._ids[index].as_py(), arrays, int(self.lengths_N[index]), target)


def _own_sizes(dataset: Dataset) -> np.ndarray:
    """Height and width of each row's mask, or of its picture where it has none, (N, 2)."""
    sizes_N2 = np.stack([np.array(dataset["height"]), np.array(dataset["width"])], axis=1)
    if "mask" in dataset.column_names:
        for place, cell in enumerate(dataset["mask"]):
            if cell is not None:
                sizes_N2[place] = cell["size"]
    return sizes_N2
