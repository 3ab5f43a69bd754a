"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497): anchors say where something is, then each region is looked at.

A picture counts for one: its losses are means over its own sample of anchors and of regions, so that the count is known before the
regions are. The sample is drawn by luck that a row brings with it: its key while it is learned from, else its id.
Shapes: B pictures of a batch, A anchors of the canvas, P regions, Q those of a teacher, M boxes, K classes with the background first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.detection.anchors import BACKGROUND, IGNORED, decoded, encoded
from pretune.backbones.detection.sampling import Truth, drawn_anchors, match_places, overlaps
from pretune.backbones.detection.two_stages import MOST_CANDIDATES, TwoStageOutput
from pretune.engine.randomness import seed_of, uniform
from pretune.tasks.places.detection.anchored import AnchoredHead, scores_of
from pretune.tasks.places.detection.head import Places, Targets
from pretune.tasks.places.detection.one_stage import anchor_targets
from pretune.types import Batch, Encoded

__all__ = ["LUCK", "TwoStages"]

LUCK = "luck"
"""Of an item that is learned from: the key of its draws, uint64."""
HIGH, LOW = 0.5, 0.3
"""Overlap from which an anchor is to find a box, and below which it is background (0.7 in section 3.1.2; 0.5 is SSD's)."""
_ALIKE = 0.5
_NONE = -1


