"""What the heads of transformers give, as one tensor of logits."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["logits_in"]


def logits_in(output: Any) -> torch.Tensor:
    """The logits; of a head that tells where an answer starts and ends, both side by side: (B, T, 2)."""
    start_BT = getattr(output, "start_logits", None)
    if start_BT is None:
        return output.logits
    return torch.stack((start_BT, output.end_logits), dim=-1)
