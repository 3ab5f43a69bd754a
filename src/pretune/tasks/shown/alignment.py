"""How attention goes through the letters of a text while it is said: what learning is guided by, and what finds a bad clip without ears.

Shapes: B rows, L letters, S decoder steps, F frames.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["GUIDE_WIDTH", "aligned", "attended", "off_diagonal"]

GUIDE_WIDTH = 0.3
"""Of the diagonal that attention is guided along (g is 0.2 in Tachibana et al. 2018, arXiv 1710.08969, section 4.1; texts here are shorter)."""
_COVERED = 0.3
"""A letter was said that got so much attention over all steps: about a step's, of the steps that say several letters."""

_NO_WEIGHT = 1e-9


def off_diagonal(steps_B: torch.Tensor, letters_B: torch.Tensor, attention_BSL: torch.Tensor) -> torch.Tensor:
    """What attention costs at each place (B, S, L): 0 on the diagonal, 1 far from it, 0 behind a row's end."""
    step_S = torch.arange(attention_BSL.shape[1], device=steps_B.device)
    letter_L = torch.arange(attention_BSL.shape[2], device=steps_B.device)
    through_BS = step_S[None] / steps_B.clamp(min=1)[:, None]
    place_BL = letter_L[None] / letters_B.clamp(min=1)[:, None]
    cost_BSL = 1 - torch.exp(-((through_BS[:, :, None] - place_BL[:, None]) ** 2) / (2 * GUIDE_WIDTH**2))
    real_BSL = (step_S[None] < steps_B[:, None])[:, :, None] & (letter_L[None] < letters_B[:, None])[:, None]
    return cost_BSL * real_BSL


def attended(attention_SL: np.ndarray) -> dict[str, float]:
    """``letters`` and how many of them were ``covered``, ``steps`` and how many of them do not go back (``monotone``), ``peaks``: the
    sum of the steps' largest weights, ``skipped`` and ``repeated``: letters that were passed over, and steps that go back by two or more.
    """
    steps, letters = attention_SL.shape
    way_S = attention_SL.argmax(axis=1)
    forward = np.diff(way_S)
    covered = int((attention_SL.sum(axis=0) >= _COVERED).sum())
    return {
        "letters": letters, "covered": covered, "skipped": letters - covered, "steps": steps,
        "monotone": 1 + int((forward >= 0).sum()), "repeated": int((forward <= -2).sum()),
        "peaks": round(float(attention_SL.max(axis=1).sum()), 4),
    }  # fmt: skip


def aligned(attention_FL: np.ndarray) -> np.ndarray | None:
    """The letter (F,) of each frame, going on by none or one from the first to the last: of all such ways the one with the greatest product of
    weights (monotonic alignment search: Kim et al. 2020, arXiv 2005.11129, section 3.2). None where there are more letters than frames.
    """
    frames, letters = attention_FL.shape
    if letters > frames:
        return None
    logs_FL = np.log(np.maximum(attention_FL.astype(np.float64), _NO_WEIGHT))
    best_L = np.full(letters, -np.inf)
    best_L[0] = logs_FL[0, 0]
    went_on_FL = np.zeros((frames, letters), dtype=bool)
    for frame in range(1, frames):
        before_L = np.concatenate([[-np.inf], best_L[:-1]])
        went_on_FL[frame] = before_L > best_L
        best_L = np.maximum(best_L, before_L) + logs_FL[frame]
    way_F = np.empty(frames, dtype=np.int64)
    letter = letters - 1
    for frame in range(frames - 1, -1, -1):
        way_F[frame] = letter
        letter -= int(went_on_FL[frame, letter])
    return way_F
