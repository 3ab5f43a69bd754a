"""What a model's features know before anything is learned: a linear classifier and nearest neighbours on them.

A linear probe (Alain & Bengio 2017, arXiv 1610.01644) and weighted nearest neighbours (Wu et al. 2018, arXiv 1805.01978,
section 3.4). Shapes: N rows, F features, C classes, K statistics.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pretune.backbones.store import open_array
from pretune.backbones.trunk import Trunk
from pretune.cache import made_once
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device
from pretune.files import fsync_file
from pretune.tasks.base import EncodedRows, Task
from pretune.tasks.classification_scores import classification_statistics
from pretune.tasks.feature_baselines import logistic_probabilities
from pretune.tasks.trunk_rows import trunk_outputs

__all__ = ["features_of", "probe_statistics"]

_BUDGET_COST = 8192
_FORMAT = 1
_SHARPNESS = 0.07
"""Temperature of the neighbours' votes (Wu et al. 2018, section 3.4)."""
_STRENGTH, _PASSES = 1.0, 300


def features_of(
    task: Task, trunk: Trunk, rows: EncodedRows, device: Device, *, fingerprint: str,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:  # fmt: skip
    """The trunk's output of each row, float32 (N, F): the mean over its positions, where it has any, and over the windows
    of a long text. Kept on disk; ``fingerprint`` names the data. Raises :class:`~pretune.errors.DiskFull`.
    """
    whole = dataclasses.replace(trunk, first_only=False)
    name = f"{_FORMAT}:{fingerprint}:{whole.identity()}:{json.dumps(task.to_dict(), sort_keys=True)}:{device.precision}"
    return made_once(
        "features",
        name,
        lambda folder: np.array(open_array(folder / "features.npy")),
        lambda folder: _write(folder, _computed(task, whole, rows, device, on_batch)),
    )


def _write(folder: Path, features_NF: np.ndarray) -> None:
    np.save(folder / "features.npy", features_NF)
    fsync_file(folder / "features.npy")


def _computed(
    task: Task, trunk: Trunk, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None
) -> np.ndarray:
    pieces: list[np.ndarray] = [np.empty(0)] * len(rows)
    for places in cut_by_budget(rows.lengths_N, max_cost=_BUDGET_COST, max_rows=2**31):
        outputs = trunk_outputs(task, trunk, [rows[int(place)] for place in places], device)
        for place, output in zip(places, outputs, strict=True):
            pieces[place] = output.reshape(len(output), -1).mean(axis=0)
        if on_batch:
            on_batch(len(places))
    by_row: dict[str, list[np.ndarray]] = {}
    for place, piece in enumerate(pieces):
        by_row.setdefault(rows[place].id, []).append(piece)
    return np.stack([np.mean(found, axis=0, dtype=np.float32) for found in by_row.values()])


def probe_statistics(
    train_NF: np.ndarray, train_y: np.ndarray, rows_NF: np.ndarray, truth_N: np.ndarray, classes: int, *, neighbours: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """Statistics (N, K) of ``rows_NF``: ``linear``, ``neighbours``, and ``majority`` to hold them against."""
    counts_C = np.bincount(train_y, minlength=classes) + 1.0
    majority_NC = np.tile(counts_C / counts_C.sum(), (len(truth_N), 1))
    found = {
        "linear": logistic_probabilities(train_NF, train_y, rows_NF, classes, _STRENGTH, _PASSES),
        "neighbours": _votes(train_NF, train_y, rows_NF, classes, neighbours),
        "majority": majority_NC,
    }
    return {name: classification_statistics(probabilities_NC, truth_N) for name, probabilities_NC in found.items()}


def _votes(train_NF: np.ndarray, y: np.ndarray, rows_NF: np.ndarray, classes: int, neighbours: int) -> np.ndarray:
    """Shares (N, C) of the nearest training rows' votes, by cosine after centring, nearer ones weighing more."""
    from sklearn.neighbors import KNeighborsClassifier

    def turned(features_NF: np.ndarray) -> np.ndarray:
        centred_NF = features_NF - train_NF.mean(axis=0)
        return centred_NF / np.maximum(np.linalg.norm(centred_NF, axis=1, keepdims=True), 1e-12)

    def weigh(distances: np.ndarray) -> np.ndarray:
        return np.exp(-(distances**2) / 2 / _SHARPNESS)  # of unit vectors: the cosine, but for a constant

    options: dict[str, Any] = {"weights": weigh}  # which the library's own types leave out
    model = KNeighborsClassifier(min(neighbours, len(train_NF)), **options)
    model.fit(turned(train_NF), y)
    shares_NC = np.zeros((len(rows_NF), classes))
    shares_NC[:, model.classes_] = model.predict_proba(turned(rows_NF))
    return shares_NC
