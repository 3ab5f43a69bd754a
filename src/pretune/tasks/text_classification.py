"""Text classification: one label for a text or a pair of texts.

Shapes: B items of a batch, C classes, N rows, K statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.store import TokenStore, encode_dataset
from pretune.backbones.text import TextEncoder, TextPiece, collate_text
from pretune.errors import DataError
from pretune.tasks.base import Scorer, Task
from pretune.tasks.classification_blocks import classification_blocks
from pretune.tasks.classification_scores import (
    HIGHER_IS_BETTER,
    SCORE_LIMITS,
    classification_scores,
    statistics_of_records,
)
from pretune.types import Batch, Encoded, Example, Label, Loss, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["TextClassification", "balanced_class_weights"]


def balanced_class_weights(counts_C: Sequence[int]) -> tuple[float, ...]:
    """Weights inverse to class frequency with mean 1 over rows (King & Zeng 2001, section 4.2); 0 for an absent class."""
    total, present = sum(counts_C), sum(count > 0 for count in counts_C)
    return tuple(total / (present * count) if count else 0.0 for count in counts_C)


@final
class TextClassification(Task):
    """Single-label classification of texts and pairs of texts."""

    name: ClassVar[str] = "text-classification"
    modality: ClassVar[str] = "text"
    primary_metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[Mapping[str, bool]] = HIGHER_IS_BETTER
    limits: ClassVar[Mapping[str, tuple[float, float]]] = SCORE_LIMITS

    def __init__(
        self,
        labels: Sequence[str],
        encoder: TextEncoder,
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.labels = tuple(labels)
        self.encoder = encoder
        self.padding = encoder.padding
        self.index = {label: number for number, label in enumerate(self.labels)}
        self.class_weights_C = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.label_smoothing = label_smoothing

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The sequence classifier that transformers has for the backbone."""
        return backbone.build(
            "AutoModelForSequenceClassification",
            seed=seed,
            num_labels=len(self.labels),
            id2label=dict(enumerate(self.labels)),
            label2id=dict(self.index),
            problem_type="single_label_classification",
        )

    def encode(self, example: Example) -> list[Encoded]:
        """One item, or one a window with the row's weight shared among them."""
        pair = example.inputs.get("text_pair")
        pieces = self.encoder.encode([example.inputs["text"]], None if pair is None else [pair])[0]
        target = self._target(example.target)
        weight = example.weight / len(pieces)
        return [Encoded(example.id, piece.input_ids, piece.segment_ids, target, weight) for piece in pieces]

    def _target(self, target: Label | None) -> int | None:
        if target is None:
            return None
        if target.name not in self.index:
            raise DataError(
                f'the label "{target.name}" is not among those trained on: {", ".join(self.labels[:20])}',
                "correct the label, or train with rows that have it",
            )
        return self.index[target.name]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> _StoredRows:
        """See :class:`pretune.tasks.base.Task`."""
        store = encode_dataset(dataset, self.encoder, fingerprint=fingerprint)
        targets_N = None
        if "label" in dataset.column_names:
            found = [self._target(None if name is None else Label(name)) for name in dataset["label"]]
            targets_N = np.array([-1 if target is None else target for target in found], dtype=np.int64)
        return _StoredRows(store, dataset, targets_N)

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B,) int64 with -1 for unlabelled; ``extras["weights"]`` (B,)."""
        pieces = [TextPiece(row.input_ids_T, row.segment_ids_T) for row in rows]
        padded = collate_text(pieces, self.padding, max_length=self.encoder.max_length)
        targets_B = torch.tensor([-1 if row.target is None else row.target for row in rows])
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        if self.class_weights_C is not None:
            weights_B = weights_B * self.class_weights_C[targets_B.clamp(min=0)]
        return Batch(
            inputs=padded.inputs,
            targets=targets_B,
            num_items=float(weights_B[targets_B >= 0].sum()),
            ids=tuple(row.id for row in rows),
            num_tokens=padded.num_tokens,
            num_padded=padded.num_padded,
            extras={"weights": weights_B},
        )

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Weighted cross entropy, summed."""
        assert batch.targets is not None
        if bool((batch.targets < 0).any()):
            unlabelled = [i for i, target in zip(batch.ids, batch.targets.tolist(), strict=True) if target < 0]
            raise DataError(
                f"{self.name} cannot learn from unlabelled rows: {', '.join(unlabelled[:5])}",
                "give them a label, or leave them to `pretune pretrain`",
            )
        logits_BC = model(**batch.inputs).logits.float()
        losses_B = functional.cross_entropy(
            logits_BC, batch.targets, reduction="none", label_smoothing=self.label_smoothing
        )
        return Loss((losses_B * batch.extras["weights"]).sum(), batch.num_items)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """Softmax probabilities as trained (no temperature)."""
        probabilities_BC = torch.softmax(model(**batch.inputs).logits.double(), dim=-1).cpu()
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

    def statistics(self, records: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """See :func:`pretune.tasks.classification_scores.classification_statistics`."""
        return statistics_of_records(records, self.labels)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """See :func:`pretune.tasks.classification_scores.classification_scores`."""
        return classification_scores(sums_K, len(self.labels))

    def blocks(
        self,
        records: Sequence[Mapping[str, Any]],
        rows: Any,
        *,
        calibrated: Sequence[Mapping[str, Any]] | None,
        temperature: float | None,
    ) -> list[dict[str, Any]]:
        """Per-class table, confusion matrix, calibration, most confident mistakes."""
        truth_N = np.array([self.index[record["truth"]] for record in records])
        return classification_blocks(
            self._matrix(records),
            truth_N,
            self.labels,
            rows,
            calibrated_NC=None if calibrated is None else self._matrix(calibrated),
            temperature=temperature,
        )

    def _matrix(self, records: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.array([[record["probabilities"][label] for label in self.labels] for record in records])

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> TextClassification:
        """See :class:`pretune.tasks.base.Task`."""
        encoder = TextEncoder(
            backbone.tokenizer,
            max_length=about["max_length"],
            long_text=about["long_text"],
            segments=backbone.uses_segments,
        )
        return cls(about["labels"], encoder)

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
        """Name, labels and how text is cut."""
        return {
            "task": self.name,
            "labels": list(self.labels),
            "max_length": self.encoder.max_length,
            "long_text": self.encoder.long_text,
        }


class _StoredRows:
    """Rows of a :class:`TokenStore` with their ids and targets, read through memory maps."""

    def __init__(self, store: TokenStore, dataset: Dataset, targets_N: np.ndarray | None) -> None:
        self._store = store
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._row_of_item = np.asarray(store.rows)
        self._items_of_row = np.bincount(self._row_of_item, minlength=len(dataset))
        self._targets_N = targets_N
        self.lengths_N = store.lengths
        self.ledger: dict[str, Any] = store.ledger.to_dict()

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Encoded:
        row = int(self._row_of_item[index])
        piece = self._store.piece(index)
        target = None if self._targets_N is None or self._targets_N[row] < 0 else int(self._targets_N[row])
        return Encoded(
            self._ids[row].as_py(), piece.input_ids, piece.segment_ids, target, 1.0 / self._items_of_row[row]
        )
