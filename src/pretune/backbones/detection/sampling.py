"""Which anchors and regions a two-stage detector learns by: a few of each picture, drawn by luck that its row brings with it.

Shapes: B pictures, A anchors, P regions, M boxes (rows are filled up with boxes that count for nothing), C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from pretune.backbones.detection.anchors import BACKGROUND, IGNORED

__all__ = ["REGIONS", "Truth", "drawn_anchors", "match_places", "sampled_places"]

ANCHORS, POSITIVE_ANCHORS = 256, 128
REGIONS, POSITIVE_REGIONS = 64, 16
"""Anchors and regions of a picture that are learned by, and how many of them may find something (Ren et al. 2015, arXiv 1506.01497,
section 3.1.3; a quarter: Girshick 2015, arXiv 1504.08083, section 2.3)."""
_OVERLAP = 0.5


class Truth(NamedTuple):
    """What is to be found: boxes (B, M, 4), their classes (B, M) counted from 1, 0 for one that counts for nothing and -1 for none; and
    the luck of each region (B, P) and of each box that is looked at as a region too (B, M), numbers in [0, 1).
    """

    boxes_BM4: torch.Tensor
    classes_BM: torch.Tensor
    luck_BP: torch.Tensor
    luck_BM: torch.Tensor


def drawn_anchors(classes_A: torch.Tensor, luck_A: torch.Tensor) -> torch.Tensor:
    """Classes of anchors (A,) with only those kept that are learned by, the luckiest; the others are ignored."""
    finds_A = classes_A > BACKGROUND
    chosen_A = _luckiest(finds_A, luck_A, POSITIVE_ANCHORS)
    rest = ANCHORS - int(chosen_A.sum())
    chosen_A = chosen_A | _luckiest(classes_A == BACKGROUND, luck_A, rest)
    return torch.where(chosen_A, classes_A, torch.tensor(IGNORED))


def _luckiest(able_A: torch.Tensor, luck_A: torch.Tensor, count: int) -> torch.Tensor:
    chosen_A = torch.zeros_like(able_A)
    places = able_A.nonzero()[:, 0]
    chosen_A[places[luck_A[places].argsort(stable=True)[:count]]] = True
    return chosen_A


def match_places(places_BP4: torch.Tensor, truth: Truth) -> tuple[torch.Tensor, torch.Tensor]:
    """The class that each region is to find, (B, P) with 0 for background and -1 for what may find what it likes, and the number of its
    box: the one that it overlaps most, by half at least.
    """
    overlap_BPM = overlaps(places_BP4, truth.boxes_BM4)
    overlap_BPM = torch.where(truth.classes_BM[:, None] >= 0, overlap_BPM, -1.0)
    best_BP, number_BP = overlap_BPM.max(dim=2)
    found_BP = truth.classes_BM.gather(1, number_BP)
    found_BP = torch.where(found_BP > 0, found_BP, IGNORED)  # set aside
    return torch.where(best_BP >= _OVERLAP, found_BP, BACKGROUND), number_BP


def overlaps(one_BP4: torch.Tensor, other_BM4: torch.Tensor) -> torch.Tensor:
    """(B, P, M) intersection over union; 0 for boxes of no area."""
    low = torch.maximum(one_BP4[:, :, None, :2], other_BM4[:, None, :, :2])
    high = torch.minimum(one_BP4[:, :, None, 2:], other_BM4[:, None, :, 2:])
    shared_BPM = (high - low).clamp(min=0.0).prod(dim=-1)
    areas_BP, areas_BM = ((one[..., 2:] - one[..., :2]).prod(dim=-1) for one in (one_BP4, other_BM4))
    return shared_BPM / (areas_BP[:, :, None] + areas_BM[:, None, :] - shared_BPM).clamp(min=1e-6)


def sampled_places(places_BP4: torch.Tensor, truth: Truth) -> torch.Tensor:
    """(B, S, 4) the luckiest of the regions and the true boxes: some that find something, then some of background, then what is left."""
    count = min(REGIONS, places_BP4.shape[1])
    classes_BP, _ = match_places(places_BP4, truth)
    is_box_BM = truth.classes_BM > BACKGROUND
    classes_BQ = torch.cat([classes_BP, torch.where(is_box_BM, truth.classes_BM, IGNORED)], dim=1)
    luck_BQ = torch.cat([truth.luck_BP, truth.luck_BM], dim=1)
    both_BQ4 = torch.cat([places_BP4, truth.boxes_BM4], dim=1)
    finds_BQ = classes_BQ > BACKGROUND
    order_BQ = torch.where(finds_BQ, luck_BQ, 2.0).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    first_BQ = finds_BQ & (order_BQ < POSITIVE_REGIONS)
    turn_BQ = torch.where(first_BQ, 0.0, torch.where(classes_BQ == BACKGROUND, 1.0, torch.where(finds_BQ, 2.0, 3.0)))
    chosen_BS = (turn_BQ + luck_BQ).argsort(dim=1, stable=True)[:, :count]
    return both_BQ4.gather(1, chosen_BS[..., None].expand(-1, -1, 4))
