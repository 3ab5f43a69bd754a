"""Answers that are boxes: how they are made of what a head says, told, and held against true ones.

Shapes: B items of a batch, P places that are answered for, C classes, M boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pretune.answers import Boxes
from pretune.backbones.detection.anchors import Found, chosen_boxes
from pretune.metrics.base import Measured, Metric
from pretune.metrics.places.detection import DetectionMetric, best_threshold
from pretune.modalities.image.letterbox import Canvas
from pretune.tasks.base import finite_answers
from pretune.tasks.baselines.boxes import prior_boxes
from pretune.tasks.blocks.detection import detection_blocks
from pretune.tasks.places.detection.head import DetectionHead
from pretune.tasks.places.placed import PlacedTask
from pretune.types import Batch, Prediction, in_double
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["BoxAnswers"]

_PLACE_DIGITS, _SCORE_DIGITS = 2, 9
_FEW_RECORDS, _FAINT = 10, 0.1


class BoxAnswers(PlacedTask):
    """The half of a task whose answers are boxes on a ``canvas``, found by ``learner``; those scored ``threshold`` or more are told."""

    answer: ClassVar[str] = Boxes.kind
    metric_type: ClassVar[type[Metric]] = DetectionMetric
    canvas: Canvas
    learner: DetectionHead
    threshold: float

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, P, 4 + C): the box of each place in shares of the canvas's sides, and the probability of each class, float64."""
        answers = finite_answers(self.learner.answers_of(model, batch), batch.ids).float()
        boxes_BP4, scores_BPC = self.learner.places_of(answers)
        sides = torch.tensor([self.canvas.width, self.canvas.height] * 2, device=answers.device)
        return torch.cat([in_double((boxes_BP4 / sides).clamp(-1.0, 2.0)), scores_BPC], dim=-1)

    def chosen(self, model: torch.nn.Module, batch: Batch) -> list[Found]:
        """Of each picture the boxes that stay after sorting out, in pixels of the canvas."""
        sides = torch.tensor([self.canvas.width, self.canvas.height] * 2)
        return [
            chosen_boxes(said[:, None, :4] * sides, said[:, 4:], self.canvas.sides)
            for said in self.outputs(model, batch).cpu()
        ]

    def located(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (B, P, 4) in pixels of the canvas, and the probability of each class (B, P, C), of what a graph says."""
        boxes_BP4, scores_BPC = self.learner.places_of(logits)
        x_BP2, y_BP2 = (
            boxes_BP4[..., ::2].clamp(0, self.canvas.width),
            boxes_BP4[..., 1::2].clamp(0, self.canvas.height),
        )
        return torch.stack([x_BP2, y_BP2], dim=-1).flatten(2), scores_BPC

    @property
    def chooses(self) -> bool:
        """Where its head does."""
        return self.learner.chooses

    def difference(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """The head's."""
        return self.learner.difference(one, other)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """The boxes that stay after sorting out, the surest first, in pixels of the picture as it was given."""
        found = []
        for row, kept, scale, size in zip(
            batch.ids, self.chosen(model, batch), batch.extras["scales"].cpu(), batch.extras["sizes"].cpu(), strict=True
        ):
            places = in_double(kept.boxes_M4) / scale.repeat(2)
            most = size.repeat(2).double()
            places = torch.minimum(places.clamp(min=0.0), most)
            boxes = [
                {"label": self.labels[label], "box": [round(one, _PLACE_DIGITS) for one in place], "score": round(score, _SCORE_DIGITS)}
                for place, score, label in zip(places.tolist(), kept.scores_M.tolist(), kept.classes_M.tolist(), strict=True)
                if place[2] - place[0] > 0.01 and place[3] - place[1] > 0.01
            ]  # fmt: skip
            found.append(Prediction(row, boxes))
        return found

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """A picture is one item."""
        return list(predictions)

    def truths(self, dataset: Dataset) -> list[Any]:
        """The boxes. One of a class that was never learned stays: it can only be missed."""
        return [None if cell is None else Boxes.from_json(cell).to_json() for cell in self.cells(dataset)]

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, boxes with scores, and the truth where it is known."""
        line = {"id": prediction.id, self.answer: prediction.answer}
        return line if truth is None else {**line, "truth": truth}

    def calibrate(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Find the score from which a box is told."""
        rows = [self.metric.matched_row(record) for record in records]  # type: ignore[attr-defined]
        self.threshold, f1, precision, recall = best_threshold(rows)
        return [
            f"boxes scored {self.threshold:.2f} or more are told as found: on validation {precision:.1%} of these are right and {recall:.1%} "
            f"of the true ones among them (F1 {f1:.3f}, the best there is)"
        ]

    def calibrated(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The records with the boxes that are told as found."""
        return [
            {**record, self.answer: [box for box in record[self.answer] if box["score"] >= self.threshold]}
            for record in records
        ]

    @property
    def tolerance(self) -> float:
        """Of a score."""
        return 0.01

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when nothing is found anywhere, and which classes could never be."""
        told = []
        truths = Counter(box["label"] for record in records for box in record.get("truth") or ())
        if unknown := [name for name in truths if name not in self.index]:
            told.append(
                f"The rows have boxes of {', '.join(unknown[:5])}, which the model never learned: none of them can be found."
            )
        sure = any(box["score"] >= _FAINT for record in records for box in record[self.answer])
        if len(records) >= _FEW_RECORDS and truths and not sure:
            told.append(
                f"No box is found in {counted(len(records), 'picture')}: learn longer (--epochs) or from a pre-trained backbone."
            )
        return told

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Scores by class, curves, what is taken for what, pictures with their boxes."""
        return detection_blocks(records, rows, self.metric, self.threshold)  # type: ignore[arg-type]

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """``prior-boxes``: the commonest class where its boxes mostly are."""
        answers = prior_boxes(train, rows)
        records = [
            {"id": row, self.answer: boxes, "truth": truth}
            for row, boxes, truth in zip(rows["id"], answers, self.truths(rows), strict=True)
        ]
        return {"prior-boxes": self.metric.measure(records)}, []
