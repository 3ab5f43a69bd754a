"""What a trained model makes of a row: the numbers that its last layer reads, the same for every kind of task whose answer is one pass.

Shapes: M items (windows of long rows), B items of a batch, F features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.linear import terms_layer
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.tasks.base import Task
from pretune.tasks.inputs.row_task import RowTask
from pretune.tasks.predicting import BUDGET_TOKENS
from pretune.tasks.probes import by_row
from pretune.tasks.protocols import EncodedRows

__all__ = ["own_features"]

_LAST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def own_features(task: Task, model: nn.Module, rows: EncodedRows, device: Device) -> np.ndarray | None:
    """What the last layer of ``model`` reads of each row, (N, F) float32, the mean over places and windows; None for a model of terms (its
    features are the words) and for one that no layer of torch answers for.
    """
    if terms_layer(model) is not None:
        return None
    layer = _last_layer(task, model, rows, device)
    return None if layer is None else by_row(_read(task, model, layer, rows, device), rows)


def _outputs(task: Task, model: nn.Module, rows: EncodedRows, places: Any, device: Device) -> None:
    batch = task.collate([rows[int(place)] for place in places]).to(device.device)
    with inference(device):
        task.outputs(model, batch)


def _last_layer(task: Task, model: nn.Module, rows: EncodedRows, device: Device) -> nn.Module | None:
    """The layer that runs last, found by trying."""
    ran: list[nn.Module] = []
    layers = [one for one in model.modules() if isinstance(one, _LAST_LAYERS)]
    handles = [one.register_forward_hook(lambda layer, _inputs, _output: ran.append(layer)) for one in layers]
    with evaluating(model):
        _outputs(task, model, rows, [0], device)
    for handle in handles:
        handle.remove()
    return ran[-1] if ran else None


def _read(task: Task, model: nn.Module, layer: nn.Module, rows: EncodedRows, device: Device) -> np.ndarray:
    """(M, F): one vector a row is read in batches; where there is one a place, rows go alone, so that no padding is in the mean."""
    alone = not isinstance(task, RowTask) or task.runs_in_parts
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    held: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda *told: held.append(told[1][0]))
    try:
        with evaluating(model):
            for places in cut_by_budget(rows.lengths_N, max_cost=BUDGET_TOKENS, max_rows=1 if alone else 2**31):
                _outputs(task, model, rows, places, device)
                values = _pooled(layer, held.pop(), len(places))
                held.clear()
                for place, values_F in zip(places, values, strict=True):
                    found[int(place)] = values_F
    finally:
        handle.remove()
    return np.stack(found)


def _pooled(layer: nn.Module, values: torch.Tensor, items: int) -> np.ndarray:
    """(B, F): the mean over all places but the channels, which convolutions have second and linear layers last."""
    channels_last = isinstance(layer, nn.Linear)
    moved = values if channels_last else values.movedim(1, -1)
    return moved.float().reshape(items, -1, moved.shape[-1]).mean(dim=1).cpu().numpy()
