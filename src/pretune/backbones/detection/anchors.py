"""Boxes that a detector begins from: their shapes from the data, which of them is to find what, and what a model's numbers make of them.

Shapes: A anchors of a canvas, M boxes of a picture, C classes, K = C + 1 with the background first. Boxes are (left, top, right,
bottom) in pixels of the canvas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "Found",
    "anchors_on",
    "chosen_boxes",
    "decoded",
    "encoded",
    "match_anchors",
    "shapes_for",
]

BACKGROUND, IGNORED = 0, -1
"""The class of an anchor that is to find nothing, and of one that may find what it likes."""

_CODER = (10.0, 10.0, 5.0, 5.0)
MOST_LOG = math.log(1000.0 / 16)
"""Of a side's offset: a model's number beyond it would make a box of no size that is."""
_LEAST_RATIO, _MOST_RATIO, _LEAST_STEP = 1.25, 3.0, 1.3
MOST_BEFORE, MOST_BOXES, LEAST_SCORE, MOST_OVERLAP = 400, 200, 0.01, 0.45
"""Boxes of a class that are sorted out, boxes of a picture that stay, the score that they need, and how much two of a class may overlap
(SSD: Liu et al. 2016, arXiv 1512.02325, section 3.1)."""


def decoded(offsets: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 4) that lie ``offsets`` away from ``places``: torchvision's, in steps that every exporter of graphs can follow."""
    x, y, across, down = (offsets[..., side] / scale for side, scale in enumerate(_CODER))
    width, height = places[..., 2] - places[..., 0], places[..., 3] - places[..., 1]
    middle_x, middle_y = places[..., 0] + (0.5 + x) * width, places[..., 1] + (0.5 + y) * height
    half_x, half_y = across.clamp(max=MOST_LOG).exp() * width / 2, down.clamp(max=MOST_LOG).exp() * height / 2
    return torch.stack([middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y], dim=-1)


def encoded(boxes: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """How far boxes (..., 4) lie from ``places`` (Ren et al. 2015, arXiv 1506.01497, section 3.1.2); torchvision's. Not finite from a
    place of no area.
    """
    from torchvision.models.detection._utils import BoxCoder

    return BoxCoder(_CODER).encode_single(boxes.reshape(-1, 4), places.reshape(-1, 4)).reshape(boxes.shape)


def shapes_for(boxes_M4: np.ndarray, classes_M: np.ndarray, strides: Sequence[int]) -> list[list[list[float]]]:
    """Four shapes (width, height) a stride, as large as the data's boxes are: square ones of a size and between it and the next, and
    as flat and as high as a tenth of the boxes is more so (after SSD, section 2.2). Each class counts alike, however many boxes it has.
    """
    sides_M2 = np.maximum(boxes_M4[:, 2:] - boxes_M4[:, :2], 1.0)
    weights_M = 1.0 / np.bincount(classes_M)[classes_M]
    sizes_M = np.sqrt(sides_M2.prod(axis=1))
    shares = (np.arange(len(strides)) + 0.5) / len(strides)
    sizes = [_quantile(sizes_M, weights_M, share) for share in shares]
    for place in range(1, len(sizes)):
        sizes[place] = max(sizes[place], sizes[place - 1] * _LEAST_STEP)
    flat_M = np.maximum(sides_M2[:, 0] / sides_M2[:, 1], sides_M2[:, 1] / sides_M2[:, 0])
    ratio = min(_MOST_RATIO, max(_LEAST_RATIO, _quantile(flat_M, weights_M, 0.8)))
    root = math.sqrt(ratio)
    found = []
    for size, after in zip(sizes, [*sizes[1:], sizes[-1] * 1.5], strict=True):
        between = math.sqrt(size * after)
        shapes = ((size, size), (between, between), (size * root, size / root), (size / root, size * root))
        found.append([[round(width, 2), round(height, 2)] for width, height in shapes])
    return found


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value below which ``share`` of the weight lies."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[order])
    return float(values[order][min(len(values) - 1, int(np.searchsorted(upto, share * upto[-1])))])


def anchors_on(
    canvas: tuple[int, int], strides: Sequence[int], shapes: Sequence[Sequence[Sequence[float]]]
) -> torch.Tensor:
    """(A, 4) the anchors of a canvas (height, width): by stride, row, column and shape, each around the middle of its cell."""
    parts = []
    for stride, own in zip(strides, shapes, strict=True):
        rows, columns = (math.ceil(side / stride) for side in canvas)
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) * stride, (torch.arange(columns) + 0.5) * stride, indexing="ij"
        )
        middle_L2 = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
        half_S2 = torch.tensor(own, dtype=torch.float32) / 2
        parts.append(torch.cat([middle_L2 - half_S2, middle_L2 + half_S2], dim=-1).reshape(-1, 4))
    return torch.cat(parts)


