"""What a model's features know before anything is learned: a linear classifier and nearest neighbours on them.

A linear probe (Alain & Bengio 2017, arXiv 1610.01644) and weighted nearest neighbours (Wu et al. 2018, arXiv 1805.01978,
section 3.4). Shapes: N rows, F features, C classes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pretune.backbones.store import open_array
from pretune.backbones.trunk import Trunk
from pretune.cache import made_once
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device
from pretune.files import fsync_file
from pretune.metrics.base import Measured
from pretune.tasks.base import EncodedRows, Task
from pretune.tasks.baseline_parts import KnownLabels, majority
from pretune.tasks.feature_baselines import logistic_probabilities
from pretune.tasks.trunk_rows import trunk_outputs

__all__ = ["features_of", "probe_measured"]

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
    about = json.dumps([task.to_dict(), task.inputs_identity()], sort_keys=True)
    name = f"{_FORMAT}:{fingerprint}:{whole.identity()}:{about}:{device.precision}"
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


def probe_measured(
    train_NF: np.ndarray, rows_NF: np.ndarray, known: KnownLabels, *, neighbours: int
) -> dict[str, Measured]:
    """What is guessed of ``rows_NF``, measured: ``linear``, ``neighbours``, and ``majority`` to hold them against. Where rows may have
    several labels, the first two ask for each label by itself (one against the rest).
    """
    linear_NC = logistic_probabilities(train_NF, known.train, rows_NF, known.num_classes, _STRENGTH, _PASSES)
    votes_NC = _votes(train_NF, rows_NF, known, neighbours)
    found = {"linear": linear_NC, "neighbours": votes_NC, "majority": majority(known)}
    return {name: known.score(probabilities_NC, known.truth) for name, probabilities_NC in found.items()}


def _votes(train_NF: np.ndarray, rows_NF: np.ndarray, known: KnownLabels, neighbours: int) -> np.ndarray:
    """Shares (N, C) of the nearest training rows' votes, by cosine after centring, nearer ones weighing more."""
    from sklearn.neighbors import NearestNeighbors

    def turned(features_NF: np.ndarray) -> np.ndarray:
        centred_NF = features_NF - train_NF.mean(axis=0)
        return centred_NF / np.maximum(np.linalg.norm(centred_NF, axis=1, keepdims=True), 1e-12)

    model = NearestNeighbors(n_neighbors=min(neighbours, len(train_NF))).fit(turned(train_NF))
    apart_NK, nearest_NK = model.kneighbors(turned(rows_NF))
    weights_NK = np.exp(-(apart_NK**2) / 2 / _SHARPNESS)  # of unit vectors: the cosine, but for a constant
    is_several = known.train.ndim == 2
    votes_MC = known.train.astype(float) if is_several else np.eye(known.num_classes)[known.train]
    shares_NK = weights_NK / weights_NK.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", shares_NK, votes_MC[nearest_NK])
