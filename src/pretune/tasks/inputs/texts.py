"""Rows of one text or a pair of texts, whatever is answered to them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.backbones.pooling.choice import chosen_pooling
from pretune.backbones.pooling.pool import MODES
from pretune.backbones.text.limits import encoder_for, encoder_of
from pretune.config import READ_BY_MODALITY
from pretune.errors import DataError
from pretune.metrics.base import Measured
from pretune.modalities import Modality
from pretune.modalities.text.encoder import LONG_TEXT, TextEncoder, TextPiece, collate_text
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.modalities.text.vary import WORD_VARIATIONS, WordVarier
from pretune.schema import Check, listed, text, whole
from pretune.tasks.base import Task
from pretune.tasks.baselines.text import text_baselines
from pretune.tasks.inputs.row_task import RowTask
from pretune.tasks.shown.parts import Parts
from pretune.tasks.shown.text_parts import text_parts
from pretune.types import Encoded, Example

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["OfTexts"]

_SHOWN, _SHOWN_CHARACTERS = 4, 300


class OfTexts(RowTask):
    """Texts and pairs of texts."""

    modality: ClassVar[Modality] = Modality.TEXT
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["text"], "pooling", "augment")
    kept: ClassVar[Mapping[str, Check]] = {
        "max_length": whole(1),
        "long_text": text(*LONG_TEXT),
        "augment?": text(*WORD_VARIATIONS),
        "pooling?": listed(text(*MODES)),
    }
    taught_variation: ClassVar[str] = "none"
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"

    def __init__(
        self, labels: Sequence[str], encoder: TextEncoder, *, augment: str = "none", pooling: Sequence[str] = (), **options: Any
    ) -> None:  # fmt: skip
        super().__init__(labels, **options)
        self.pooling = tuple(pooling)
        self.encoder = encoder
        self.padding = encoder.padding
        self.variation = WORD_VARIATIONS[augment]

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        labels, options = cls.options_of(data, settings)
        augment = "none" if settings.augment == "auto" else settings.augment
        pooling = chosen_pooling(settings.pooling, backbone).modes
        return cls(labels, encoder_for(backbone, settings), augment=augment, pooling=pooling, **options)

    def inputs_identity(self) -> str:
        """The tokenizer, and how rows are cut into tokens."""
        return self.encoder.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """One item, or one a window with the row's weight shared among them."""
        return self._encoded_together([example])[0]

    def encode_each(self, examples: Sequence[Example]) -> list[list[Encoded] | DataError]:
        """Together where no answers are told: any text can be read, an answer may be one that was never learned."""
        if any(example.target is not None for example in examples):
            return super().encode_each(examples)
        runs = itertools.groupby(examples, lambda example: example.inputs.get("text_pair") is None)
        return [items for _, run in runs for items in self._encoded_together(list(run))]

    def _encoded_together(self, examples: Sequence[Example]) -> list[list[Encoded]]:
        """The items of examples that are all texts, or all pairs."""
        texts = [example.inputs["text"] for example in examples]
        alone = examples[0].inputs.get("text_pair") is None
        pairs = None if alone else [example.inputs["text_pair"] for example in examples]
        rows = self.encoder.encode(texts, pairs)
        return [self._items(*both) for both in zip(examples, rows, strict=True)]

    def _items(self, example: Example, pieces: Sequence[TextPiece]) -> list[Encoded]:
        target = self.target_of(example.target)
        weight = example.weight / len(pieces)
        return [_encoded(example.id, piece, target, weight) for piece in pieces]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> _StoredRows:
        """See :class:`pretune.tasks.base.Task`."""
        store = encode_dataset(dataset, self.encoder, fingerprint=fingerprint)
        return _StoredRows(store, dataset, self.targets_by_row(dataset))

    @property
    def varies_rows(self) -> bool:
        """All levels but ``none`` do."""
        return self.variation.name != "none"

    @cached_property
    def _varier(self) -> WordVarier:
        return WordVarier(self.variation, self.encoder.tokenizer)

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The text with words hidden, or a stretch of it."""
        if not self.varies_rows:
            return row
        piece = TextPiece(*self._varier(row.arrays["input_ids"], row.arrays.get("segment_ids"), rng))
        return _encoded(row.id, piece, row.target, row.weight)

    def explained(
        self, model: torch.nn.Module, records: Sequence[Mapping[str, Any]], rows: Any
    ) -> list[dict[str, Any]]:
        """How texts were varied while the model learned, where they were."""
        if not self.varies_rows:
            return []
        rng = np.random.default_rng(0)
        shown: list[list[str]] = []
        for number in range(min(_SHOWN, len(rows))):
            inputs = {name: rows[number][name] for name in ("text", "text_pair") if name in rows.column_names}
            item = self.encode(Example(rows[number]["id"], inputs))[0]
            versions = [item, *(self.augment(item, rng) for _ in range(2))]
            texts = (self.encoder.tokenizer.decode(one.arrays["input_ids"].tolist()) for one in versions)
            shown.append(
                [text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …" for text in texts]
            )
        note = f"While it learned, the model read texts varied like these (--augment {self.variation.name})."
        columns = [{"name": name, "kind": "text"} for name in ("as it stands", "varied", "varied again")]
        return [{"type": "table", "title": "Varied texts", "note": note, "columns": columns, "rows": shown}]

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens; segment ids change none of them."""
        return isinstance(other, OfTexts) and other.encoder.pieces_identity() == self.encoder.pieces_identity()

    def without_trunk(self, row: Encoded, *, first_only: bool) -> Encoded:
        """The first token alone, where no more is read: of the first position, or of all by one vector."""
        if not first_only:
            return row
        return Encoded(row.id, {name: array[:1] for name, array in row.arrays.items()}, 1, row.target, row.weight)

    def inputs_of(self, rows: Sequence[Encoded]) -> tuple[dict[str, torch.Tensor], int, int]:
        """Token ids and masks (B, T)."""
        pieces = [TextPiece(row.arrays["input_ids"], row.arrays.get("segment_ids")) for row in rows]
        padded = collate_text(pieces, self.padding, max_length=self.encoder.max_length)
        return padded.inputs, padded.num_tokens, padded.num_padded

    def parts(self, example: Example) -> Parts:
        """Words; a blank is the mask token, or the padding token where the model has none."""
        return text_parts(self.encoder, example)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The training rows' shares of labels, and TF-IDF with logistic regression."""
        return text_baselines(train, rows, self.known_answers(train, rows))

    def portable(self) -> dict[str, Any]:
        """Special tokens and padding."""
        template = dataclasses.asdict(self.encoder.template)
        return {"modality": self.modality, **dataclasses.asdict(self.padding), **template}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(
            about.get("labels", ()),
            encoder_of(backbone, about),
            augment=about.get("augment", "none"),
            pooling=about.get("pooling", ()),
            **cls.saved_options(about),
        )

    def to_dict(self) -> dict[str, Any]:
        """What the labels need, and how text is cut."""
        cut = {"max_length": self.encoder.max_length, "long_text": self.encoder.long_text}
        return {**super().to_dict(), **cut, "augment": self.variation.name, "pooling": list(self.pooling)}


def _encoded(row_id: str, piece: TextPiece, target: Any, weight: float) -> Encoded:
    arrays = {"input_ids": piece.input_ids}
    if piece.segment_ids is not None:
        arrays["segment_ids"] = piece.segment_ids
    return Encoded(row_id, arrays, len(piece.input_ids), target, weight)


class _StoredRows:
    """Rows of a :class:`TokenStore` with their ids and targets, read through memory maps."""

    def __init__(self, store: TokenStore, dataset: Dataset, targets: Sequence[Any]) -> None:
        self._store = store
        self._ids = dataset.with_format("arrow")[:]["id"]
        self._row_of_item = np.asarray(store.rows)
        self._items_of_row = np.bincount(self._row_of_item, minlength=len(dataset))
        self._targets = targets
        self.lengths_N = store.lengths
        self.ledger: dict[str, Any] = store.ledger.to_dict()

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Encoded:
        row = int(self._row_of_item[index])
        return _encoded(
            self._ids[row].as_py(), self._store.piece(index), self._targets[row], 1.0 / self._items_of_row[row]
        )
