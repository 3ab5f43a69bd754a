"""Batch norms that were converted from another library: their momentum the wrong way round, or without statistics."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["StillBatchNorm2d", "mend_batch_norms"]

MOMENTUM, FRESH_MOMENTUM = 0.01, 0.1
"""Of trained statistics, which should move little, and of fresh ones: at 0.01 a fifth of their first values is left after 160 updates."""


class StillBatchNorm2d(nn.BatchNorm2d):
    """A norm that scales by what it holds and never by a batch's own statistics, in training mode neither."""

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode."""
        return super().train(False)


def mend_batch_norms(model: nn.Module, *, fresh: bool = False) -> None:
    """Let running statistics move slowly in norms that would replace them with each batch's, and keep norms still that hold none.

    TensorFlow's momentum is the share that stays, PyTorch's the share that is new. transformers' MobileNets carry 0.997
    over, so that after fine-tuning the model predicts with the statistics of its last batch. Where the norms were folded
    into the convolutions before the conversion (google/mobilenet_v1_0.25_128), a batch's own statistics would make
    another model of it: fine-tuned so, it stayed at chance (docs/decisions.md, D23).
    """
    for module in model.modules():
        if not isinstance(module, _BatchNorm):
            continue
        if (module.momentum or 0.0) > 0.5:
            module.momentum = FRESH_MOMENTUM if fresh else MOMENTUM
        if type(module) is nn.BatchNorm2d and _holds_no_statistics(module):
            module.__class__ = StillBatchNorm2d
            module.eval()


def _holds_no_statistics(norm: nn.BatchNorm2d) -> bool:
    """Were these weights learned, and the statistics never measured? Those of a fresh norm are not either, nor are its weights."""
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None or not norm.affine:
        return False
    is_untouched = not bool(mean.any()) and bool((var == var[0]).all())
    return is_untouched and bool(torch.any(norm.bias != norm.bias[0]))
