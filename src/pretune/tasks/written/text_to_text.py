"""Text to text: translation, summaries, replies; an encoder-decoder reads a text and writes another.

While it learns it is told the right tokens so far (teacher forcing), and the vocabulary head runs at these alone; afterwards it writes
token by token (:mod:`pretune.backbones.writing.generation`). Shapes: B items of a batch, T tokens read, L tokens written, M target tokens of a
batch, V tokens of the vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch

from pretune.answers import TargetText
from pretune.backbones.text.limits import encoder_for, encoder_of, max_length_of
from pretune.backbones.writing.generation import Generation, Marks, generate, marks_of, search_of
from pretune.config import READ_BY_MODALITY
from pretune.errors import ModelError, UsageError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.writing import WritingMetric
from pretune.modalities import Modality
from pretune.modalities.text.encoder import LONG_TEXT, TextEncoder, TextPiece, collate_text
from pretune.modalities.text.template import plain_backend
from pretune.schema import Check, number, text, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.baselines.writing import scored_as, writing_baselines
from pretune.tasks.blocks.writing import writing_blocks, writing_warnings
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.protocols import Steps
from pretune.tasks.rows.trunk import POSITIONS
from pretune.tasks.rows.written import WrittenRows, item_of, right_texts, store_written
from pretune.tasks.soft_losses import softened_divergence
from pretune.tasks.written.losses import filled, head_at, token_losses
from pretune.tasks.written.writers import refuse_reader, refuse_untied
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, in_double

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["TextToText"]

IGNORED = -100
_PURPOSES = {"translation": "translation", "summarization": "summarization", "summarisation": "summarization"}
_SMOOTHING, _SPARE_TOKENS = 0.1, 10
_DECODING = ("beam_size", "length_penalty", "no_repeat_ngram", "max_new_tokens")


@final
class TextToText(Task):
    """A text for a text. The loss is the cross entropy of target tokens, the end mark among them; all of an update weigh alike.

    ``scored_as`` is ``translation`` or ``summarization``: which score decides. An answer has at most ``per_token`` tokens for each that
    is read and 10 more, or ``max_new_tokens``, and never more than the model can write.
    """

    name: ClassVar[str] = "text-to-text"
    modality: ClassVar[Modality] = Modality.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", "target")
    answer: ClassVar[str] = TargetText.kind
    metric_type: ClassVar[type[Metric]] = WritingMetric
    default_batch_size: ClassVar[int] = 64
    default_updates: ClassVar[int] = 3_000
    default_cost: ClassVar[float] = 20e6
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["text"], "label_smoothing", *_DECODING)
    kept: ClassVar[Mapping[str, Check]] = {
        "max_length": whole(1),
        "long_text": text(*LONG_TEXT[:2]),
        "scored_as": text("translation", "summarization"),
        "per_token": number(),
        "beam_size?": whole(1, 1000),
        "max_new_tokens?": whole(0),
        "length_penalty?": number(),
        "no_repeat_ngram?": whole(0),
    }
    taught_variation: ClassVar[str] = "none"
    by_steps: ClassVar[bool] = True
    by_tokens: ClassVar[bool] = True
    fresh: ClassVar[str] = "scratch:seq2seq-tiny"
    labels: tuple[str, ...] = ()

    def __init__(
        self, encoder: TextEncoder, marks: Marks, *, most: int, scored_as: str = "translation", per_token: float = 2.0, max_new_tokens: int = 0,
        generation: Generation = Generation(), label_smoothing: float = _SMOOTHING,  # noqa: B008 - frozen
    ) -> None:  # fmt: skip
        self.encoder = encoder
        self.writer = TextEncoder(encoder.tokenizer, max_length=most, segments=False)
        self.marks, self.most = marks, most
        self.scored_as, self.per_token, self.max_new_tokens = scored_as, per_token, max_new_tokens
        self.generation, self.label_smoothing = generation, label_smoothing

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there texts to be written?"""
        training_rows(data, cls.answer)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        refuse_reader(backbone)
        if settings.long_text == "windows":
            raise UsageError(
                "--long-text is windows, and a text is written once",
                "choose truncate or head-tail, or a longer --max-length",
            )
        encoder, marks = encoder_for(backbone, settings), marks_of(backbone.config, backbone.tokenizer)
        smoothing = _SMOOTHING if settings.label_smoothing is None else settings.label_smoothing
        generation = Generation(
            settings.beam_size, settings.length_penalty if settings.length_penalty is not None else 1.0, settings.no_repeat_ngram or 0
        )  # fmt: skip
        made = cls(
            encoder, marks, most=max_length_of(backbone), scored_as=_PURPOSES.get(settings.task) or scored_as(data["train"]), max_new_tokens=settings.max_new_tokens or 0,
            generation=generation, label_smoothing=smoothing,
        )  # fmt: skip
        made.per_token = made.ratio_of(data["train"])
        return made

    def ratio_of(self, train: Dataset, rows: int = 2_000) -> float:
        """Tokens that an answer may have for each that is read: half more than nearly all of the first training rows have, 2 at least."""
        some = train.select(range(min(rows, len(train))))
        read, written = (
            self.encoder.tokens_of(list(some["text"])),
            self.encoder.tokens_of([texts[0] if texts else "" for texts in some["target"]]),
        )
        ratios = [(len(out) - _SPARE_TOKENS) / max(1, len(given)) for given, out in zip(read, written, strict=True)]
        return round(max(2.0, 1.5 * float(np.quantile(ratios, 0.99))), 3)

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The model that transformers has for the backbone; its folder says how its answers begin and end."""
        model, report = backbone.build("AutoModelForSeq2SeqLM", seed=seed)
        refuse_untied(backbone, report)
        told: Any = model.generation_config
        told.decoder_start_token_id, told.eos_token_id, told.pad_token_id, told.forced_bos_token_id, told.forced_eos_token_id = (
            self.marks.start, self.marks.end, self.marks.pad, self.marks.first, None,
        )  # fmt: skip
        return model, report

    def inputs_identity(self) -> str:
        """The tokenizer, and how rows are cut into tokens."""
        return f"{self.encoder.identity()}:{self.writer.identity()}"

    @property
    def num_outputs(self) -> int:
        """One a token of the vocabulary."""
        return len(self.encoder.tokenizer)

    @property
    def runs_in_parts(self) -> bool:
        """Nothing inside is kept: the decoder reads what is written so far."""
        return True

    def encode(self, example: Example) -> list[Encoded]:
        """One item: the tokens that are read, and those of the first target text."""
        target = example.target
        assert target is None or isinstance(target, TargetText), f"{type(target).__name__} is no text to be written"
        ((piece,),) = self.encoder.encode([example.inputs["text"]])
        written = None if target is None else self.writer.encode([target.values[0]])[0][0].input_ids
        return [item_of(example.id, piece.input_ids, written, example.weight)]

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> WrittenRows:
        """See :class:`pretune.tasks.base.Task`."""
        return store_written(self.encoder, self.writer, dataset, fingerprint=fingerprint)

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens."""
        return isinstance(other, TextToText) and other.encoder.pieces_identity() == self.encoder.pieces_identity()

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: it writes the same tokens, and is scored and limited alike."""
        made = type(self).start(data, backbone, settings)
        made.scored_as, made.per_token, made.generation = self.scored_as, self.per_token, self.generation
        return made

    def check_teacher(self, teacher: Task) -> None:
        """The same tokens: what is compared are shares of these, one after the other."""
        assert isinstance(teacher, TextToText), f"{teacher.name} writes no texts"
        if teacher.writer.pieces_identity() != self.writer.pieces_identity():
            raise ModelError(
                "teacher and student cut texts into other tokens, and are compared token by token",
                "leave --tokenizer out with --student scratch:..., or let the student learn what the teacher writes: pretune predict "
                "TEACHER rows.jsonl --out written.jsonl, then pretune finetune STUDENT --data written.jsonl",
            )

    def for_teacher(self, item: Encoded) -> Encoded:
        """With the target text: a teacher says what follows the right tokens so far."""
        return item

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B, L) are the tokens to be written, else -100; ``extras``: ``positions`` (B, L) which are tokens, ``weights`` (B,),
        ``limits`` (B,) of answers."""
        padding = self.encoder.padding
        read = collate_text([TextPiece(row.arrays["input_ids"]) for row in rows], _right(padding), max_length=self.most)
        lengths = [len(row.target or ()) for row in rows]
        targets_BL = torch.full((len(rows), max(1, *lengths)), IGNORED)
        for place, row in enumerate(rows):
            if row.target:
                targets_BL[place, : len(row.target)] = torch.tensor(row.target)
        before_BL = torch.full_like(targets_BL, self.marks.start)
        before_BL[:, 1:] = targets_BL[:, :-1]
        before_BL[before_BL == IGNORED] = self.marks.pad
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        read.inputs.pop("token_type_ids", None)
        return Batch(
            inputs={**read.inputs, "decoder_input_ids": before_BL},
            targets=targets_BL,
            counts={TERM: float(sum(n * row.weight for n, row in zip(lengths, rows, strict=True)))},
            ids=tuple(row.id for row in rows),
            num_tokens=read.num_tokens + sum(lengths),
            num_padded=read.num_padded + targets_BL.numel(),
            extras={
                "weights": weights_B,
                POSITIONS: targets_BL != IGNORED,
                "labelled": torch.tensor([row.target is not None for row in rows]),
                "limits": torch.tensor([self.limit_of(len(row.arrays["input_ids"])) for row in rows]),
            },
        )

    def limit_of(self, tokens_read: int) -> int:
        """The most tokens of an answer, its end mark among them."""
        return min(self.most, self.max_new_tokens or math.ceil(self.per_token * tokens_read) + _SPARE_TOKENS)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, L, V), each after the right tokens before it."""
        return model(**batch.inputs, use_cache=False).logits

    def _losses_at(self, model: torch.nn.Module, batch: Batch, smoothing: float) -> torch.Tensor:
        """Of each item the loss of its tokens (B,), times its weight; the head runs at these tokens alone."""
        assert batch.targets is not None
        targets_N = batch.targets.reshape(-1)
        places_M = torch.nonzero(targets_N != IGNORED)[:, 0]
        places_P = filled(places_M)
        with head_at(model, places_P):
            logits_PV = model(**batch.inputs, use_cache=False).logits
        losses_P = token_losses(logits_PV, targets_N[places_P], smoothing)
        return self._by_row(losses_P[: len(places_M)], places_M, batch)

    @staticmethod
    def _by_row(losses_M: torch.Tensor, places_M: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The sums (B,) over each item's tokens, which stand at these places of the flattened B * L, times the items' weights."""
        assert batch.targets is not None
        sums_B = torch.zeros(len(batch.ids), device=losses_M.device)
        return sums_B.index_add(0, places_M // batch.targets.shape[1], losses_M) * batch.extras["weights"]

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy with smoothed targets, summed over tokens."""
        refuse_unlabelled(self, batch, rows="rows without a target text", answer="target text")
        return Loss.of(self._losses_at(model, batch, self.label_smoothing).sum())

    def watched(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each item the loss of its tokens, their targets not smoothed, and how many there are: the two of ``token_loss``."""
        assert batch.targets is not None
        return self._losses_at(model, batch, 0.0), (batch.targets != IGNORED).sum(dim=1)

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those with a target text."""
        return batch.extras["labelled"]

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Tokens to be written."""
        assert batch.targets is not None
        return (batch.targets != IGNORED).sum(dim=1) * batch.extras["weights"]

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy with smoothed targets, summed over an item's tokens."""
        assert batch.targets is not None
        targets_N = batch.targets.reshape(-1)
        places_M = torch.nonzero(targets_N != IGNORED)[:, 0]
        losses_M = token_losses(logits.flatten(0, 1)[places_M], targets_N[places_M], self.label_smoothing)
        return self._by_row(losses_M, places_M, batch)

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`, summed over an item's tokens."""
        assert batch.targets is not None
        apart_BL = softened_divergence(logits, teachers, temperature)
        return torch.where(batch.targets != IGNORED, apart_BL, torch.zeros_like(apart_BL)).sum(dim=1) * batch.extras["weights"]  # fmt: skip

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Shares of the tokens (B, L, V) after the right ones before them; 0 behind an item's end."""
        assert batch.targets is not None
        real_BL = batch.targets != IGNORED
        logits_BLV = finite_answers(self.logits_of(model, batch), batch.ids, real_BL)
        shares_BLV = torch.softmax(in_double(logits_BLV), dim=-1)
        return shares_BLV * real_BL.to(shares_BLV.device)[..., None]

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """A text for each item, as it is searched (:meth:`answering`)."""
        read = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
        written = generate(model, read, self.generation, limits_B=batch.extras["limits"].tolist(), marks=self.marks)
        said = plain_backend(self.encoder.tokenizer).decode_batch(
            [one.ids for one in written], skip_special_tokens=True
        )
        return [
            Prediction(row, line.strip(), (), {"cut_off": True} if one.cut_off else {})
            for row, line, one in zip(batch.ids, said, written, strict=True)
        ]

    def steps_of(self, example: Example, text: str) -> Steps:
        """Each token behind those before it, the first behind the start mark."""
        written_L = self.writer.encode([text])[0][0].input_ids
        return Steps(written_L, np.concatenate([[self.marks.start], written_L[:-1]]))

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """A row is one item."""
        return list(predictions)

    def truths(self, dataset: Dataset) -> list[Any]:
        """The right text of each row, or a list of several. Raises :class:`DataError` where a row has none."""
        return right_texts(dataset["id"], self.cells(dataset), "row {row} has no target text to score against")

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, text, whether it reached its limit (where it did), and the truth where it is known."""
        line = {"id": prediction.id, self.answer: prediction.answer, **prediction.detail}
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With the mark of answers that reached their limit."""
        schema = super().record_schema()
        schema["properties"]["cut_off"] = {"type": "boolean", "description": "true where the text reached its limit"}
        return schema

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when the model writes the same everywhere, nothing, or does not come to an end."""
        return writing_warnings(records)

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """How answers fail, and the worst rows."""
        return writing_blocks(records, rows, self.metric, self.scored_as)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The source itself and what the nearest training row was answered by; of summaries also the first sentence."""
        return writing_baselines(train, rows, self.truths(rows), self.metric, self.scored_as)

    def answering(self) -> dict[str, Any]:
        """How answers are searched, as the options that ask for it."""
        return {**self.generation.to_dict(), **({"max_new_tokens": self.max_new_tokens} if self.max_new_tokens else {})}

    def portable(self) -> dict[str, Any]:
        """Special tokens and padding; how answers are searched, and how long they may be."""
        template = dataclasses.asdict(self.encoder.template)
        told = {
            "start": self.marks.start, "search": dataclasses.asdict(search_of(self.generation, self.marks)), "most": self.most,
            "spare_tokens": _SPARE_TOKENS,
        }  # fmt: skip
        return {
            "modality": self.modality,
            "reader": "written",
            **dataclasses.asdict(_right(self.encoder.padding)),
            **template,
            **told,
        }

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        refuse_reader(backbone)
        generation = Generation(
            int(about.get("beam_size", 1)),
            float(about.get("length_penalty", 1.0)),
            int(about.get("no_repeat_ngram", 0)),
        )
        return cls(
            encoder_of(backbone, about), marks_of(backbone.config, backbone.tokenizer), most=max_length_of(backbone),
            scored_as=about["scored_as"], per_token=about["per_token"], max_new_tokens=int(about.get("max_new_tokens", 0)), generation=generation,
        )  # fmt: skip

    def with_training_options(self, data: Splits, settings: Any) -> None:
        """Targets are smoothed as they were."""
        self.label_smoothing = _SMOOTHING if settings.label_smoothing is None else settings.label_smoothing

    def to_dict(self) -> dict[str, Any]:
        """Name, how texts are cut, how answers are searched and scored."""
        return {
            "task": self.name, "labels": [], "max_length": self.encoder.max_length, "long_text": self.encoder.long_text,
            "scored_as": self.scored_as, "per_token": self.per_token, "max_new_tokens": self.max_new_tokens,
            "beam_size": self.generation.beam_size, "length_penalty": self.generation.length_penalty,
            "no_repeat_ngram": self.generation.no_repeat_ngram,
        }  # fmt: skip


def _right(padding: Any) -> Any:
    """Encoders are padded behind the text."""
    return dataclasses.replace(padding, left=False, segments=False)
