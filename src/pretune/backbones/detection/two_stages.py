"""Faster R-CNN's head (Ren et al. 2015, arXiv 1506.01497) on the maps of a feature pyramid: regions are proposed, then each is looked at.

Every size is fixed by the canvas, so that a picture's answer does not depend on those beside it and the whole is one graph for other
engines: the surest anchors are sorted out by their overlaps at once, as matrices, and as many regions as the config says are
looked at, whatever lies in them. Shapes: B pictures, D channels, h and w of a map, L maps, A anchors, N candidates, P regions, R = B * P,
M boxes, C classes, K = C + 1 with the background first. Boxes are (left, top, right, bottom) in pixels of the canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from pretune.backbones.detection.anchors import anchors_on, decoded
from pretune.backbones.detection.sampling import Truth, sampled_places

__all__ = ["TwoStageHead", "TwoStageOutput", "proposed_places", "stays"]

MOST_CANDIDATES, MOST_OVERLAP, ROUNDS, LEAST_SIDE_PX = 512, 0.7, 6, 1.0
"""Anchors that are sorted out, how much two regions may overlap (section 3.3 there), how long chains of overlaps may be, and how
small a region."""
CELLS, SAMPLES, WIDTH = 7, 1, 256
"""A region is read as 7 x 7 cells by two layers of this width, each cell at its middle alone: how many samples it has makes little
difference (He et al. 2017, arXiv 1703.06870, section 3), and two by two took twice as long to learn by."""


class TwoStageOutput(NamedTuple):
    """``logits`` (B, P, 8 + K): a region's place, offsets from it, a logit for the background and each class. ``regions`` (B, A, 5):
    offsets of each anchor, and the logit of something being there.
    """

    logits: torch.Tensor
    regions: torch.Tensor


class TwoStageHead(nn.Module):
    """``shapes`` are those of the anchors on the maps of each of ``strides``, as many on each; ``proposals`` regions are looked at."""

    anchors: torch.Tensor

    def __init__(
        self, width: int, num_classes: int, *, proposals: int, canvas: Sequence[int], strides: Sequence[int],
        shapes: Sequence[Sequence[Sequence[float]]],
    ) -> None:  # fmt: skip
        super().__init__()
        assert len({len(own) for own in shapes}) == 1, "one head reads all maps"
        self.canvas, self.strides, self.proposals = (canvas[0], canvas[1]), tuple(strides), proposals
        self.register_buffer("anchors", anchors_on(self.canvas, strides, shapes))
        self.shared = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.regions = nn.Conv2d(width, 5 * len(shapes[0]), 1)
        self.looks = nn.Sequential(
            nn.Flatten(), nn.Linear(width * CELLS**2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.answers = nn.Linear(WIDTH, 4 + num_classes + 1)

    def forward(self, maps: Sequence[torch.Tensor], truth: Truth | None = None) -> TwoStageOutput:
        """``maps`` (B, D, h, w), one a stride. With ``truth`` the regions are a sample of those proposed and of the true boxes, to learn by."""
        regions_BA5 = torch.cat([_by_anchor(self.regions(self.shared(one))) for one in maps], dim=1).float()
        places_BP4 = proposed_places(regions_BA5.detach(), self.anchors.float(), self.canvas, self.proposals)
        if truth is not None:
            places_BP4 = sampled_places(places_BP4, truth)
        said_RK = self.answers(self.looks(pooled(maps, places_BP4, self.strides)))
        said_BPK = said_RK.reshape(-1, places_BP4.shape[1], said_RK.shape[1]).float()
        return TwoStageOutput(torch.cat([places_BP4, said_BPK], dim=-1), regions_BA5)


def _by_anchor(one_BDhw: torch.Tensor) -> torch.Tensor:
    """(B, h * w * anchors of a cell, 5)."""
    return one_BDhw.permute(0, 2, 3, 1).reshape(len(one_BDhw), -1, 5)


def proposed_places(
    regions_BA5: torch.Tensor, anchors_A4: torch.Tensor, canvas: tuple[int, int], count: int
) -> torch.Tensor:
    """(B, P, 4) the regions that are surest to hold something and do not lie over surer ones, P = ``count`` or all there are; where
    fewer are left, some that do follow.
    """
    most = min(MOST_CANDIDATES, len(anchors_A4))
    number_BN = regions_BA5[..., 4].topk(most, dim=1).indices
    offsets_BN4 = regions_BA5[..., :4].gather(1, number_BN[..., None].expand(-1, -1, 4))
    places_BN4 = decoded(offsets_BN4, anchors_A4[number_BN])
    x_BN2, y_BN2 = places_BN4[..., ::2].clamp(0, canvas[1]), places_BN4[..., 1::2].clamp(0, canvas[0])
    places_BN4 = torch.stack([x_BN2, y_BN2], dim=-1).flatten(2)
    rank_BN = stays(places_BN4) * most - torch.arange(most, device=places_BN4.device)
    chosen_BP = rank_BN.topk(min(count, most), dim=1).indices
    return places_BN4.gather(1, chosen_BP[..., None].expand(-1, -1, 4))


def stays(places_BN4: torch.Tensor) -> torch.Tensor:
    """(B, N) 1 for a box that does not lie over a surer one that stays (``places_BN4`` is in order, the surest first), else 0.

    What elsewhere is suppressed one after the other is found for all at once, and again without those that went, as often as chains of
    overlaps are long (Cluster-NMS: Zheng et al. 2020, arXiv 2005.03572, section 3.3).
    """
    sides_BN2 = places_BN4[..., 2:] - places_BN4[..., :2]
    low_BNN2 = torch.maximum(places_BN4[:, :, None, :2], places_BN4[:, None, :, :2])
    high_BNN2 = torch.minimum(places_BN4[:, :, None, 2:], places_BN4[:, None, :, 2:])
    shared_BNN = _area((high_BNN2 - low_BNN2).clamp(min=0.0))
    areas_BN = _area(sides_BN2)
    union_BNN = areas_BN[:, :, None] + areas_BN[:, None, :] - shared_BNN
    over_BNN = (shared_BNN > MOST_OVERLAP * union_BNN).to(places_BN4.dtype).triu(diagonal=1)
    real_BN = (sides_BN2.amin(dim=-1) > LEAST_SIDE_PX).to(places_BN4.dtype)
    stays_BN = real_BN
    for _ in range(ROUNDS):
        stays_BN = real_BN * (1.0 - (stays_BN[..., None] * over_BNN).amax(dim=1))
    return stays_BN


def _area(sides: torch.Tensor) -> torch.Tensor:
    return sides[..., 0] * sides[..., 1]


def pooled(maps: Sequence[torch.Tensor], places_BP4: torch.Tensor, strides: Sequence[int]) -> torch.Tensor:
    """(R, D, 7, 7) what lies in each region, read from the map on which it is nearest to seven cells long (after Lin et al. 2017, arXiv
    1612.03144, equation 1). The maps are laid beside each other as pictures of one size, so that all is read at once.
    """
    from torchvision.ops import roi_align

    num, count = places_BP4.shape[:2]
    places_R4 = places_BP4.reshape(-1, 4)
    height, width = maps[0].shape[-2:]
    together = torch.cat(
        [functional.pad(one, (0, width - one.shape[-1], 0, height - one.shape[-2]), mode="replicate") for one in maps]
    ).float()
    length_R = _area(places_R4[:, 2:] - places_R4[:, :2]).clamp(min=1.0).sqrt()
    level_R = torch.log2(length_R / (CELLS * strides[0])).round().clamp(0, len(strides) - 1)
    row_R = torch.arange(num, device=places_R4.device)[:, None].expand(num, count).reshape(-1)
    stride_R1 = (strides[0] * 2.0**level_R)[:, None]
    rows_R5 = torch.cat([(level_R * num + row_R)[:, None], places_R4 / stride_R1], dim=1)
    return roi_align(together, rows_R5, CELLS, 1.0, SAMPLES, aligned=True)
