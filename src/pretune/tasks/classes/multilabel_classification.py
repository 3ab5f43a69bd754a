"""Any number of labels a row, whatever its rows are made of: labels, loss, probabilities, threshold, scores.

Shapes: B items of a batch, C classes, N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Labels
from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.multilabel import MultilabelMetric, best_threshold, label_matrix, threshold_of_cardinality
from pretune.schema import Check, number
from pretune.tasks.base import Task
from pretune.tasks.baselines.parts import KnownLabels
from pretune.tasks.blocks.multilabel import multilabel_blocks
from pretune.tasks.classes.labelling import Labelling, given_order, in_order
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.soft_losses import softened_divergence_of_several
from pretune.types import Encoded, Target

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["MultilabelClassification", "positive_weights", "starting_odds"]

MAX_POSITIVE_WEIGHT = 100.0
"""Assumption: a label of one row in a thousand would otherwise outweigh all others of an update that holds it."""


def positive_weights(counts_C: Sequence[int], rows: int) -> tuple[float, ...]:
    """For each label the rows without it over those with it: both weigh the same then. At most 100; 1 where all rows or none have it."""
    return tuple(min((rows - count) / count, MAX_POSITIVE_WEIGHT) if 0 < count < rows else 1.0 for count in counts_C)


def starting_odds(counts_C: Sequence[int], rows: int, weights_C: Sequence[float] | None) -> tuple[float, ...]:
    """The odds of each label that cost least before anything is known of a row: those of its share, times its weight.

    One row with and one without every label are added, so that none is 0.
    """
    weights_C = [1.0] * len(counts_C) if weights_C is None else weights_C
    return tuple(weight * (count + 1) / (rows - count + 1) for count, weight in zip(counts_C, weights_C, strict=True))


class MultilabelClassification(Labelling):
    """Any number of labels a row, none too: one yes or no a class.

    The loss of a row is the mean over the classes of the binary cross entropy, in which a yes weighs ``positive_weights``;
    label smoothing draws its targets towards one half. A new classifier begins at ``odds``, those of the labels in the
    training rows, as most labels are rare and hundreds of updates would be spent on learning that (Lin et al. 2017, arXiv
    1708.02002, section 4.1). A row gets the labels whose probability is ``threshold`` or more: the one threshold that gives
    the largest micro F1 on validation rows.
    """

    answer: ClassVar[str] = "labels"
    problem_type: ClassVar[str] = "multi_label_classification"
    metric_type: ClassVar[type[Metric]] = MultilabelMetric
    lacks: ClassVar[Mapping[str, str]] = {name: Task.lacks[name] for name in ("ask", "review", "selftrain")}
    kept: ClassVar[Mapping[str, Check]] = {"threshold?": number(0, 1)}

    def __init__(
        self,
        labels: Sequence[str],
        *,
        positive_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        threshold: float = 0.5,
        odds: Sequence[float] | None = None,
    ) -> None:
        super().__init__(labels, label_smoothing=label_smoothing)
        self.positive_weights_C = (
            None if positive_weights is None else torch.tensor(positive_weights, dtype=torch.float32)
        )
        self.threshold = threshold
        self.odds = odds

    @classmethod
    def options_of(cls, data: Splits, settings: TaskSettings) -> tuple[list[str], dict[str, Any]]:
        """See :class:`pretune.tasks.classes.labelling.Labelling`."""
        labels, weights = cls.labels_of(data), None
        counts = Counter(name for names in data["train"]["labels"] for name in names or ())
        counts_C, rows = [counts[label] for label in labels], len(data["train"])
        if settings.class_weights == "auto":
            weights = positive_weights(counts_C, rows)
        odds = starting_odds(counts_C, rows, weights)
        return labels, {"positive_weights": weights, "label_smoothing": settings.label_smoothing or 0.0, "odds": odds}

    @classmethod
    def saved_options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        """The threshold."""
        return {"threshold": float(about.get("threshold", 0.5))}

    @classmethod
    def labels_of(cls, data: Splits) -> list[str]:
        """Two labels at least, one of which some rows have and some have not."""
        train = training_rows(data, "labels")
        counts = Counter(name for names in train["labels"] for name in names or ())
        if len(counts) < 2:
            raise DataError(
                f"the training rows have {f'one label only ({next(iter(counts))})' if counts else 'none of any labels'}",
                "there have to be two labels or more: is --column labels=... the right one? A question of yes or no is --column label=NAME",
            )
        if all(count == len(train) for count in counts.values()):
            raise DataError(
                f"all training rows have the same labels ({', '.join(in_order(counts)[:10])})",
                "there is nothing to tell apart: is --column labels=... the right one?",
            )
        return in_order(counts, given_order(data))

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The classifier that transformers has for the backbone; where it is new, its biases are the logarithms of the odds."""
        model, report = super().build(backbone, seed=seed)
        name, last = list(model.named_parameters())[-1]
        if self.odds is not None and name in report.initialised and last.shape == (len(self.labels),):
            with torch.no_grad():
                last.copy_(torch.tensor(self.odds).log())
        return model, report

    def numbered(self, answer: Sequence[str]) -> tuple[int, ...]:
        """Class indices, rising; none is an answer too."""
        return tuple(sorted(self.number_of(name) for name in answer))

    def target_of(self, target: Target | None) -> tuple[int, ...] | None:
        """The class indices of labels, rising. Raises :class:`DataError` for one that was not trained on."""
        assert target is None or isinstance(target, Labels), f"{type(target).__name__} is no set of labels"
        return None if target is None else self.numbered(target.values)

    def targets_and_weights(self, rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets (B, C) float32: 1 for a label that the row has, 0 for one it has not, -1 where that is not known."""
        targets_BC = torch.from_numpy(np.stack([self.shares_of(row.target) for row in rows]))
        return targets_BC, torch.tensor([row.weight for row in rows], dtype=torch.float32)

    def losses(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Binary cross entropy, the mean over classes."""
        smooth_BC = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        weights_C = None if self.positive_weights_C is None else self.positive_weights_C.to(logits_BC.device)
        return functional.binary_cross_entropy_with_logits(
            logits_BC, smooth_BC, reduction="none", pos_weight=weights_C
        ).mean(dim=-1)

    def divergences(self, logits_BC: torch.Tensor, teachers_BC: torch.Tensor, temperature: float) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence_of_several`."""
        return softened_divergence_of_several(logits_BC, teachers_BC, temperature)

    def outputs_of(self, logits_BC: torch.Tensor) -> torch.Tensor:
        """Sigmoid as trained."""
        return torch.sigmoid(logits_BC)

    def log_odds_of(self, logits_BC: torch.Tensor, index: int) -> torch.Tensor:
        """The logit."""
        return logits_BC[:, index]

    def answer_of(self, outputs_C: Sequence[float]) -> list[str]:
        """The labels at or above the threshold, in the order of the classes."""
        return list(self._above(outputs_C, self.threshold))

    def _above(self, probabilities_C: Sequence[float], threshold: float) -> tuple[str, ...]:
        return tuple(label for label, value in zip(self.labels, probabilities_C, strict=True) if value >= threshold)

    def with_fitted_threshold(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The records with the labels that the best threshold for them gives."""
        found_NC = self.matrix(records)
        threshold = self._fitted(found_NC, records)
        return [
            {**record, "labels": list(self._above(row, threshold))}
            for record, row in zip(records, found_NC.tolist(), strict=True)
        ]

    def _fitted(self, probabilities_NC: np.ndarray, records: Sequence[Mapping[str, Any]]) -> float:
        return best_threshold(probabilities_NC, label_matrix([record["truth"] for record in records], self.labels))

    def calibrate(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Fit the threshold."""
        self.threshold = self._fitted(self.matrix(records), records)
        return []

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Per-label table, what was given for what, other thresholds, most confident mistakes."""
        predicted_NC, truth_NC = (
            label_matrix([record[key] for record in records], self.labels) for key in ("labels", "truth")
        )
        return multilabel_blocks(
            self.matrix(records), predicted_NC, truth_NC, self.labels, rows, threshold=self.threshold, shown=self.shown
        )

    def known_answers(self, train: Dataset, rows: Dataset) -> KnownLabels:
        """Labels of both as 0 and 1. Simple methods give rows as many labels as training rows have on average."""
        train_MC, truth_NC = (label_matrix(part["labels"], self.labels) for part in (train, rows))
        per_row = float(train_MC.sum() / max(1, len(train_MC)))
        metric = MultilabelMetric(self.labels)

        def score(probabilities_NC: np.ndarray, truth_NC: np.ndarray) -> Measured:
            threshold = threshold_of_cardinality(probabilities_NC, per_row)
            return metric.of_probabilities(probabilities_NC, probabilities_NC >= threshold, truth_NC)

        return KnownLabels(train_MC, truth_NC, len(self.labels), score)

    def to_dict(self) -> dict[str, Any]:
        """Name, labels and threshold."""
        return {**super().to_dict(), "threshold": self.threshold}
