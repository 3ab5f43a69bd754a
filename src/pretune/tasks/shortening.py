"""Where a task's answer reads the first position alone, the last layer learns by that position alone."""

from __future__ import annotations

import torch

from pretune.backbones.adaptation.modes import evaluating
from pretune.backbones.cpu.layer import shorten_last_layer
from pretune.backbones.states.head_outputs import logits_in
from pretune.engine.devices import Device
from pretune.tasks.protocols import EncodedRows, Learnable

__all__ = ["shorten"]

_TRIED_ROWS = 4


def shorten(task: Learnable, model: torch.nn.Module, rows: EncodedRows, device: Device) -> bool:
    """Try :func:`~pretune.backbones.cpu.layer.shorten_last_layer` on a few of the rows; the model's mode is kept."""
    batch = task.collate([rows[i] for i in range(min(_TRIED_ROWS, len(rows)))]).to(device.device)

    def forward() -> torch.Tensor:
        with device.arithmetic():
            return logits_in(model(**batch.inputs)).detach().float()

    with evaluating(model):
        return shorten_last_layer(model, forward)
