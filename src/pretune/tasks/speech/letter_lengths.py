"""How long letters last, as a voice with attention shows it: the letter of each frame of a true clip, and what is not to be trusted.

Shapes: B rows of a batch, L letters, S decoder steps of R frames each, F = S x R frames.
"""

from __future__ import annotations

import numpy as np
import torch

from pretune.tasks.shown.alignment import aligned

__all__ = ["LEAST_WEIGHT", "UNKNOWN", "durations_of", "letters_of_frames"]

LEAST_WEIGHT = 0.5
"""Mean weight of the attention along the way through the letters, below which the way says nothing."""
UNKNOWN = -1.0
"""In place of the letters of a clip whose attention goes no clear way, or that has fewer frames than letters."""


def letters_of_frames(
    attention_BSL: torch.Tensor, frames_B: torch.Tensor, letters_B: torch.Tensor, step: int
) -> torch.Tensor:
    """(B, F) the letter of each frame by :func:`~pretune.tasks.shown.alignment.aligned`, 0 behind a row's end; :data:`UNKNOWN` throughout a
    row whose attention, along its best way, weighs less than :data:`LEAST_WEIGHT`.
    """
    weights_BFL = attention_BSL.detach().float().cpu().repeat_interleave(step, dim=1).numpy()
    found_BF = np.zeros(weights_BFL.shape[:2], dtype=np.float32)
    for row, (frames, letters) in enumerate(zip(frames_B.tolist(), letters_B.tolist(), strict=True)):
        own_FL = weights_BFL[row, :frames, :letters]
        way_F = aligned(own_FL) if frames else None
        is_clear = way_F is not None and own_FL[np.arange(frames), way_F].mean() >= LEAST_WEIGHT
        found_BF[row, :frames] = way_F if is_clear else UNKNOWN
    return torch.from_numpy(found_BF).to(attention_BSL.device)


def durations_of(letters_BF: torch.Tensor, frames_B: torch.Tensor, letters: int) -> torch.Tensor:
    """(B, L) frames of each of so many letters; 0 throughout rows that are :data:`UNKNOWN`."""
    mask_BF = (torch.arange(letters_BF.shape[1])[None] < frames_B[:, None]) & (letters_BF > UNKNOWN)
    places_BF = letters_BF.round().long().clamp(0, letters - 1)
    return torch.zeros(len(letters_BF), letters, dtype=torch.long).scatter_add_(1, places_BF, mask_BF.long())
