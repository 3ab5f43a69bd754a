"""The last layer of a classifier by itself: what it reads of each row, and logistic regression on that put into it.

Shapes: M items (windows of long rows), N rows, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.linear import terms_layer
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.tasks.linear.fit import FEW_ROWS_STRENGTH, LinearFit, fit_linear
from pretune.tasks.predicting import BUDGET_TOKENS
from pretune.tasks.protocols import EncodedRows, Learnable

if TYPE_CHECKING:
    from pretune.tasks.classes.labelling import Labelling

__all__ = ["LinearHead", "Solvable", "find_linear_head", "place", "read", "solvable", "solve"]

_TRIED_ROWS = 3


class LinearHead(NamedTuple):
    """``layer`` gives the logits of ``task`` in ``model``: a linear layer, or the weights of terms. ``learned`` is the task, or the
    task on kept outputs of a trunk.
    """

    task: Labelling
    learned: Learnable
    model: nn.Module
    layer: Any


def find_linear_head(
    task: Labelling, learned: Learnable, model: nn.Module, rows: EncodedRows, device: Device
) -> LinearHead | None:
    """The linear layer that the answers come from, found by trying: with nothing from it every class is as probable as another.

    None where there is no such layer.
    """
    terms = terms_layer(model)
    if terms is not None:
        return LinearHead(task, learned, model, terms)
    items = [rows[i] for i in range(min(_TRIED_ROWS, len(rows)))]
    ran: list[Any] = []
    layers = [one for one in model.modules() if isinstance(one, nn.Linear) and one.out_features == len(task.labels)]
    handles = [one.register_forward_hook(lambda layer, _inputs, _output: ran.append(layer)) for one in layers]

    def predicted() -> np.ndarray:
        with evaluating(model), inference(device):
            batch = learned.collate(items).to(device.device)
            return np.array([one.outputs_C for one in learned.predict(model, batch)])

    predicted()
    for handle in handles:
        handle.remove()
    if not ran or ran[-1].bias is None:
        return None
    silent = ran[-1].register_forward_hook(lambda *told: torch.zeros_like(told[-1]))
    found_MC = predicted()
    silent.remove()
    return LinearHead(task, learned, model, ran[-1]) if np.ptp(found_MC) < 1e-6 else None


def read(head: LinearHead, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None) -> Any:
    """What the layer reads of every item as it stands (not varied), float32 (M, F); of terms a sparse matrix."""
    if terms_layer(head.model) is not None:
        return _term_matrix(rows, head.layer.table.num_embeddings - 1)
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    held: list[torch.Tensor] = []
    most = 1 if head.task.runs_in_parts else 2**31
    handle = head.layer.register_forward_pre_hook(lambda *told: held.append(told[1][0]))
    try:
        with evaluating(head.model):
            for places in cut_by_budget(rows.lengths_N, max_cost=BUDGET_TOKENS, max_rows=most):
                batch = head.learned.collate([rows[int(place)] for place in places]).to(device.device)
                with inference(device):
                    head.learned.predict(head.model, batch)
                for place, values_F in zip(places, held.pop().float().cpu().numpy(), strict=True):
                    found[int(place)] = values_F
                if on_batch:
                    on_batch(len(places))
    finally:
        handle.remove()
    return np.stack(found)


def _term_matrix(rows: EncodedRows, count: int) -> Any:
    """The values of ``count`` terms in every text, (M, count), as scipy keeps what is mostly zero."""
    from scipy.sparse import csr_matrix

    items = [rows[place].arrays for place in range(len(rows))]
    starts = np.cumsum([0, *(len(one["term_ids"]) for one in items)])
    columns = np.concatenate([one["term_ids"] for one in items]) - 1
    values = np.concatenate([one["term_values"] for one in items]).astype(np.float64)
    return csr_matrix((values, columns, starts), shape=(len(items), count))


class Solvable(NamedTuple):
    """What logistic regression is given of the labelled items: features, labels and weights, units that stay together; ``has_M`` says which
    items these are.
    """

    features: Any
    labels: np.ndarray
    weights: np.ndarray
    units: np.ndarray
    has_M: np.ndarray


def solvable(head: LinearHead, rows: EncodedRows, units: Mapping[str, int], features_MF: Any) -> Solvable:
    """Items count for what they count for while learning: windows of a row share its weight, classes have theirs."""
    items = [rows[place] for place in range(len(rows))]
    targets, weights_M = head.task.targets_and_weights(items)
    has_M = np.array([item.target is not None for item in items])
    labels = targets.numpy()[has_M]
    labels = labels.astype(np.int64 if labels.ndim == 1 else np.float64)
    units_M = np.array([units[item.id] for item, has in zip(items, has_M, strict=True) if has])
    return Solvable(features_MF[has_M], labels, weights_M.numpy()[has_M], units_M, has_M)


def solve(
    head: LinearHead, rows: EncodedRows, units: Mapping[str, int], device: Device, features_MF: Any = None
) -> LinearFit:
    """Logistic regression on what the layer reads of the labelled ``rows``; ``units`` by id are those that stay together."""
    from threadpoolctl import threadpool_limits

    told = solvable(head, rows, units, read(head, rows, device) if features_MF is None else features_MF)
    with threadpool_limits(device.threads):  # as many as torch has: others would wait for each other on a busy machine
        return fit_linear(
            told.features, told.labels, told.weights, told.units, len(head.task.labels), default=FEW_ROWS_STRENGTH
        )  # fmt: skip


def place(head: LinearHead, fit: LinearFit) -> None:
    """Let the layer be what was fitted."""
    with torch.no_grad():
        if terms_layer(head.model) is not None:
            head.layer.table.weight.zero_()[1:] = torch.from_numpy(fit.weight.T)
            head.layer.bias.copy_(torch.from_numpy(fit.bias))
            return
        head.layer.weight.copy_(torch.from_numpy(fit.weight))
        head.layer.bias.copy_(torch.from_numpy(fit.bias))
