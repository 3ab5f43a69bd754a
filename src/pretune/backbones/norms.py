"""Batch norm that was converted with its momentum the wrong way round."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["mend_batch_norm"]

MOMENTUM = 0.01


def mend_batch_norm(model: nn.Module) -> int:
    """Let running statistics move slowly in norms that would replace them with each batch's; returns how many there were.

    TensorFlow's momentum is the share that stays, PyTorch's the share that is new. transformers' MobileNets carry 0.997
    over, so that after fine-tuning the model predicts with the statistics of its last batch.
    """
    wrong = [module for module in model.modules() if isinstance(module, _BatchNorm) and (module.momentum or 0.0) > 0.5]
    for module in wrong:
        module.momentum = MOMENTUM
    return len(wrong)
