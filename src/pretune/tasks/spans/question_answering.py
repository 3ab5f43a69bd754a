"""The stretch of a passage that answers a question: extractive question answering.

Two numbers a token say how well an answer starts and ends there; the first token stands for "no answer" (Devlin et al. 2019, sections 4.2
and 4.3). A long passage is read in windows that overlap, each with the whole question, and the best stretch of all windows is the
answer. Shapes: B items of a batch, T tokens of an item, P tokens of its passage, N rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import AnswerSpan
from pretune.answers.span import NOWHERE
from pretune.answers.span_search import answer_in, trimmed_spans
from pretune.backbones.states.head_outputs import logits_in
from pretune.backbones.text.limits import encoder_for, encoder_of
from pretune.config import READ_BY_MODALITY
from pretune.errors import DataError, UsageError
from pretune.modalities import Modality
from pretune.modalities.text.encoder import TextPiece, collate_text
from pretune.schema import Check, flag, number, text, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.rows.items import ArrayKind, Counted, ItemRows, store_items
from pretune.tasks.soft_losses import softened_divergence
from pretune.tasks.spans.span_answers import SpanAnswers
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, in_double

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits
    from pretune.modalities.text.encoder import TextEncoder

__all__ = ["QuestionAnswering"]

IGNORED = -100
FAR = -1e9
_WINDOWS, _USUAL_TOKENS, _CROP_TOKENS = "windows", 256, 128
_LEAST_LONGEST = 30
_NOBODY = (0, 0)
_LOST = (-1, -1)
_VARIATIONS = ("none", "light")
ABOUT = ("first", "base", "windows", "lost")
"""Of an item: the place of its passage among its tokens, the character of the row's passage at which its own begins, the number of
the row's items, and how many tokens of the question it lacks."""
_KEPT = {
    "input_ids": ArrayKind(np.int32), "segment_ids": ArrayKind(np.uint8), "spans": ArrayKind(np.int32, (2,)),
    "passage": ArrayKind(np.uint8), "row": ArrayKind(np.int32),
}  # fmt: skip


