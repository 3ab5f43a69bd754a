"""What a student that learns without labels is told of its teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pretune.backbones.cpu.fast import make_fast
from pretune.config import PretrainingSettings
from pretune.objectives.distilling.distil import HARD_WEIGHT, TEMPERATURE
from pretune.options import option

__all__ = ["TaughtSettings", "at_rest"]


@dataclass(frozen=True, kw_only=True)
class TaughtSettings(PretrainingSettings):
    """How a student is pre-trained by a teacher: see ``pretune distill``."""

    teacher: str = option(help="folder of the pre-trained model that teaches")
    temperature: float = option(TEMPERATURE, "softens both answers", low=0.1)
    hard_weight: float = option(HARD_WEIGHT, "share of the right answers in the loss", low=0.0, high=1.0)
    hidden: bool = option(True, "compare hidden states")
    attention: bool = option(True, "compare what the last layers attend to")


def at_rest(model: torch.nn.Module) -> torch.nn.Module:
    """The teacher's model as it is run: it learns nothing, and is arranged for a processor where it runs on one."""
    if not torch.cuda.is_available():
        make_fast(model)
    return model.eval().requires_grad_(False)
