"""One label a row, whatever its rows are made of: labels, loss, probabilities, scores.

Shapes: B items of a batch, C classes, N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Label
from pretune.errors import DataError
from pretune.metrics.base import Metric
from pretune.metrics.classification import ClassificationMetric
from pretune.schema import Check, flag, number
from pretune.tasks.baselines.parts import KnownLabels
from pretune.tasks.blocks.classification import classification_blocks
from pretune.tasks.classes.calibration import apply_temperature, choose_temperature
from pretune.tasks.classes.labelling import Labelling, given_order, in_order
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.soft_losses import softened_divergence
from pretune.types import Encoded, Target
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["Classification", "balanced_class_weights"]

_FEW_RECORDS = 10


def balanced_class_weights(counts_C: Sequence[int]) -> tuple[float, ...]:
    """Weights inverse to class frequency with mean 1 over rows (King & Zeng 2001, section 4.2); 0 for an absent class."""
    total, present = sum(counts_C), sum(count > 0 for count in counts_C)
    return tuple(total / (present * count) if count else 0.0 for count in counts_C)


def _weights_in(data: Splits, labels: Sequence[str]) -> tuple[float, ...]:
    counts = Counter(data["train"]["label"])
    return balanced_class_weights([counts[label] for label in labels])


@dataclass(frozen=True)
class _SomeRows:
    """These of the rows, by their numbers among all."""

    rows: Any
    places: np.ndarray

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.rows[int(self.places[index])]


class Classification(Labelling):
    """One label a row. A modality adds how its rows become arrays and batches (``encode``, ``encode_rows``, ``inputs_of``)."""

    answer: ClassVar[str] = "label"
    problem_type: ClassVar[str] = "single_label_classification"
    metric_type: ClassVar[type[Metric]] = ClassificationMetric
    kept: ClassVar[Mapping[str, Check]] = {"temperature?": number(above=0), "unseen_labels?": flag}

    def __init__(
        self,
        labels: Sequence[str],
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        takes_unseen: bool = False,
    ) -> None:
        super().__init__(labels, label_smoothing=label_smoothing)
        self.class_weights_C = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.temperature = temperature
        self.takes_unseen = takes_unseen

    @classmethod
    def options_of(cls, data: Splits, settings: TaskSettings) -> tuple[list[str], dict[str, Any]]:
        """See :class:`pretune.tasks.classes.labelling.Labelling`."""
        labels, weights = cls.labels_of(data), None
        if settings.class_weights == "auto":
            weights = _weights_in(data, labels)
        return labels, {
            "class_weights": weights,
            "label_smoothing": settings.label_smoothing or 0.0,
            "takes_unseen": bool(data.facts.get("split", {}).get("unseen_labels")),
        }

    def with_training_options(self, data: Splits, settings: Any) -> None:
        """Labels are smoothed and classes weigh as they did."""
        super().with_training_options(data, settings)
        if settings.class_weights == "auto":
            self.class_weights_C = torch.tensor(_weights_in(data, self.labels), dtype=torch.float32)

    @classmethod
    def saved_options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        """The temperature, and whether rows may have labels that were never learned."""
        return {
            "temperature": float(about.get("temperature", 1.0)),
            "takes_unseen": bool(about.get("unseen_labels", False)),
        }

    @classmethod
    def labels_of(cls, data: Splits) -> list[str]:
        """Two classes at least."""
        names = {str(name) for name in training_rows(data, "label").unique("label") if name is not None}
        if len(names) < 2:
            raise DataError(
                f"all training rows have one label ({', '.join(names) or 'none'})",
                "a classifier needs two classes or more: is --column label=... the right one?",
            )
        return in_order(names, given_order(data))

    def numbered(self, answer: str) -> int | None:
        """The class index; None for a label that was never learned, where rows may have such."""
        return None if self.takes_unseen and answer not in self.index else self.number_of(answer)

    def target_of(self, target: Target | None) -> int | None:
        """The class index of a label. Raises :class:`DataError` for one that was not trained on."""
        assert target is None or isinstance(target, Label), f"{type(target).__name__} is no single label"
        return None if target is None else self.number_of(target.name)

    def targets_of(self, dataset: Dataset) -> np.ndarray | None:
        """Class indices (N,) int64 of a data set's rows, -1 for unlabelled ones; None when it has no labels."""
        if "label" not in dataset.column_names:
            return None
        return np.array([-1 if target is None else target for target in self.targets_by_row(dataset)], dtype=np.int64)

    def targets_and_weights(self, rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Class indices (B,) int64, or shares (B, C) where rows were mixed; the weights have the classes' weights in them
        (1, their mean over rows, for an unlabelled item).
        """
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        if any(isinstance(row.target, np.ndarray) for row in rows):
            targets = torch.from_numpy(np.stack([self.shares_of(row.target) for row in rows]))
            if self.class_weights_C is not None:
                shares_B = torch.where(targets[:, 0] < 0, 1.0, targets @ self.class_weights_C)
                weights_B = weights_B * shares_B
        else:
            targets = torch.tensor([-1 if row.target is None else row.target for row in rows])
            if self.class_weights_C is not None:
                weights_B = weights_B * torch.where(targets < 0, 1.0, self.class_weights_C[targets.clamp(min=0)])
        return targets, weights_B

    def losses(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy."""
        return functional.cross_entropy(logits_BC, targets, reduction="none", label_smoothing=self.label_smoothing)

    def divergences(self, logits_BC: torch.Tensor, teachers_BC: torch.Tensor, temperature: float) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`."""
        return softened_divergence(logits_BC, teachers_BC, temperature)

    def outputs_of(self, logits_BC: torch.Tensor) -> torch.Tensor:
        """Softmax as trained (no temperature)."""
        return torch.softmax(logits_BC, dim=-1)

    def log_odds_of(self, logits_BC: torch.Tensor, index: int) -> torch.Tensor:
        """The class's logit over those of all others."""
        is_it_C = torch.arange(logits_BC.shape[-1], device=logits_BC.device) == index
        return logits_BC[:, index] - torch.logsumexp(logits_BC.masked_fill(is_it_C, -torch.inf), dim=-1)

    def answer_of(self, outputs_C: Sequence[float]) -> str:
        """The most probable class, the first of equals."""
        return self.labels[outputs_C.index(max(outputs_C))]

    def calibrate(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Fit the temperature; it stays 1 where one would not help rows that it was not fitted on."""
        records = self._learned(records)
        log_NC = np.log(np.maximum(self.matrix(records), 1e-30))
        found = choose_temperature(
            log_NC, np.array([self.index[record["truth"]] for record in records], dtype=np.int64)
        )
        self.temperature = found.temperature
        if found.after <= found.before:
            return []
        return [
            f"Temperature scaling is not used: on validation rows that it was not fitted on it raised the log loss from {found.before:.3f} to "
            f"{found.after:.3f} ({counted(len(records))}). Probabilities are as trained."
        ]

    def calibrated(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The records with probabilities at the temperature; labels stay."""
        if not records:
            return []
        after_NC = apply_temperature(self.matrix(records), self.temperature)
        return [
            {**record, "probabilities": dict(zip(self.labels, row, strict=True))}
            for record, row in zip(records, after_NC.tolist(), strict=True)
        ]

    def calibration_on(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
        """The log loss of the rows as trained and at the temperature, in nats a row."""
        records = self._learned(records)
        if self.temperature == 1.0 or not records:
            return None
        truth_N = np.array([self.index[record["truth"]] for record in records])
        losses = [
            float(-np.log(np.maximum(self.matrix(one)[np.arange(len(truth_N)), truth_N], 1e-30)).mean())
            for one in (records, self.calibrated(records))
        ]
        return {"temperature": self.temperature, "log_loss": losses[0], "calibrated_log_loss": losses[1]}

    def _learned(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The records whose truth is a class that was learned."""
        return [record for record in records if record["truth"] in self.index] if self.takes_unseen else records

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when rows of several classes are all given the same one, and how many no answer is right to."""
        missed = sorted({record["truth"] for record in records} - {*self.labels})
        count = len(records) - len(self._learned(records))
        return [
            *(
                [
                    f"{counted(count)} {agree(count, 'have', 'has')} a label that no training row has ({', '.join(missed[:5])}): no answer to {agree(count, 'them', 'it')} is right."
                ]
                if count
                else []
            ),
            *self._all_alike(records),
        ]

    def _all_alike(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        given = {record[self.answer] for record in records}
        if len(records) < _FEW_RECORDS or len(given) > 1 or len({record["truth"] for record in records}) < 2:
            return []
        return [
            f'All {counted(len(records))} are given the class "{given.pop()}": the model does not tell them apart. Learn longer (--epochs) or from '
            "a pre-trained backbone; where that class is most of the rows, try --class-weights auto."
        ]

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Per-class table, confusion matrix, calibration, most confident mistakes."""
        learned_M = np.flatnonzero([record["truth"] in self.index for record in records])
        records = self._learned(records)
        return classification_blocks(
            self.matrix(records),
            np.array([self.index[record["truth"]] for record in records], dtype=np.int64),
            self.labels,
            _SomeRows(rows, learned_M) if self.takes_unseen else rows,
            calibrated_NC=None if self.temperature == 1.0 else self.matrix(self.calibrated(records)),
            temperature=self.temperature,
            shown=self.shown,
        )

    def known_answers(self, train: Dataset, rows: Dataset) -> KnownLabels:
        """Class indices of both."""
        found = [self.targets_of(part) for part in (train, rows)]
        train_M, truth_N = (np.zeros(0, dtype=np.int64) if one is None else one for one in found)
        return KnownLabels(train_M, truth_N, len(self.labels), ClassificationMetric(self.labels).of_probabilities)

    def to_dict(self) -> dict[str, Any]:
        """Name, labels and temperature."""
        unseen = {"unseen_labels": True} if self.takes_unseen else {}
        return {**super().to_dict(), "temperature": self.temperature, **unseen}