@final
class QuestionAnswering(SpanAnswers):
    """One stretch of a passage, or none.

    ``longest`` is the longest answer in characters, ``threshold`` by how much "no answer" has to be ahead of the best stretch to be the
    answer (None: every question is answered, as all training rows were). With ``augment`` light a stretch of 128 tokens around the
    answer is learned from instead of the whole window.
    """

    name: ClassVar[str] = "question-answering"
    hub_task: ClassVar[str] = "question-answering"
    modality: ClassVar[Modality] = Modality.TEXT
    default_batch_size: ClassVar[int] = 16
    reads: ClassVar[tuple[str, ...]] = (
        *(name for name in READ_BY_MODALITY["text"] if name != "long_text"), "augment",
    )  # fmt: skip
    kept: ClassVar[Mapping[str, Check]] = {
        "max_length": whole(1), "long_text": text(_WINDOWS), "longest": whole(1), "answers_all": flag,
        "null_threshold": number(), "augment?": text(*_VARIATIONS),
    }  # fmt: skip
    taught_variation: ClassVar[str] = "none"
    titles: ClassVar[Mapping[str, str]] = {"text": "question", "text_pair": "passage"}
    lacks: ClassVar[Mapping[str, str]] = {
        **Task.lacks,
        "explain": "question-answering points at the words that it answers with: the report and the page of serve mark them in the passage",
    }

    def __init__(
        self, encoder: TextEncoder, *, longest: int, answers_all: bool, null_threshold: float = 0.0, augment: str = "none"
    ) -> None:  # fmt: skip
        assert encoder.long_text == _WINDOWS, "every part of a passage is read"
        assert encoder.slides_last, "each window has the question"
        self.labels = ()
        self.encoder, self.longest, self.answers_all = encoder, longest, answers_all
        self.null_threshold, self.variation = null_threshold, augment

    @classmethod
    def check(cls, data: Splits) -> None:
        """Is there an answer that stands in its passage?"""
        cells = training_rows(data, cls.answer)[cls.answer]
        if not any(one["start"] != NOWHERE for cell in cells for one in cell or ()):
            raise DataError(
                "no question of the training rows has an answer that stands in its passage",
                "are --column context=... and --column answers=... the right ones?",
            )

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        cls.check(data)
        cells = training_rows(data, cls.answer)[cls.answer]
        if settings.augment not in ("auto", *_VARIATIONS):
            raise UsageError(
                f"--augment is {settings.augment}, and the words of a passage are what {cls.name} answers with",
                "give light (a stretch around the answer) or none",
            )
        augment = ("none" if settings.rests else "light") if settings.augment == "auto" else settings.augment
        longest = max((len(one["text"]) for cell in cells for one in cell or ()), default=0)
        answers_all = all(cell for cell in cells if cell is not None)
        return cls(
            cls._encoder(backbone, settings), longest=max(longest, _LEAST_LONGEST), answers_all=answers_all, augment=augment
        )  # fmt: skip

    @staticmethod
    def _encoder(backbone: Backbone, settings: TaskSettings) -> TextEncoder:
        return encoder_for(backbone, settings, long_text=_WINDOWS, usual=_USUAL_TOKENS, slides_last=True)

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: it answers what this one answers."""
        augment = "light" if settings.augment == "light" else "none"
        return type(self)(
            self._encoder(backbone, settings), longest=self.longest, answers_all=self.answers_all,
            null_threshold=self.null_threshold, augment=augment,
        )  # fmt: skip

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The head for starts and ends that transformers has for the backbone."""
        return backbone.build("AutoModelForQuestionAnswering", seed=seed, num_labels=2)

    @property
    def num_outputs(self) -> int:
        """A start and an end."""
        return 2

    def inputs_identity(self) -> str:
        """The tokenizer, and how rows are cut into tokens."""
        return self.encoder.identity()

    def cut(self) -> dict[str, Any]:
        """What decides a row's items beside :meth:`inputs_identity`."""
        return {"task": self.name}

    def encode(self, example: Example) -> list[Encoded]:
        """One item a window: the question, a stretch of the passage, and where each token stands in it. ``target`` are the tokens at which
        the answer starts and ends; (0, 0) where the window holds none, (-1, -1) where the passage does not.
        """
        question, passage = example.inputs["text"], example.inputs.get("text_pair") or ""
        target = example.target
        assert target is None or isinstance(target, AnswerSpan), f"{type(target).__name__} is no answer in a passage"
        located = self.encoder.locate(question, passage)
        lost = self._lost(question, [place for place in located[0][1] if place is not None and place.side == 0])
        items = []
        for piece, places in located:
            own = [number for number, place in enumerate(places) if place is not None and place.side == 1]
            first = own[0] if own else len(places)
            assert own == [*range(first, first + len(own))], "a passage's tokens stand together"
            held = [place for place in places if place is not None and place.side == 1]
            spans_P2 = trimmed_spans(((place.start, place.stop) for place in held), passage)
            base, stop = (int(spans_P2[:, 0].min()), int(spans_P2[:, 1].max())) if own else (0, 0)
            row = {"first": first, "base": base, "windows": len(located), "lost": lost}
            arrays = {
                "input_ids": piece.input_ids, "spans": spans_P2, "row": np.array([row[name] for name in ABOUT], dtype=np.int32),
                "passage": np.frombuffer(passage[base:stop].encode(), dtype=np.uint8),
            }  # fmt: skip
            if piece.segment_ids is not None:
                arrays["segment_ids"] = piece.segment_ids
            places_2 = None if target is None else _target_in(target, spans_P2, first)
            items.append(Encoded(example.id, arrays, len(places), places_2, example.weight / len(located)))
        return items

    def _lost(self, question: str, read: Sequence[Any]) -> int:
        """How many tokens of a long question no window has."""
        room = (self.encoder.max_length - self.encoder.template.num_special(pair=True)) // 2
        return len(self.encoder.tokens_of([question])[0]) - len(read) if len(read) >= room else 0

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ItemRows:
        """See :class:`pretune.tasks.base.Task`. The ledger counts what long questions lost."""

        def count(items: Sequence[Encoded]) -> Counted:
            about = items[0].arrays
            return Counted(empty=not len(about["spans"]), lost=int(about["row"][ABOUT.index("lost")]))

        about = json.dumps([fingerprint, self.cut(), self.inputs_identity()], sort_keys=True)
        return store_items(self, dataset, _KEPT, count, about=about, unknown=self.encoder.tokenizer.unk_token_id)

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens; segment ids change none of them."""
        return (
            isinstance(other, QuestionAnswering) and other.encoder.pieces_identity() == self.encoder.pieces_identity()
        )

    def check_teacher(self, teacher: Task) -> None:
        """Starts and ends mean the same in every model of this task."""

    @property
    def varies_rows(self) -> bool:
        """With ``augment`` light."""
        return self.variation != "none"

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """A stretch of the window's passage that holds the answer, drawn among all those of 128 tokens with the question."""
        first, count = int(row.arrays["row"][0]), len(row.arrays["spans"])
        width = max(_CROP_TOKENS - (row.cost - count), _CROP_TOKENS // 2)
        if not self.varies_rows or count <= width:
            return row
        begin, end = (place - first for place in row.target or _LOST)
        holds = row.target not in (None, _NOBODY, _LOST) and end - begin < width
        low, high = (max(0, end - width + 1), min(begin, count - width)) if holds else (0, count - width)
        start = int(rng.integers(low, high + 1))
        kept_T = np.r_[0:first, first + start : first + start + width, first + count : row.cost]
        arrays = {name: array[kept_T] for name, array in row.arrays.items() if name in ("input_ids", "segment_ids")}
        arrays |= {"spans": row.arrays["spans"][start : start + width]}
        arrays |= {name: row.arrays[name] for name in ("row", "passage")}
        target = (first + begin - start, first + end - start) if holds else row.target
        if row.target not in (None, _NOBODY, _LOST) and not holds:
            target = _LOST
        return Encoded(row.id, arrays, len(kept_T), target, row.weight)

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B, 2) are the places of start and end, -100 for none; ``extras``: ``read`` (B, T) bool, the first token and those of
        the passage, ``weights`` and ``labelled`` (B,), and of each item its ``spans``, ``passage`` and ``row``.
        """
        pieces = [TextPiece(row.arrays["input_ids"], row.arrays.get("segment_ids")) for row in rows]
        padding = self.encoder.padding
        padded = collate_text(pieces, padding, max_length=self.encoder.max_length)
        width = padded.inputs["input_ids"].shape[1]
        read_BT = torch.zeros(len(rows), width, dtype=torch.bool)
        targets_B2 = torch.full((len(rows), 2), IGNORED)
        shifts = [width - row.cost if padding.left else 0 for row in rows]
        for number_, (row, shift) in enumerate(zip(rows, shifts, strict=True)):
            first = shift + int(row.arrays["row"][0])
            read_BT[number_, first : first + len(row.arrays["spans"])] = True
            read_BT[number_, shift] = True
            if row.target not in (None, _LOST):
                targets_B2[number_] = torch.tensor(row.target) + shift
        # A row in several windows shares its weight among them, and each of them counts with all of it.
        windows = ABOUT.index("windows")
        weights_B = torch.tensor([row.weight * int(row.arrays["row"][windows]) for row in rows], dtype=torch.float32)
        labelled_B = torch.tensor([row.target is not None for row in rows])
        return Batch(
            inputs=padded.inputs,
            targets=targets_B2,
            counts={TERM: float(weights_B[labelled_B].sum())},
            ids=tuple(row.id for row in rows),
            num_tokens=padded.num_tokens,
            num_padded=padded.num_padded,
            extras={
                "weights": weights_B, "labelled": labelled_B, "read": read_BT, "shifts": torch.tensor(shifts),
                "spans": [torch.from_numpy(np.array(row.arrays["spans"])) for row in rows],
                "passages": [torch.from_numpy(np.array(row.arrays["passage"])) for row in rows],
                "rows": torch.from_numpy(np.stack([row.arrays["row"] for row in rows])),
            },
        )  # fmt: skip

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Of each token how well an answer starts and ends there, (B, T, 2)."""
        return logits_in(model(**batch.inputs))

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy of start and end, the mean of both, summed over items."""
        refuse_unlabelled(self, batch, rows="questions without an answer or a word that there is none", answer="answer")
        return Loss.of(self.hard_losses(self.logits_of(model, batch), batch).sum())

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those of which it is known where the answer is, or that there is none."""
        return batch.extras["labelled"]

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Rows' weights, in each window all of it."""
        return batch.extras["weights"]

    def _read(self, logits_BT2: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B, 2, T): far below all others where no answer can start or end."""
        return logits_BT2.float().masked_fill(~batch.extras["read"][..., None], FAR).transpose(1, 2)

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mean of the cross entropies of start and end, times an item's weight; 0 where the answer stands nowhere."""
        assert batch.targets is not None
        losses_B2 = functional.cross_entropy(
            self._read(logits, batch).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="none"
        ).reshape(-1, 2)
        return losses_B2.mean(dim=1) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`, the mean of start and end."""
        apart_B2 = softened_divergence(self._read(logits, batch), self._read(teachers, batch), temperature)
        return apart_B2.mean(dim=1) * batch.extras["weights"]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Probabilities of start and end at the places of the first token and the passage, (B, T, 2) float64; 0 elsewhere."""
        logits_BT2 = finite_answers(self.logits_of(model, batch), batch.ids, batch.extras["read"])
        probabilities_B2T = torch.softmax(in_double(self._read(logits_BT2, batch)), dim=-1)
        return probabilities_B2T.transpose(1, 2) * batch.extras["read"].to(probabilities_B2T.device)[..., None]

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """What each window says of its stretch of the passage."""
        logits_BT2 = finite_answers(self.logits_of(model, batch), batch.ids, batch.extras["read"]).float().cpu().numpy()
        shifts, rows = batch.extras["shifts"].tolist(), batch.extras["rows"].tolist()
        found = []
        for place, row in enumerate(batch.ids):
            spans_P2 = batch.extras["spans"][place].cpu().numpy()
            passage = bytes(batch.extras["passages"][place].cpu().numpy()).decode()
            about = dict(zip(ABOUT, rows[place], strict=True))
            own_T2 = logits_BT2[place, shifts[place] :]
            window = answer_in(own_T2, about["first"], spans_P2, passage, about["base"], self.longest)
            found.append(Prediction(row, window["span"], (), window))
        return found

    def portable(self) -> dict[str, Any]:
        """Special tokens and padding."""
        template = dataclasses.asdict(self.encoder.template)
        return {
            "modality": self.modality,
            "reader": "questions",
            **dataclasses.asdict(self.encoder.padding),
            **template,
        }

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(
            encoder_of(backbone, about, slides_last=True), longest=about["longest"], answers_all=about["answers_all"],
            null_threshold=about["null_threshold"], augment=about.get("augment", "none"),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Name, how text is cut, how answers are chosen."""
        return {
            "task": self.name, "max_length": self.encoder.max_length, "long_text": _WINDOWS, "longest": self.longest,
            "answers_all": self.answers_all, "null_threshold": self.null_threshold, "augment": self.variation,
        }  # fmt: skip


def _target_in(target: AnswerSpan, spans_P2: np.ndarray, first: int) -> tuple[int, int]:
    """The tokens of the first right answer that the window holds from end to end."""
    placed = [one for one in target.references if one.start != NOWHERE]
    if target.references and not placed:
        return _LOST
    for one in placed:
        stop = one.start + len(one.text)
        begins = np.flatnonzero((spans_P2[:, 0] <= one.start) & (one.start < spans_P2[:, 1]))
        ends = np.flatnonzero((spans_P2[:, 0] < stop) & (stop <= spans_P2[:, 1]))
        if len(begins) and len(ends) and begins[0] <= ends[-1]:
            return first + int(begins[0]), first + int(ends[-1])
    return _NOBODY
