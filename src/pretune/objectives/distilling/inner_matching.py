"""A student's inner states held against its teacher's: hidden states by a map of layers, and the relations of the last attention.

Shapes: B rows, T positions, H width, R relation heads, D numbers of a position's inner states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from pretune.objectives.two_views import seeded_heads

__all__ = ["InnerLosses", "InnerMatching", "hidden_distance", "layer_map", "relation_distance", "relation_heads"]


def layer_map(student: int, teacher: int) -> tuple[tuple[int, int], ...]:
    """Pairs of levels (student's, teacher's), the embeddings (0) among them: the uniform map of Jiao et al. 2020 (TinyBERT,
    arXiv 1909.10351, section 3.1), rounded where the teacher's layers are no multiple of the student's.
    """
    return tuple((level, round(level * teacher / student)) for level in range(student + 1))


def relation_heads(student_width: int, student_heads: int, teacher_width: int, teacher_heads: int) -> int:
    """As many heads as both have; else the most, up to the fewer of both, that cut both widths evenly (queries of all heads
    are cut anew: Wang et al. 2021, MiniLMv2, arXiv 2012.15828, section 3.1).
    """
    most = min(student_heads, teacher_heads)
    return max(count for count in range(1, most + 1) if student_width % count == teacher_width % count == 0)


def hidden_distance(student_BTH: torch.Tensor, teacher_BTH: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """(B,) squared error over the teacher's mean square, on a row's real positions: 1 for a student that says 0.

    The plain squared error (TinyBERT, equation 8) where states have variance 1, as behind BERT's norms; in models whose
    norms come first their size grows from layer to layer.
    """
    weights_BT1 = mask_BT[..., None].float()
    student, teacher = student_BTH.float(), teacher_BTH.float()
    error_B = ((student - teacher).square() * weights_BT1).sum(dim=(1, 2))
    return error_B / (teacher.square() * weights_BT1).sum(dim=(1, 2)).clamp(min=1e-6)


def _relations(one_BTH: torch.Tensor, other_BTH: torch.Tensor, heads: int, mask_BT: torch.Tensor) -> torch.Tensor:
    """Logarithms of scaled dot products, normalised over real positions: (B, R, T, T)."""
    rows, positions, width = one_BTH.shape
    one, other = (
        part.float().view(rows, positions, heads, width // heads).transpose(1, 2) for part in (one_BTH, other_BTH)
    )
    scores = one @ other.transpose(2, 3) / math.sqrt(width / heads)
    hidden = ~mask_BT.bool()[:, None, None, :]
    return torch.log_softmax(scores.float().masked_fill(hidden, torch.finfo(torch.float32).min), dim=-1)


def relation_distance(
    student: tuple[torch.Tensor, torch.Tensor],
    teacher: tuple[torch.Tensor, torch.Tensor],
    heads: int,
    mask_BT: torch.Tensor,
) -> torch.Tensor:
    """(B,) KL of the student's relations from the teacher's, the mean over heads and a row's real positions.

    The relations of queries with keys are the attention itself, those of values with values what it mixes (Wang et al. 2020,
    MiniLM, arXiv 2002.10957, sections 3.1 and 3.2).
    """
    said = _relations(*teacher, heads, mask_BT)
    apart_BRT = (said.exp() * (said - _relations(*student, heads, mask_BT))).sum(dim=-1)
    weights_BT = mask_BT.float()
    return (apart_BRT.mean(dim=1) * weights_BT).sum(dim=1) / weights_BT.sum(dim=1).clamp(min=1)


class InnerLosses(NamedTuple):
    """(B,) of each row, the mean over pairs of levels and over both relations; None where it is not asked for."""

    hidden: torch.Tensor | None
    attention: torch.Tensor | None


class InnerMatching(nn.Module):
    """What is held against what. ``pairs`` are levels (student's, teacher's); ``heads`` of the relations, 0 for none.

    Where the widths differ, a projection for each pair, learned with the student, makes its states as wide as the teacher's.
    """

    def __init__(
        self, pairs: Sequence[tuple[int, int]], heads: int, *, student_width: int, teacher_width: int, seed: int
    ) -> None:
        super().__init__()
        self.pairs, self.heads = tuple(pairs), heads
        self.teacher_width = teacher_width
        self.projections = nn.ModuleList()
        if student_width != teacher_width:
            made = seeded_heads(
                seed, lambda: nn.ModuleList(nn.Linear(student_width, teacher_width, bias=False) for _ in pairs)
            )
            self.projections.extend(made)  # type: ignore[arg-type]

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of the loss."""
        return (*(("hidden",) if self.pairs else ()), *(("attention",) if self.heads else ()))

    def forward(
        self, student: Sequence[torch.Tensor], teacher_BTD: torch.Tensor, mask_BT: torch.Tensor | None
    ) -> InnerLosses:
        """``student``: states (B, T, H) of its levels, then query, key and value; ``teacher_BTD``: those of the teacher side by side."""
        if mask_BT is None:
            mask_BT = torch.ones(teacher_BTD.shape[:2], device=teacher_BTD.device)
        count = len(self.pairs)
        edges = [self.teacher_width] * count
        rest = teacher_BTD.shape[-1] - sum(edges)
        teacher = teacher_BTD.split([*edges, *([rest // 3] * 3 if self.heads else [])], dim=-1)
        hidden = attention = None
        if count:
            wide = [self.projections[i](one) for i, one in enumerate(student[:count])] if self.projections else student
            apart = [hidden_distance(wide[i], teacher[i], mask_BT) for i in range(count)]
            hidden = torch.stack(apart).mean(dim=0)
        if self.heads:
            own, others = student[count:], teacher[count:]
            both = [
                relation_distance((own[i], own[j]), (others[i], others[j]), self.heads, mask_BT)
                for i, j in ((0, 1), (2, 2))
            ]
            attention = torch.stack(both).mean(dim=0)
        return InnerLosses(hidden, attention)
