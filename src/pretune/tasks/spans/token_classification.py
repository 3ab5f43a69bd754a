"""A tag for each word of a text: entities, slots, parts of speech.

Words are stretches of the text; a word's tag is read at its first token (Devlin et al. 2019, section 5.3), found by character offsets,
which byte-level tokenizers and others agree on. A long text is read in windows that overlap, and each word in the one in which
it has the most text on both sides. Shapes: B items of a batch, T tokens of an item, W words of an item, C tags, N rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Tags
from pretune.answers.schemes import OUTSIDE, Scheme, entities_of, scheme_of, to_iob2
from pretune.backbones.text.limits import encoder_for, encoder_of
from pretune.config import READ_BY_MODALITY
from pretune.data.text.words import first_tokens, owners, words_of
from pretune.errors import DataError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.tagging import TaggingMetric
from pretune.modalities import Modality
from pretune.modalities.text.encoder import TextEncoder, TextPiece, collate_text
from pretune.schema import Check, listed, text, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled, windows_of
from pretune.tasks.blocks.tagging import tagging_blocks
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.rows.items import ArrayKind, Counted, ItemRows, store_items
from pretune.tasks.soft_losses import softened_divergence
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, in_double
from pretune.wording import agree, counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["TokenClassification"]

IGNORED = -100
_WINDOWS = "windows"
_FEW_RECORDS = 10
PLACES, WORDS, SPANS, ROW = "places", "words", "spans", "row"
"""Of an item: the tokens (W,) at which its words are read, the words' numbers in their row (W,), their characters (W, 2), and of the row
the number of its words and of its items (2,)."""
_KEPT = {
    "input_ids": ArrayKind(np.int32), "segment_ids": ArrayKind(np.uint8), PLACES: ArrayKind(np.int32), WORDS: ArrayKind(np.int32),
    SPANS: ArrayKind(np.int32, (2,)), ROW: ArrayKind(np.int32),
}  # fmt: skip


@final
class TokenClassification(Task):
    """One tag a word. ``labels`` are the tags, ``O`` first where it is one."""

    name: ClassVar[str] = "token-classification"
    hub_task: ClassVar[str] = "token-classification"
    modality: ClassVar[Modality] = Modality.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", "tags")
    answer: ClassVar[str] = Tags.kind
    metric_type: ClassVar[type[Metric]] = TaggingMetric
    reads: ClassVar[tuple[str, ...]] = tuple(name for name in READ_BY_MODALITY["text"] if name != "long_text")
    kept: ClassVar[Mapping[str, Check]] = {
        "labels": listed(text(), least=2, unique=True),
        "max_length": whole(1),
        "long_text": text(_WINDOWS),
    }
    taught_variation: ClassVar[str] = "none"
    lacks: ClassVar[Mapping[str, str]] = {
        **Task.lacks,
        "explain": "token-classification gives an answer for each word: what speaks for each of them is not drawn",
    }

    def __init__(self, labels: Sequence[str], encoder: TextEncoder) -> None:
        self.labels = tuple(labels)
        self.index = {label: number for number, label in enumerate(self.labels)}
        assert encoder.long_text == _WINDOWS, "every word of a text gets a tag"
        self.encoder = encoder
        self.scheme: Scheme = "plain" if scheme_of([self.labels]) == "plain" else "IOB2"

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there two tags to tell apart?"""
        cls._tags_of(data)

    @classmethod
    def _tags_of(cls, data: Splits) -> list[str]:
        train = training_rows(data, cls.answer)
        counts = Counter(tag for tags in train[cls.answer] for tag in tags or ())
        if len(counts) < 2:
            raise DataError(
                f"all words of the training rows have one tag ({', '.join(counts) or 'none'})",
                "a tagger needs two tags or more: is --column tags=... the right one?",
            )
        return sorted(counts, key=lambda tag: (tag != OUTSIDE, tag.partition("-")[2], tag))

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(cls._tags_of(data), encoder_for(backbone, settings, long_text=_WINDOWS))

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: its tags stand in this task's order."""
        return type(self)(self.labels, encoder_for(backbone, settings, long_text=_WINDOWS))

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The tagger that transformers has for the backbone."""
        return backbone.build(
            "AutoModelForTokenClassification", seed=seed, num_labels=len(self.labels),
            id2label=dict(enumerate(self.labels)), label2id=dict(self.index),
        )  # fmt: skip

    def inputs_identity(self) -> str:
        """The tokenizer, and how rows are cut into tokens."""
        return self.encoder.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """One item, or one a window, each with the words that are read in it."""
        line = example.inputs["text"]
        words = [tuple(one) for one in example.inputs.get("words") or words_of(line)]
        target = example.target
        assert target is None or isinstance(target, Tags), f"{type(target).__name__} are no tags"
        numbers = None if target is None else self._numbered(target.values, len(words), example.id)
        located = self.encoder.locate(line)
        found = [
            first_tokens([None if place is None else (place.start, place.stop) for place in places], words)
            for _, places in located
        ]
        owner = owners(found, [len(piece.input_ids) for piece, _ in located], len(words))
        items = []
        for number, ((piece, _), at) in enumerate(zip(located, found, strict=True)):
            own = [word for word in sorted(at) if owner[word] == number]
            arrays = {
                "input_ids": piece.input_ids,
                PLACES: np.array([at[word] for word in own], dtype=np.int32),
                WORDS: np.array(own, dtype=np.int32),
                SPANS: np.array([words[word] for word in own], dtype=np.int32).reshape(-1, 2),
                ROW: np.array([len(words), len(located)], dtype=np.int32),
            }
            if piece.segment_ids is not None:
                arrays["segment_ids"] = piece.segment_ids
            tags = None if numbers is None else tuple(numbers[word] for word in own)
            items.append(Encoded(example.id, arrays, len(piece.input_ids), tags, example.weight / len(located)))
        return items

    def _numbered(self, tags: Sequence[str], words: int, row: str) -> list[int]:
        """Numbers of the tags, -100 for one that was never learned. Raises :class:`DataError` for another number than of words."""
        if len(tags) != words:
            raise DataError(f"row {row} has {words} words and {len(tags)} tags", "one tag a word is expected")
        return [self.index.get(tag, IGNORED) for tag in tags]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ItemRows:
        """See :class:`pretune.tasks.base.Task`. The ledger counts words without a token as lost."""

        def count(items: Sequence[Encoded]) -> Counted:
            words = int(items[0].arrays[ROW][0])
            return Counted(empty=not words, lost=words - sum(len(item.arrays[WORDS]) for item in items))

        about = json.dumps([fingerprint, self.to_dict(), self.inputs_identity()], sort_keys=True)
        return store_items(self, dataset, _KEPT, count, about=about, unknown=self.encoder.tokenizer.unk_token_id)

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens; segment ids change none of them."""
        return (
            isinstance(other, TokenClassification) and other.encoder.pieces_identity() == self.encoder.pieces_identity()
        )

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B, T) are tags at the first tokens of labelled words, else -100; ``extras``: ``read`` (B, T) where a word is read,
        ``weights`` (B,) of each word of an item, ``labelled`` (B,).
        """
        pieces = [TextPiece(row.arrays["input_ids"], row.arrays.get("segment_ids")) for row in rows]
        padding = self.encoder.padding
        padded = collate_text(pieces, padding, max_length=self.encoder.max_length)
        width = padded.inputs["input_ids"].shape[1]
        targets_BT = torch.full((len(rows), width), IGNORED)
        read_BT = torch.zeros(len(rows), width, dtype=torch.bool)
        for number, row in enumerate(rows):
            shift = width - len(row.arrays["input_ids"]) if padding.left else 0
            places = torch.from_numpy(row.arrays[PLACES].astype(np.int64)) + shift
            read_BT[number, places] = True
            if row.target is not None:
                targets_BT[number, places] = torch.tensor(row.target, dtype=torch.long)
        # A row in several windows shares its weight among them, and each of its words counts with all of it.
        weights_B = torch.tensor([row.weight * int(row.arrays[ROW][1]) for row in rows], dtype=torch.float32)
        labelled_B = torch.tensor([row.target is not None for row in rows])
        words = [len(row.target) * weight for row, weight in zip(rows, weights_B.tolist(), strict=True) if row.target]
        return Batch(
            inputs=padded.inputs,
            targets=targets_BT,
            counts={TERM: float(sum(words))},
            ids=tuple(row.id for row in rows),
            num_tokens=padded.num_tokens,
            num_padded=padded.num_padded,
            extras={
                "weights": weights_B,
                "labelled": labelled_B,
                "read": read_BT,
                WORDS: [torch.from_numpy(row.arrays[WORDS].astype(np.int64)) for row in rows],
                SPANS: [torch.from_numpy(row.arrays[SPANS].astype(np.int64)) for row in rows],
                ROW: torch.tensor([row.arrays[ROW].tolist() for row in rows]),
            },
        )

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, T, C)."""
        return model(**batch.inputs).logits

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy, summed over words."""
        refuse_unlabelled(self, batch, rows="rows without tags", answer="tag for each word")
        return Loss.of(self.hard_losses(self.logits_of(model, batch), batch).sum())

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those with tags."""
        return batch.extras["labelled"]

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Words, the one measure of rows with and without tags."""
        return batch.extras["read"].sum(dim=1) * batch.extras["weights"]

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy summed over an item's words, times their weight."""
        assert batch.targets is not None
        losses_BT = functional.cross_entropy(
            logits.float().transpose(1, 2), batch.targets, ignore_index=IGNORED, reduction="none"
        )
        return losses_BT.sum(dim=1) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`, summed over an item's words."""
        apart_BT = softened_divergence(logits, teachers, temperature)
        own_BT = torch.where(batch.extras["read"], apart_BT, torch.zeros_like(apart_BT))
        return own_BT.sum(dim=1) * batch.extras["weights"]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Probabilities of the tags at words' first tokens, (B, T, C) float64; 0 elsewhere."""
        read_BT = batch.extras["read"]
        logits_BTC = finite_answers(self.logits_of(model, batch), batch.ids, read_BT)
        shares_BTC = torch.softmax(in_double(logits_BTC), dim=-1)
        return shares_BTC * read_BT.to(shares_BTC.device)[..., None]

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """The tags of each item's words; None for those of its row that are read in another window."""
        tags_BT = self.outputs(model, batch).argmax(dim=-1).cpu()
        read_BT, counts_B = batch.extras["read"].cpu(), batch.extras[ROW].cpu()[:, 0].tolist()
        found = []
        for number, row in enumerate(batch.ids):
            tags: list[str | None] = [None] * counts_B[number]
            spans: list[list[int] | None] = [None] * counts_B[number]
            own = zip(
                batch.extras[WORDS][number].tolist(), batch.extras[SPANS][number].tolist(),
                tags_BT[number][read_BT[number]].tolist(), strict=True,
            )  # fmt: skip
            for word, span, tag in own:
                tags[word], spans[word] = self.labels[tag], span
            found.append(Prediction(row, tags, (), {WORDS: spans}))
        return found

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Each word's tag from the window that it is read in; ``O`` for one without a token. Entities begin with B-."""
        return [self._merged(windows) for windows in windows_of(predictions)]

    def _merged(self, windows: Sequence[Prediction]) -> Prediction:
        nothing = OUTSIDE if OUTSIDE in self.index else self.labels[0]
        by_word = zip(*(window.answer for window in windows), strict=True)
        tags = [next((tag for tag in one if tag is not None), nothing) for one in by_word]
        spans = [
            next((span for span in one if span is not None), None)
            for one in zip(*(window.detail[WORDS] for window in windows), strict=True)
        ]
        return Prediction(windows[0].id, to_iob2(tags, self.scheme), (), {WORDS: spans})

    def truths(self, dataset: Dataset) -> list[Any]:
        """The tags. One that was never learned stays in them, and counts as missed; rows without one that was learned raise
        :class:`DataError`.
        """
        cells = self.cells(dataset)
        given = {tag for tags in cells for tag in tags or ()}
        unknown = sorted(given - {*self.labels})
        if unknown and not (given - {OUTSIDE}) & {*self.labels}:
            raise DataError(
                f'the rows have the tag "{unknown[0]}", which the model never learned, and none that it did',
                f"it knows {', '.join(self.labels[:20])}",
            )
        return cells

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, a tag for each word, the words' characters, the entities' characters, and the truth where it is known."""
        line: dict[str, Any] = {"id": prediction.id, self.answer: prediction.answer}
        if spans := prediction.detail.get(WORDS):
            line[WORDS] = spans
            line["entities"] = entities_of(prediction.answer, spans, self.scheme)
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With the words' and the entities' places."""
        schema = super().record_schema()
        whole_number = {"type": "integer", "minimum": 0}
        pair = {"type": ["array", "null"], "items": whole_number}
        schema["properties"][WORDS] = {
            "type": "array", "items": pair, "description": "first character of each word and the one behind its last",
        }  # fmt: skip
        schema["properties"]["entities"] = {
            "type": "array",
            "items": {"type": "object", "properties": {"start": whole_number, "end": whole_number, "type": {"type": "string"}}},
        }  # fmt: skip
        return schema

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when the same tag is given everywhere, and which tags cannot be given."""
        counts = Counter(tag for one in records for tag in one["truth"] or () if tag not in self.index)
        missed = (
            [
                f"{counted(counts.total(), 'word')} of the rows {agree(counts.total(), 'have', 'has')} tags that the model never learned "
                f"({', '.join(sorted(counts)[:5])}{' ...' if len(counts) > 5 else ''}): they count as missed."
            ]
            if counts
            else []
        )
        given = {tag for record in records for tag in record[self.answer]}
        if len(records) < _FEW_RECORDS or len(given) > 1 or len({t for one in records for t in one["truth"]}) < 2:
            return missed
        return [
            *missed,
            f'All words of {counted(len(records))} are given the tag "{next(iter(given), "")}": the model found nothing. Learn longer '
            "(--epochs) or from a pre-trained backbone.",
        ]

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Scores by type, what is taken for what, the worst rows with their entities."""
        return tagging_blocks(records, rows, self.scheme == "plain")

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """``most-frequent-tag``: each word's most frequent tag in the training rows, the most frequent of all for a word they lack."""
        counts: dict[str, Counter[str]] = {}
        for line, words, tags in zip(train["text"], train[WORDS], train[self.answer], strict=True):
            for (start, stop), tag in zip(words, tags, strict=True) if tags is not None else ():
                counts.setdefault(line[start:stop], Counter())[tag] += 1
        usual = sum(counts.values(), Counter()).most_common(1)[0][0]
        best = {word: min(own, key=lambda tag: (-own[tag], tag)) for word, own in counts.items()}
        records = []
        for row, line, words, truth in zip(rows["id"], rows["text"], rows[WORDS], self.truths(rows), strict=True):
            tags = [best.get(line[start:stop], usual) for start, stop in words]
            records.append({"id": row, self.answer: to_iob2(tags, self.scheme), "truth": truth})
        return {"most-frequent-tag": self.metric.measure(records)}, []

    def portable(self) -> dict[str, Any]:
        """Special tokens and padding."""
        template = dataclasses.asdict(self.encoder.template)
        return {"modality": self.modality, "reader": "tagged", **dataclasses.asdict(self.encoder.padding), **template}

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(about["labels"], encoder_of(backbone, about))

    def to_dict(self) -> dict[str, Any]:
        """Name, tags, and how text is cut."""
        return {
            "task": self.name, "labels": list(self.labels), "max_length": self.encoder.max_length, "long_text": _WINDOWS,
        }  # fmt: skip