@final
class TwoStages(AnchoredHead):
    """The logits are (B, A + P, 8 + K): of anchors offsets and the logit of something being there, zeros behind them; then of regions
    their place, offsets from it, and a logit for the background and each class.
    """

    @property
    def num_outputs(self) -> int:
        """Of a region: its place, four offsets, and a logit for the background and each class."""
        return 9 + self.num_classes

    @property
    def chooses(self) -> bool:
        """Regions are proposed."""
        return True

    @property
    def num_regions(self) -> int:
        """Regions of a picture: fewer than asked for on a canvas of few anchors."""
        return min(self.proposals, MOST_CANDIDATES, len(self.anchors))

    def targets(self, rows: Sequence[Encoded]) -> Targets:
        """``classes`` (B, A) and ``offsets`` (B, A, 4) of anchors, and the fields of a :class:`Truth`. A picture counts for one."""
        most = max([1, *(len(row.target.places) for row in rows if row.target is not None)])
        classes_BA = torch.full((len(rows), len(self.anchors)), IGNORED)
        offsets_BA4 = torch.zeros(len(rows), len(self.anchors), 4)
        boxes_BM4, named_BM = torch.zeros(len(rows), most, 4), torch.full((len(rows), most), _NONE)
        luck_BP, luck_BM = torch.zeros(len(rows), self.num_regions), torch.ones(len(rows), most)
        for place, row in enumerate(rows):
            if row.target is None:
                continue
            count = len(row.target.places)
            luck_A, luck_P, luck_M = _lucks(row, (len(self.anchors), self.num_regions, count))
            classes_A, offsets_BA4[place] = anchor_targets(self.anchors, row.target, high=HIGH, low=LOW)
            classes_BA[place] = drawn_anchors(classes_A, luck_A)
            places_M4, classes_M, aside_M = map(torch.from_numpy, row.target.arrays())
            boxes_BM4[place, :count] = places_M4
            named_BM[place, :count] = torch.where(aside_M, 0, classes_M + 1)
            luck_BP[place], luck_BM[place, :count] = luck_P, luck_M
        truth = Truth(boxes_BM4, named_BM, luck_BP, luck_BM)._asdict()
        return Targets({"classes": classes_BA, "offsets": offsets_BA4, **truth}, torch.ones(len(rows)))

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See the class."""
        return _together(model(**batch.inputs))

    def learned_logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The same of a sample of regions, true boxes among them."""
        return _together(model(**batch.inputs, truth=_truth(batch)))

    def losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Of both stages cross entropy of what is learned by, and the distance of the boxes of what finds one, each over the number of what
        is learned by (section 3.1.2; Girshick 2015, arXiv 1504.08083, section 2.3).
        """
        regions_BA5, boxes_BPK = self._parts(logits)
        classes_BA = batch.targets["classes"]
        finds_BA, learned_BA = classes_BA > BACKGROUND, classes_BA != IGNORED
        sure_BA = functional.binary_cross_entropy_with_logits(regions_BA5[..., 4], finds_BA.float(), reduction="none")
        apart_BA = functional.smooth_l1_loss(regions_BA5[..., :4], batch.targets["offsets"], reduction="none").sum(
            dim=2
        )
        first_B = _mean(sure_BA * learned_BA + apart_BA * finds_BA, learned_BA)
        places_BP4, truth = boxes_BPK[..., :4], _truth(batch)
        classes_BP, number_BP = match_places(places_BP4, truth)
        finds_BP, learned_BP = classes_BP > BACKGROUND, classes_BP != IGNORED
        own_BP4 = truth.boxes_BM4.gather(1, number_BP[..., None].expand(-1, -1, 4))
        wanted_BP4 = torch.where(finds_BP[..., None], encoded(own_BP4, places_BP4), 0.0)
        named_BP = functional.cross_entropy(
            boxes_BPK[..., 8:].transpose(1, 2), classes_BP.clamp(min=BACKGROUND), reduction="none"
        )
        moved_BP = functional.smooth_l1_loss(boxes_BPK[..., 4:8], wanted_BP4, reduction="none").sum(dim=2)
        return first_B + _mean(named_BP * learned_BP + moved_BP * finds_BP, learned_BP)

    def distances(self, logits: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
        """Of anchors as in one stage. A region is held against what the teacher says of the one of its own that it overlaps most, by half at
        least.
        """
        regions_BA5, boxes_BPK = self._parts(logits)
        told_BA5, told_BQK = self._parts(teachers)
        sure_BA = torch.sigmoid(told_BA5[..., 4])
        weight_BA = sure_BA + (1 - sure_BA) * torch.sigmoid(regions_BA5[..., 4].detach())
        apart_BA = functional.binary_cross_entropy_with_logits(
            regions_BA5[..., 4] / temperature, torch.sigmoid(told_BA5[..., 4] / temperature), reduction="none"
        ) * temperature**2  # fmt: skip
        moved_BA = functional.smooth_l1_loss(regions_BA5[..., :4], told_BA5[..., :4], reduction="none").sum(dim=-1)
        first_B = (weight_BA * apart_BA + sure_BA * moved_BA).sum(dim=1) / sure_BA.sum(dim=1).clamp(min=1.0)
        places_BP4 = boxes_BPK[..., :4]
        best_BP, number_BP = overlaps(places_BP4, told_BQK[..., :4]).max(dim=2)
        said_BPK = told_BQK.gather(1, number_BP[..., None].expand(-1, -1, told_BQK.shape[2]))
        alike_BP = best_BP >= _ALIKE
        there_BP4 = decoded(said_BPK[..., 4:8], said_BPK[..., :4])
        wanted_BP4 = torch.where(alike_BP[..., None], encoded(there_BP4, places_BP4), 0.0)
        named_BP = functional.kl_div(
            torch.log_softmax(boxes_BPK[..., 8:] / temperature, dim=-1),
            torch.softmax(said_BPK[..., 8:] / temperature, dim=-1), reduction="none",
        ).sum(dim=-1) * temperature**2  # fmt: skip
        moved_BP = functional.smooth_l1_loss(boxes_BPK[..., 4:8], wanted_BP4, reduction="none").sum(dim=-1)
        finds_BP = 1 - torch.softmax(said_BPK[..., 8:], dim=-1)[..., BACKGROUND]
        return first_B + _mean((named_BP + finds_BP * moved_BP) * alike_BP, alike_BP)

    def answers_in(self, logits: torch.Tensor) -> torch.Tensor:
        """What is said of regions."""
        return self._parts(logits)[1]

    def places_of(self, answers: torch.Tensor) -> Places:
        """A box for each region."""
        return Places(decoded(answers[..., 4:8], answers[..., :4]), scores_of(answers[..., 8:]))

    def _parts(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of anchors (B, A, 5), and of regions (B, P, 8 + K)."""
        count, logits = len(self.anchors), logits.float()
        return logits[:, :count, :5], logits[:, count:]


def _lucks(row: Encoded, counts: Sequence[int]) -> list[torch.Tensor]:
    """Numbers in [0, 1), so many each, that are a function of the row's key."""
    key = row.arrays.get(LUCK, np.uint64(seed_of(row.id)))
    keys_1 = np.array([key], dtype=np.uint64)
    return [torch.from_numpy(uniform(keys_1, count, purpose)[0]).float() for purpose, count in enumerate(counts)]


def _truth(batch: Batch) -> Truth:
    return Truth(**{name: batch.targets[name] for name in Truth._fields})


def _together(output: TwoStageOutput) -> torch.Tensor:
    behind = output.logits.shape[2] - output.regions.shape[2]
    return torch.cat([functional.pad(output.regions, (0, behind)), output.logits], dim=1)


def _mean(values_BP: torch.Tensor, counts_BP: torch.Tensor) -> torch.Tensor:
    return values_BP.sum(dim=1) / counts_BP.sum(dim=1).clamp(min=1)
