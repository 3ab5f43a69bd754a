"""SSD (Liu et al. 2016, arXiv 1512.02325): each anchor says what it holds.

Shapes: B pictures of a batch, A anchors of the canvas, K classes with the background first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch.nn import functional

from pretune.backbones.detection.anchors import BACKGROUND, IGNORED, decoded, encoded, match_anchors
from pretune.tasks.places.detection.anchored import AnchoredHead, scores_of
from pretune.tasks.places.detection.head import Places, Targets
from pretune.tasks.rows.boxed import BoxTarget
from pretune.types import Batch, Encoded

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone
    from pretune.tasks.protocols import PartsPace

__all__ = ["OneStage"]

ALONE_RATE = 1e-2
NEGATIVES_A_POSITIVE, FEWEST_NEGATIVES = 3, 8
"""Anchors of background that a picture is learned by: three to one that finds something (section 2.2), and some where none does."""


@final
class OneStage(AnchoredHead):
    """The logits are (B, A, 4 + K): offsets from an anchor, then a logit for the background and each class."""

    @property
    def num_outputs(self) -> int:
        """Four offsets, and a logit for the background and each class."""
        return 5 + self.num_classes

    @property
    def chooses(self) -> bool:
        """Every anchor answers."""
        return False

    def parts_pace(self, model: Any, backbone: Backbone) -> PartsPace:
        """Small convolutions on maps that rest take a larger rate (docs/decisions.md, D227)."""
        return dataclasses.replace(super().parts_pace(model, backbone), alone_rate=ALONE_RATE)

    def targets(self, rows: Sequence[Encoded]) -> Targets:
        """``classes`` (B, A) with 0 for background and -1 for what counts for nothing, ``offsets`` (B, A, 4). A picture counts for the
        anchors that find a box, for one at least.
        """
        classes_BA = torch.full((len(rows), len(self.anchors)), IGNORED)
        offsets_BA4 = torch.zeros(len(rows), len(self.anchors), 4)
        for place, row in enumerate(rows):
            if row.target is not None:
                classes_BA[place], offsets_BA4[place] = anchor_targets(self.anchors, row.target)
        finding_B = (classes_BA > BACKGROUND).sum(dim=1).clamp(min=1)
        return Targets({"classes": classes_BA, "offsets": offsets_BA4}, finding_B)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """See the class."""
        return model(**batch.inputs).logits

    def losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy of anchors that find something and of the hardest of the others, and the distance of the former's boxes
        (section 2.2).
        """
        classes_BA, offsets_BA4 = batch.targets["classes"], batch.targets["offsets"]
        logits = logits.float()
        each_BA = functional.cross_entropy(
            logits[..., 4:].transpose(1, 2), classes_BA.clamp(min=BACKGROUND), reduction="none"
        )
        finds_BA, back_BA = classes_BA > BACKGROUND, classes_BA == BACKGROUND
        wanted_B = (NEGATIVES_A_POSITIVE * finds_BA.sum(dim=1)).clamp(min=FEWEST_NEGATIVES)
        hardness_BA = torch.where(back_BA, each_BA.detach(), -1.0)
        rank_BA = hardness_BA.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
        learned_BA = finds_BA | (back_BA & (rank_BA < wanted_B[:, None]))
        apart_BA = functional.smooth_l1_loss(logits[..., :4], offsets_BA4, reduction="none").sum(dim=2)
        return (each_BA * learned_BA).sum(dim=1) + (apart_BA * finds_BA).sum(dim=1)

    def distances(self, logits: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
        """Anchors count by how sure the teacher is that they find something, and as many again for what is background to it: of all
        anchors nearly all are (after Chen et al. 2017, NeurIPS, section 3.2). The teacher's boxes are learned where it finds something.
        """
        logits, teachers = logits.float(), teachers.float()
        sure_BA = 1 - torch.softmax(teachers[..., 4:], dim=-1)[..., BACKGROUND]
        back_BA = (1 - sure_BA) * torch.softmax(logits[..., 4:].detach(), dim=-1)[..., 1:].sum(dim=-1)
        target_BAK = torch.softmax(teachers[..., 4:] / temperature, dim=-1)
        said_BAK = torch.log_softmax(logits[..., 4:] / temperature, dim=-1)
        apart_BA = functional.kl_div(said_BAK, target_BAK, reduction="none").sum(dim=-1) * temperature**2
        moved_BA = functional.smooth_l1_loss(logits[..., :4], teachers[..., :4], reduction="none").sum(dim=-1)
        whole_B = ((sure_BA + back_BA) * apart_BA + sure_BA * moved_BA).sum(dim=1)
        return whole_B / sure_BA.sum(dim=1).clamp(min=1.0)

    def answers_in(self, logits: torch.Tensor) -> torch.Tensor:
        """All of them."""
        return logits

    def places_of(self, answers: torch.Tensor) -> Places:
        """A box for each anchor."""
        anchors_BA4 = self.anchors.to(answers.device).expand(len(answers), -1, -1)
        return Places(decoded(answers[..., :4], anchors_BA4), scores_of(answers[..., 4:]))


def anchor_targets(
    anchors_A4: torch.Tensor, target: BoxTarget, *, high: float = 0.5, low: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Class (A,) and offsets (A, 4) that anchors are to give (:func:`match_anchors`)."""
    boxes_M4, classes_M, aside_M = map(torch.from_numpy, target.arrays())
    classes_A, number_A = match_anchors(anchors_A4, boxes_M4, classes_M, aside_M, high=high, low=low)
    if not len(boxes_M4):
        return classes_A, torch.zeros_like(anchors_A4)
    offsets_A4 = encoded(boxes_M4[number_A], anchors_A4)
    return classes_A, torch.where((classes_A > BACKGROUND)[:, None], offsets_A4, 0.0)