def match_anchors(
    anchors_A4: torch.Tensor, boxes_M4: torch.Tensor, classes_M: torch.Tensor, aside_M: torch.Tensor, *, high: float = 0.5,
    low: float = 0.5,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The class (A,) that each anchor is to find, and the number of its box (A,): of boxes that it overlaps by ``high`` the one that it
    overlaps most, and for each box the anchor that overlaps it most (SSD, section 2.2). Below ``low`` it is background, between
    the two ignored, as it is over a box that is set aside.
    """
    from torchvision.ops import box_iou

    classes_A = torch.full((len(anchors_A4),), BACKGROUND)
    number_A = torch.zeros(len(anchors_A4), dtype=torch.long)
    if not len(boxes_M4):
        return classes_A, number_A
    overlap_MA = box_iou(boxes_M4, anchors_A4)
    best_A, number_A = overlap_MA.max(dim=0)
    classes_A = torch.where(best_A >= low, torch.tensor(IGNORED), classes_A)
    classes_A = torch.where(best_A >= high, classes_M[number_A] + 1, classes_A)
    best_M = overlap_MA.argmax(dim=1)
    for box in torch.argsort(overlap_MA.max(dim=1).values).tolist():  # the surest box has the last word
        if not aside_M[box] and float(overlap_MA[box, best_M[box]]) > 0:
            number_A[best_M[box]] = box
            classes_A[best_M[box]] = classes_M[box] + 1
    return torch.where(aside_M[number_A] & (classes_A != BACKGROUND), torch.tensor(IGNORED), classes_A), number_A


class Found(NamedTuple):
    """Boxes of one picture, the surest first: (M, 4), their scores (M,) and classes (M,), 0 the first class."""

    boxes_M4: torch.Tensor
    scores_M: torch.Tensor
    classes_M: torch.Tensor


def chosen_boxes(boxes_AC4: torch.Tensor, scores_AC: torch.Tensor, canvas: tuple[int, int]) -> Found:
    """Of boxes with a score for each class those that stay: over :data:`LEAST_SCORE`, cut to the canvas, none of a class over a surer one.

    ``boxes_AC4`` may be (A, 1, 4) where all classes share a box.
    """
    from torchvision.ops import batched_nms, clip_boxes_to_image

    count = min(MOST_BEFORE, len(scores_AC))
    top_CN, place_CN = scores_AC.t().topk(count, dim=1) if count else (scores_AC.t(), scores_AC.t().long())
    kept = top_CN > LEAST_SCORE
    classes_M = torch.arange(scores_AC.shape[1], device=scores_AC.device)[:, None].expand_as(top_CN)[kept]
    scores_M, place_M = top_CN[kept], place_CN[kept]
    own_M = classes_M if boxes_AC4.shape[1] > 1 else torch.zeros_like(classes_M)
    boxes_M4 = clip_boxes_to_image(boxes_AC4[place_M, own_M], canvas)
    is_real = ((boxes_M4[:, 2:] - boxes_M4[:, :2]) > 0).all(dim=1)
    boxes_M4, scores_M, classes_M = boxes_M4[is_real], scores_M[is_real], classes_M[is_real]
    stay = batched_nms(boxes_M4.float(), scores_M.float(), classes_M, MOST_OVERLAP)[:MOST_BOXES]
    return Found(boxes_M4[stay], scores_M[stay], classes_M[stay])
