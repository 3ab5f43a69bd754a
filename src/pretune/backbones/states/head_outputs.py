"""What the heads of transformers give, as one tensor of logits."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["logits_in"]


def logits_in(output: Any) -> torch.Tensor:
    """The logits; of a head that tells where an answer starts and ends, both side by side: (B, T, 2); of one that answers with boxes
    (B, Q, 4) behind these: (B, Q, 4 + K).
    """
    start_BT, boxes_BQ4 = getattr(output, "start_logits", None), getattr(output, "pred_boxes", None)
    if start_BT is not None:
        return torch.stack((start_BT, output.end_logits), dim=-1)
    return output.logits if boxes_BQ4 is None else torch.cat([boxes_BQ4, output.logits], dim=-1)
