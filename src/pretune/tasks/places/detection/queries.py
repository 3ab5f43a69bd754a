"""Detection as a set: as many answers as the model has queries, each matched with one true box or with none (DETR: Carion et al. 2020,
arXiv 2005.12872, section 3.1; RT-DETR: Zhao et al. 2023, arXiv 2304.08069, section 4; D-FINE: Peng et al. 2024, arXiv 2410.13842).

Every layer of the decoder that tells its answers is matched and learns by itself (DETR, section 3.2, "auxiliary decoding losses"), as do the
places that RT-DETR's encoder picks as queries. What is not learned by: noisy copies of the true boxes (DN-DETR: Li et al. 2022, arXiv
2203.01305), as they are drawn for a whole batch at once, and D-FINE's distributions of edges apart from the boxes that they make.
Shapes: B pictures, L layers, Q queries, M boxes, C classes, K = C or C + 1 logits, N pairs. Boxes are (middle x, middle y, width, height) in
shares of the canvas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch.nn import functional

from pretune.backbones.detection.queries import new_query_detector, query_layers
from pretune.backbones.states.head_outputs import logits_in
from pretune.tasks.places.detection.head import DetectionHead, Places, Targets
from pretune.tasks.places.detection.matching import (
    Criterion,
    class_losses,
    corners,
    generous_overlap,
    matched,
    pairs_of_costs,
)
from pretune.tasks.protocols import PartsPace
from pretune.types import Batch, Encoded, in_double

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["Queries"]

_NONE, _ASIDE = -1, -2
_ALIKE = 0.5


@final
@dataclass(frozen=True)
class Queries(DetectionHead):
    """The logits are (B, L * Q, 4 + K), the model's answer last; ``picks``: queries are places that the model has found."""

    num_queries: int
    criterion: Criterion
    picks: bool

    @property
    def num_outputs(self) -> int:
        """A box, a logit for each class, and where classes are told apart by softmax one for nothing."""
        return 4 + self.num_classes + (self.criterion.unsure is not None)

    @property
    def chooses(self) -> bool:
        """Where queries are picked."""
        return self.picks

    def kept(self) -> dict[str, Any]:
        """Nothing: the model's config says it all."""
        return {}

    def portable(self) -> dict[str, Any]:
        """How logits become scores."""
        return {"queries": "sigmoid" if self.criterion.unsure is None else "softmax"}

    def build(self, backbone: Backbone, labels: Sequence[str], *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The folder's own model."""
        return new_query_detector(backbone, seed=seed, labels=labels)

    def parts_pace(self, model: Any, backbone: Backbone) -> PartsPace:
        """The convolutions learn at a tenth of the rate (DETR, section 4)."""
        trunk = next((part for name, part in model.named_modules() if name.rpartition(".")[2] == "backbone"), None)
        return PartsPace(learning_rate=1e-4, trunk_scale=0.1, trunk=() if trunk is None else (trunk,))

    def processor(self, own: Any, settings: Mapping[str, Any]) -> Any:
        """Of the kind that the folder came with, which makes boxes of the model's outputs too."""
        return type(own)(**settings)

    def targets(self, rows: Sequence[Encoded]) -> Targets:
        """``boxes`` (B, M, 4) and their ``classes`` (B, M), -1 where there is none and -2 for one that counts for nothing. A picture
        counts for its boxes, for one at least.
        """
        most = max([1, *(len(row.target.places) for row in rows if row.target is not None)])
        boxes_BM4, classes_BM = torch.zeros(len(rows), most, 4), torch.full((len(rows), most), _NONE)
        height, width = self.sides
        for place, row in enumerate(rows):
            if row.target is not None:
                places_M4, classes_M, aside_M = map(torch.from_numpy, row.target.arrays())
                shares_M4 = places_M4 / torch.tensor([width, height] * 2)
                low_M2, high_M2 = shares_M4[:, :2], shares_M4[:, 2:]
                boxes_BM4[place, : len(places_M4)] = torch.cat([(low_M2 + high_M2) / 2, high_M2 - low_M2], dim=1)
                classes_BM[place, : len(places_M4)] = torch.where(aside_M, _ASIDE, classes_M)
        counts_B = (classes_BM >= 0).sum(dim=1).clamp(min=1)
        return Targets({"boxes": boxes_BM4, "classes": classes_BM}, counts_B)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What the model answers, (B, Q, 4 + K)."""
        return logits_in(model(**batch.inputs))

    def learned_logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What every layer says."""
        return query_layers(model, batch.inputs).flatten(1, 2)

    def losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Of each layer the loss of classes, of the sides of boxes and of what they overlap, weighed as the model's config says. The mean of a
        cross entropy counts as often as the picture does.
        """
        layers_BLQK = logits.float().unflatten(1, (-1, self.num_queries))
        boxes_BM4, classes_BM = batch.targets["boxes"], batch.targets["classes"]
        return torch.stack(
            [
                torch.stack([self._loss(said_QK, boxes_M4, classes_M) for said_QK in layers_LQK]).sum()
                for layers_LQK, boxes_M4, classes_M in zip(layers_BLQK, boxes_BM4, classes_BM, strict=True)
            ]
        )

    def _loss(self, said_QK: torch.Tensor, boxes_M4: torch.Tensor, classes_M: torch.Tensor) -> torch.Tensor:
        """Of one layer and picture."""
        is_real_M, by = classes_M >= 0, self.criterion
        real_M4, named_M = boxes_M4[is_real_M], classes_M[is_real_M]
        query_N, box_N = matched(said_QK, real_M4, named_M, by)
        said_N4, own_N4 = said_QK[query_N, :4], real_M4[box_N]
        overlap_N, generous_N = generous_overlap(said_N4, own_N4)
        classes_Q = torch.full((len(said_QK),), self.num_classes, device=said_QK.device)
        overlaps_Q = torch.zeros(len(said_QK), device=said_QK.device)
        classes_Q[query_N], overlaps_Q[query_N] = named_M[box_N], overlap_N.detach()
        counts_Q = ~_over_aside(said_QK[:, :4].detach(), boxes_M4[classes_M == _ASIDE])
        counts_Q[query_N] = True
        named = class_losses(said_QK[:, 4:], classes_Q, overlaps_Q, counts_Q, by).sum()
        if by.unsure is not None:
            named = named * max(1, len(named_M))
        apart = functional.l1_loss(said_N4, own_N4, reduction="sum")
        return by.weights[0] * named + by.weights[1] * apart + by.weights[2] * (1 - generous_N).sum()

    def distances(self, logits: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
        """Each query is held against the one of the teacher's that it is matched with, most where the teacher finds something (after
        DETRDistill: Chang et al. 2022, arXiv 2211.10156), and by how sure it is itself where the teacher finds nothing.
        """
        each = zip(logits.float(), teachers.float(), strict=True)
        return torch.stack([self._distance(said_QK, told_QK, temperature) for said_QK, told_QK in each])

    def _distance(self, said_QK: torch.Tensor, told_QK: torch.Tensor, temperature: float) -> torch.Tensor:
        """Of one picture."""
        with torch.no_grad():
            scores_QC, told_QC = (self._scores(one[:, 4:]).float() for one in (said_QK, told_QK))
            sure_Q = told_QC.amax(dim=1)
            both = torch.broadcast_tensors(said_QK[:, None, :4], told_QK[None, :, :4])
            costs_QQ = torch.cdist(scores_QC, told_QC, p=1) + 5 * (both[0] - both[1]).abs().sum(dim=-1)
            query_N, teacher_N = pairs_of_costs((costs_QQ - 2 * generous_overlap(*both)[1]) * sure_Q)
        sure_N = sure_Q[teacher_N]
        weight_N = sure_N + (1 - sure_N) * scores_QC[query_N].amax(dim=1)
        said_NK, told_NK = said_QK[query_N], told_QK[teacher_N]
        named_N = self._apart(said_NK[:, 4:] / temperature, told_NK[:, 4:] / temperature) * temperature**2
        _, generous_N = generous_overlap(said_NK[:, :4], told_NK[:, :4])
        moved_N = 5 * (said_NK[:, :4] - told_NK[:, :4]).abs().sum(dim=1) + 2 * (1 - generous_N)
        return (weight_N * named_N + sure_N * moved_N).sum() / sure_Q.sum().clamp(min=1.0)

    def _apart(self, said_NK: torch.Tensor, told_NK: torch.Tensor) -> torch.Tensor:
        """(N,) the divergence of the classes that two logits tell."""
        if self.criterion.unsure is not None:
            told_NK, said_NK = torch.log_softmax(told_NK, dim=-1), torch.log_softmax(said_NK, dim=-1)
            return functional.kl_div(said_NK, told_NK, reduction="none", log_target=True).sum(dim=1)
        target_NK = torch.sigmoid(told_NK)
        said, least = (
            functional.binary_cross_entropy_with_logits(one, target_NK, reduction="none") for one in (said_NK, told_NK)
        )
        return (said - least).sum(dim=1)

    def answers_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The same as :meth:`logits_of`."""
        return self.logits_of(model, batch)

    def answers_in(self, logits: torch.Tensor) -> torch.Tensor:
        """Those of the last layer."""
        return logits[:, -self.num_queries :]

    def places_of(self, answers: torch.Tensor) -> Places:
        """A box for each query."""
        height, width = self.sides
        sides_4 = torch.tensor([width, height] * 2, device=answers.device)
        return Places(corners(answers[..., :4]) * sides_4, self._scores(answers[..., 4:]))

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., C) the probability of each class, float64."""
        if self.criterion.unsure is not None:
            return torch.softmax(in_double(logits), dim=-1)[..., :-1]
        return torch.sigmoid(in_double(logits))


def _over_aside(boxes_Q4: torch.Tensor, aside_M4: torch.Tensor) -> torch.Tensor:
    """(Q,) which boxes overlap one that is set aside by half: what they say is neither right nor wrong."""
    if not len(aside_M4):
        return torch.zeros(len(boxes_Q4), dtype=torch.bool, device=boxes_Q4.device)
    overlap_QM, _ = generous_overlap(*torch.broadcast_tensors(boxes_Q4[:, None], aside_M4[None]))
    return (overlap_QM >= _ALIKE).any(dim=1)
