"""Running statistics of batch norms after channels went: what a pruned net adds up has another mean and variance.

To estimate them anew is most of what a cut convolutional net needs before it learns (Li et al. 2020, arXiv 2007.02491, section
3.3). While it learns they have to follow weights that move much in few updates: with MobileNetV2's hundredth an update half
of its channels cost 15 points on 244 pictures, with a tenth 4 (docs/decisions.md, D58).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretune.backbones.parts.norms import StillBatchNorm2d
from pretune.engine.devices import Device
from pretune.tasks.base import Task
from pretune.tasks.protocols import EncodedRows

__all__ = ["follow_closely", "settle_norms"]

_MOMENTUM = 0.1


def settle_norms(
    task: Task, model: nn.Module, rows: EncodedRows, chosen: Sequence[int], device: Device, *, batch_size: int = 32
) -> int:
    """Set the statistics of each batch norm to their mean over batches of the items ``chosen``; returns how many there are."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, StillBatchNorm2d)
    ]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    # Whole batches: a small last one would count as much as the others.
    whole = max(1, len(chosen) // batch_size) * batch_size
    for start in range(0, min(whole, len(chosen)), batch_size):
        batch = task.collate([rows[int(place)] for place in chosen[start : start + batch_size]]).to(device.device)
        with torch.no_grad(), device.arithmetic():
            task.logits_of(model, batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return len(norms)


def follow_closely(model: nn.Module) -> None:
    """Let the running statistics of the model's batch norms move by a tenth an update at least."""
    for norm in model.modules():
        if isinstance(norm, _BatchNorm):
            norm.momentum = max(norm.momentum or 0.0, _MOMENTUM)
