"""How far a student's answers are from a teacher's, both softened by a temperature.

Shapes: B rows, C classes; the last axis is that of the classes.
"""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["softened_divergence", "softened_divergence_of_several"]


def softened_divergence(logits: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) over the last axis: (..., C) to (...).

    The square keeps the size of the gradient that of temperature 1 (Hinton et al. 2015, arXiv 1503.02531, section 2).
    """
    student = torch.log_softmax(logits.float() / temperature, dim=-1)
    teacher = torch.log_softmax(teachers.float() / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=-1)


def softened_divergence_of_several(logits: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
    """The same where every class is a yes or no of its own, the mean over the classes: (..., C) to (...)."""
    student, teacher = logits.float() / temperature, teachers.float() / temperature
    yes = functional.logsigmoid(teacher) - functional.logsigmoid(student)
    no = functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
    chance = torch.sigmoid(teacher)
    return temperature**2 * (chance * yes + (1 - chance) * no).mean(dim=-1)
