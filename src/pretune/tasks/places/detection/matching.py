"""Which query is to find which box, and how far boxes lie apart (DETR: Carion et al. 2020, arXiv 2005.12872, section 3.1).

Boxes are (middle x, middle y, width, height) in shares of the canvas. Shapes: Q queries of a picture, M boxes, C classes, K = C or C + 1
logits with "nothing" last, N pairs of one query and one box.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch.nn import functional

from pretune.types import in_double

__all__ = ["Criterion", "class_losses", "corners", "generous_overlap", "matched", "pairs_of_costs"]

_TINY, _FAR = 1e-8, 1e9


class Criterion(NamedTuple):
    """How a family matches and learns. Of class, sides and overlap: what a miss costs where queries are matched (``costs``), and what it
    weighs in the loss (``weights``). ``unsure`` is what "nothing" weighs by softmax (DETR, section 3.1); None: sigmoids, whose
    focal cost has ``alpha`` and ``gamma``, and whose loss ``loss_alpha`` and ``loss_gamma``, of RT-DETR ``varifocal``.
    """

    costs: tuple[float, float, float] = (1.0, 5.0, 2.0)
    weights: tuple[float, float, float] = (1.0, 5.0, 2.0)
    unsure: float | None = None
    alpha: float = 0.25
    gamma: float = 2.0
    loss_alpha: float = 0.25
    loss_gamma: float = 2.0
    varifocal: bool = False

    @classmethod
    def of(cls, config: Any, *, softmax: bool) -> Self:
        """What the model's own config says, by the names of transformers."""
        if hasattr(config, "matcher_class_cost"):
            return cls(
                (config.matcher_class_cost, config.matcher_bbox_cost, config.matcher_giou_cost),
                (config.weight_loss_vfl, config.weight_loss_bbox, config.weight_loss_giou),
                None, config.matcher_alpha, config.matcher_gamma, config.focal_loss_alpha, config.focal_loss_gamma, True,
            )  # fmt: skip
        costs = (config.class_cost, config.bbox_cost, config.giou_cost)
        weights = (
            getattr(config, "cls_loss_coefficient", 1.0),
            config.bbox_loss_coefficient,
            config.giou_loss_coefficient,
        )
        if softmax:
            return cls(costs, (1.0, *weights[1:]), config.eos_coefficient)
        return cls(costs, weights, loss_alpha=config.focal_alpha)


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) left, top, right and bottom of boxes told by their middles."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def generous_overlap(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of boxes (..., 4) that are paired: intersection over union, and the same less the share of the box around both that neither fills
    (Rezatofighi et al. 2019, arXiv 1902.09630, algorithm 1).
    """
    one, other = corners(one), corners(other)
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    shared = _area((high - low).clamp(min=0.0))
    union = _area(one[..., 2:] - one[..., :2]) + _area(other[..., 2:] - other[..., :2]) - shared
    around = _area(torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2]))
    overlap = shared / union.clamp(min=_TINY)
    return overlap, overlap - (around - union) / around.clamp(min=_TINY)


def _area(sides: torch.Tensor) -> torch.Tensor:
    return sides[..., 0] * sides[..., 1]


@torch.no_grad()
def matched(said_QK: torch.Tensor, boxes_M4: torch.Tensor, classes_M: torch.Tensor, by: Criterion) -> torch.Tensor:
    """(2, N) the query and the box of each pair of the cheapest matching: as many pairs as there are boxes, or queries if these are fewer.
    ``said_QK`` is (Q, 4 + K).
    """
    boxes_QM4, targets_QM4 = said_QK[:, None, :4], boxes_M4[None]
    if by.unsure is not None:
        named_QM = -torch.softmax(said_QK[:, 4:], dim=-1)[:, classes_M]
    else:
        sure_QM = torch.sigmoid(said_QK[:, 4:])[:, classes_M]
        yes_QM = by.alpha * (1 - sure_QM) ** by.gamma * -(sure_QM + _TINY).log()
        no_QM = (1 - by.alpha) * sure_QM**by.gamma * -(1 - sure_QM + _TINY).log()
        named_QM = yes_QM - no_QM
    apart_QM = (boxes_QM4 - targets_QM4).abs().sum(dim=-1)
    _, generous_QM = generous_overlap(*torch.broadcast_tensors(boxes_QM4, targets_QM4))
    return pairs_of_costs(by.costs[0] * named_QM + by.costs[1] * apart_QM - by.costs[2] * generous_QM)


def pairs_of_costs(costs_QM: torch.Tensor) -> torch.Tensor:
    """(2, N) the pairs that cost least together (Kuhn 1955). What is no number is matched last."""
    from scipy.optimize import linear_sum_assignment

    costs = torch.nan_to_num(in_double(costs_QM), nan=_FAR, posinf=_FAR, neginf=_FAR).cpu().numpy()
    return torch.from_numpy(np.stack(linear_sum_assignment(costs))).to(costs_QM.device)


def class_losses(
    logits_QK: torch.Tensor, classes_Q: torch.Tensor, overlaps_Q: torch.Tensor, counts_Q: torch.Tensor, by: Criterion
) -> torch.Tensor:
    """(Q,) the loss of each query that ``counts_Q``, of the class that it is to name (the number of classes for "nothing") with a box that
    overlaps its own by ``overlaps_Q``: cross entropy, weighed, whose sum is its mean; focal loss (Lin et al. 2017, arXiv 1708.02002,
    equation 5); or varifocal loss, which learns the overlap itself (Zhang et al. 2021, arXiv 2008.13367, equation 2).
    """
    if by.unsure is not None:
        is_nothing_Q = classes_Q == logits_QK.shape[1] - 1
        weights_Q = torch.where(is_nothing_Q, by.unsure, 1.0) * counts_Q
        return (
            functional.cross_entropy(logits_QK, classes_Q, reduction="none")
            * weights_Q
            / weights_Q.sum().clamp(min=_TINY)
        )
    named_QK = functional.one_hot(classes_Q, logits_QK.shape[1] + 1)[:, :-1].to(logits_QK.dtype)
    sure_QK = torch.sigmoid(logits_QK)
    if by.varifocal:
        target_QK = named_QK * overlaps_Q[:, None]
        weights_QK = by.loss_alpha * sure_QK.detach() ** by.loss_gamma * (1 - named_QK) + target_QK
    else:
        target_QK = named_QK
        missed_QK = torch.where(named_QK > 0, 1 - sure_QK, sure_QK)
        weights_QK = torch.where(named_QK > 0, by.loss_alpha, 1 - by.loss_alpha) * missed_QK**by.loss_gamma
    each_QK = functional.binary_cross_entropy_with_logits(logits_QK, target_QK, reduction="none")
    return (weights_QK * each_QK).sum(dim=1) * counts_Q
