"""What every single-label classification shares, whatever its rows are made of: labels, loss, probabilities, scores.

Shapes: B items of a batch, C classes, N rows, K statistics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from pretune.errors import DataError, did_you_mean
from pretune.tasks.base import Scorer, Task
from pretune.tasks.calibration import apply_temperature, fit_temperature
from pretune.tasks.classification_blocks import classification_blocks
from pretune.tasks.classification_scores import (
    HIGHER_IS_BETTER,
    SCORE_LIMITS,
    classification_scores,
    statistics_of_records,
)
from pretune.types import Batch, Encoded, Loss, Prediction, Target

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["Classification", "balanced_class_weights", "labels_of"]


def balanced_class_weights(counts_C: Sequence[int]) -> tuple[float, ...]:
    """Weights inverse to class frequency with mean 1 over rows (King & Zeng 2001, section 4.2); 0 for an absent class."""
    total, present = sum(counts_C), sum(count > 0 for count in counts_C)
    return tuple(total / (present * count) if count else 0.0 for count in counts_C)


def labels_of(splits: Splits) -> list[str]:
    """The classes of the training rows, in order: by number when all are numbers, else by name.

    Raises :class:`DataError` when there is nothing to tell apart.
    """
    train = splits.get("train")
    if train is None or len(train) == 0:
        raise DataError("there are no training rows", "pretune inspect DATA shows what was read")
    if "label" not in train.column_names:
        raise DataError(
            "the training rows have no labels", "name their column with --column label=NAME, or use `pretune pretrain`"
        )
    names = {str(name) for name in train.unique("label") if name is not None}
    if len(names) < 2:
        raise DataError(
            f"all training rows have one label ({', '.join(names) or 'none'})",
            "a classifier needs two classes or more: is --column label=... the right one?",
        )
    if all(name.lstrip("-").isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)


class Classification(Task):
    """One label a row. A modality adds how its rows become arrays and batches (``encode``, ``encode_rows``, ``collate``)."""

    auto_class: ClassVar[str]
    primary_metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[Mapping[str, bool]] = HIGHER_IS_BETTER
    limits: ClassVar[Mapping[str, tuple[float, float]]] = SCORE_LIMITS
    reads: ClassVar[tuple[str, ...]] = ("class_weights", "label_smoothing")

    def __init__(
        self,
        labels: Sequence[str],
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        self.labels = tuple(labels)
        self.index = {label: number for number, label in enumerate(self.labels)}
        self.class_weights_C = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.label_smoothing = label_smoothing
        self.temperature = temperature

    @classmethod
    def check(cls, data: Splits) -> None:
        """Two classes at least."""
        labels_of(data)

    @staticmethod
    def options_of(data: Splits, settings: TaskSettings) -> tuple[list[str], dict[str, Any]]:
        """The labels, and the options of ``__init__`` that the settings ask for."""
        labels, weights = labels_of(data), None
        if settings.class_weights == "auto":
            counts = Counter(data["train"]["label"])
            weights = balanced_class_weights([counts[label] for label in labels])
        return labels, {"class_weights": weights, "label_smoothing": settings.label_smoothing}

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The classifier that transformers has for the backbone."""
        return backbone.build(
            self.auto_class,
            seed=seed,
            num_labels=len(self.labels),
            id2label=dict(enumerate(self.labels)),
            label2id=dict(self.index),
            problem_type="single_label_classification",
        )

    def target_of(self, target: Target | None) -> int | None:
        """The class index of a label. Raises :class:`DataError` for one that was not trained on."""
        if target is None:
            return None
        name = getattr(target, "name", None)
        if name not in self.index:
            raise DataError(
                f'the label "{name}" is not among those trained on: {", ".join(self.labels[:20])}',
                "correct the label, or train with rows that have it",
            )
        return self.index[name]

    def targets_of(self, dataset: Dataset) -> np.ndarray | None:
        """Class indices (N,) int64 of a data set's rows, -1 for unlabelled ones; None when it has no labels."""
        if "label" not in dataset.column_names:
            return None
        names = dataset["label"]
        strange = sorted({str(name) for name in set(names) if name is not None and name not in self.index})
        if strange:
            raise DataError(
                f'the label "{strange[0]}" is not among those trained on: {", ".join(self.labels[:20])}',
                "correct the label, or train with rows that have it",
            )
        return np.array([-1 if name is None else self.index[name] for name in names], dtype=np.int64)

    @abstractmethod
    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """The model's keyword arguments for these items, with the cost that is real and the cost with padding."""

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B,) int64 with -1 for unlabelled, or shares (B, C) where rows were mixed; ``extras["weights"]`` (B,)."""
        inputs, num_tokens, num_padded = self.inputs_of(rows)
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        if any(isinstance(row.target, np.ndarray) for row in rows):
            targets = torch.from_numpy(np.stack([self.shares_of(row.target) for row in rows]))
            is_labelled_B = targets[:, 0] >= 0
            if self.class_weights_C is not None:
                weights_B = weights_B * (targets.clamp(min=0) @ self.class_weights_C)
        else:
            targets = torch.tensor([-1 if row.target is None else row.target for row in rows])
            is_labelled_B = targets >= 0
            if self.class_weights_C is not None:
                weights_B = weights_B * self.class_weights_C[targets.clamp(min=0)]
        return Batch(
            inputs=inputs,
            targets=targets,
            num_items=float(weights_B[is_labelled_B].sum()),
            ids=tuple(row.id for row in rows),
            num_tokens=num_tokens,
            num_padded=num_padded,
            extras={"weights": weights_B},
        )

    def shares_of(self, target: int | np.ndarray | None) -> np.ndarray:
        """An item's target as a share of each class, float32 (C,); -1 for an unlabelled one."""
        if isinstance(target, np.ndarray):
            return target
        shares_C = np.full(len(self.labels), -1.0 if target is None else 0.0, dtype=np.float32)
        if target is not None:
            shares_C[target] = 1.0
        return shares_C

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What the model says of the batch, (B, C)."""
        return model(**batch.inputs).logits

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Weighted cross entropy, summed."""
        assert batch.targets is not None
        if bool((batch.targets < 0).any()):
            lacking_B = (batch.targets < 0).reshape(len(batch.ids), -1).any(dim=1)
            unlabelled = [i for i, is_lacking in zip(batch.ids, lacking_B.tolist(), strict=True) if is_lacking]
            raise DataError(
                f"{self.name} cannot learn from unlabelled rows: {', '.join(unlabelled[:5])}",
                "give them a label, or leave them to `pretune pretrain`",
            )
        logits_BC = self.logits_of(model, batch).float()
        losses_B = functional.cross_entropy(
            logits_BC, batch.targets, reduction="none", label_smoothing=self.label_smoothing
        )
        return Loss((losses_B * batch.extras["weights"]).sum(), batch.num_items)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """Softmax probabilities as trained (no temperature)."""
        probabilities_BC = torch.softmax(self.logits_of(model, batch).double(), dim=-1).cpu()
        best_B = probabilities_BC.argmax(dim=-1).tolist()
        return [
            Prediction(i, self.labels[best], tuple(row))
            for i, best, row in zip(batch.ids, best_B, probabilities_BC.tolist(), strict=True)
        ]

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The mean probability over a row's windows."""
        by_id: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            by_id.setdefault(prediction.id, []).append(prediction)
        return [found[0] if len(found) == 1 else self._mean(found) for found in by_id.values()]

    def _mean(self, windows: list[Prediction]) -> Prediction:
        mean_C = np.mean([window.probabilities_C for window in windows], axis=0)
        return Prediction(windows[0].id, self.labels[int(mean_C.argmax())], tuple(mean_C.tolist()))

    def truths(self, dataset: Dataset) -> list[str]:
        """The labels."""
        if "label" not in dataset.column_names:
            raise DataError(
                "the rows have no labels to score against",
                "name their column with --column label=NAME, or use pretune predict",
            )
        found = list(dataset["label"])
        unknown = sorted(set(found) - set(self.labels))
        if unknown:
            raise DataError(
                f'the rows have the label "{unknown[0]}", which the model never learned',
                did_you_mean(str(unknown[0]), self.labels),
            )
        return found

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, label, probabilities by label, and the truth where it is known."""
        found = {
            "id": prediction.id,
            "label": prediction.label,
            "probabilities": dict(zip(self.labels, prediction.probabilities_C, strict=True)),
        }
        return found if truth is None else {**found, "truth": truth}

    def calibrate(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Fit the temperature."""
        log_NC = np.log(np.maximum(self._matrix(records), 1e-30))
        self.temperature = fit_temperature(log_NC, np.array([self.index[record["truth"]] for record in records]))

    def calibrated(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The records with probabilities at the temperature; labels stay."""
        if not records:
            return []
        after_NC = apply_temperature(self._matrix(records), self.temperature)
        return [
            {**record, "probabilities": dict(zip(self.labels, row, strict=True))}
            for record, row in zip(records, after_NC.tolist(), strict=True)
        ]

    def statistics(self, records: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """See :func:`pretune.tasks.classification_scores.classification_statistics`."""
        return statistics_of_records(records, self.labels)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """See :func:`pretune.tasks.classification_scores.classification_scores`."""
        return classification_scores(sums_K, len(self.labels))

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Per-class table, confusion matrix, calibration, most confident mistakes."""
        return classification_blocks(
            self._matrix(records),
            np.array([self.index[record["truth"]] for record in records]),
            self.labels,
            rows,
            calibrated_NC=self._matrix(self.calibrated(records)),
            temperature=self.temperature,
            shown=self.shown,
        )

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the report shows of a row: id and texts, and what a modality adds."""
        return {key: row[key] for key in ("id", "text", "text_pair") if key in row}

    def _matrix(self, records: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.array([[record["probabilities"][label] for label in self.labels] for record in records])

    @classmethod
    def scoring(cls, about: Mapping[str, Any]) -> Scorer:
        """See :class:`pretune.tasks.base.Task`."""
        labels = tuple(about["labels"])
        return Scorer(
            lambda records: statistics_of_records(records, labels),
            lambda sums_K: classification_scores(sums_K, len(labels)),
            cls.higher_is_better,
        )

    def to_dict(self) -> dict[str, Any]:
        """Name, labels and temperature."""
        return {"task": self.name, "labels": list(self.labels), "temperature": self.temperature}
