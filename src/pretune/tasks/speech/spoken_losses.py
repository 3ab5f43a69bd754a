"""What is learned of frames that are said: the frames, the end, and attention that goes on (Shen et al. 2018, arXiv 1712.05884, section 2.2;
guided attention: Tachibana et al. 2018, arXiv 1710.08969, section 4.1).

Shapes: B rows, F frames, M mel bands. What a model says of a frame is 2 M + 2 numbers: the frame before and behind the post-net, the logit
of "this step is the last", and how far attention is off the diagonal.
"""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["frames_apart", "spoken_losses", "taught_losses"]

STOP_WEIGHT, LAST_WEIGHT = 1.0, 5.0
"""Of "is this step the last" beside frames, and of the steps that are, which are few."""
GUIDE_WEIGHT = 5.0
"""Of attention off the diagonal."""


def frames_apart(said_BFM: torch.Tensor, true_BFM: torch.Tensor) -> torch.Tensor:
    """L1 and squared error of each frame (B, F), the mean over its bands."""
    apart_BFM = said_BFM - true_BFM
    return (apart_BFM.abs() + apart_BFM**2).mean(dim=-1)


def _inside(said: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
    """(B, F): 1 at frames of a row, 0 behind its end."""
    return (torch.arange(said.shape[1], device=said.device)[None] < frames_B[:, None]).float()


def spoken_losses(
    said: torch.Tensor, true_BFM: torch.Tensor, frames_B: torch.Tensor, step: int
) -> dict[str, torch.Tensor]:
    """Each part of the loss summed over the frames of a row (B,), times its weight; the last ``step`` frames of a row are its end."""
    bands, mask_BF = true_BFM.shape[-1], _inside(said, frames_B)
    before, after, stop_BF1, off_BF1 = said.float().split([bands, bands, 1, 1], dim=-1)
    place_BF = torch.arange(said.shape[1], device=said.device)[None]
    last_BF = (place_BF >= frames_B[:, None] - step).float()
    ends_BF = functional.binary_cross_entropy_with_logits(
        stop_BF1[..., 0], last_BF, reduction="none", pos_weight=torch.tensor(LAST_WEIGHT, device=said.device)
    )
    return {
        "frames": ((frames_apart(before, true_BFM) + frames_apart(after, true_BFM)) * mask_BF).sum(dim=1),
        "stop": STOP_WEIGHT * (ends_BF * mask_BF).sum(dim=1),
        "attention": GUIDE_WEIGHT * (off_BF1[..., 0] * mask_BF).sum(dim=1),
    }


def taught_losses(said: torch.Tensor, teachers: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
    """(B,) how far frames and ends are from those of a teacher that was told the same true frames, and attention off the diagonal, summed over
    the frames of a row.
    """
    bands = (said.shape[-1] - 2) // 2
    teacher_BFM = teachers[..., bands : 2 * bands].float()
    before, after = said[..., : 2 * bands].float().split(bands, dim=-1)
    ends_BF = functional.binary_cross_entropy_with_logits(
        said[..., 2 * bands].float(), torch.sigmoid(teachers[..., 2 * bands].float()), reduction="none"
    )
    off_BF = GUIDE_WEIGHT * said[..., 2 * bands + 1].float()
    return (
        (frames_apart(before, teacher_BFM) + frames_apart(after, teacher_BFM) + ends_BF + off_BF)
        * _inside(said, frames_B)
    ).sum(dim=1)
