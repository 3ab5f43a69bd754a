"""Conversations: answers to what was said, told by a decoder token by token. Questions, instructions and chats of several turns.

All of a conversation is read by a chat template (:mod:`pretune.modalities.text.chat`), and the answers alone are learned, with the marks
that end them. A row that ends in an answer is scored by it (how likely are its answers; what would be written in place of the last),
another is answered. Shapes: B items of a batch, T tokens of an item, M learned tokens of all items, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import TargetText
from pretune.backbones.heads import token_losses, uncached
from pretune.backbones.text.limits import most_tokens
from pretune.backbones.text_kinds import goes_on
from pretune.config import READ_BY_MODALITY
from pretune.errors import DataError, ModelError, UsageError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.conversation import ConversationMetric
from pretune.metrics.texts.language_model import LIKELIHOOD
from pretune.modalities import Modality
from pretune.modalities.text.chat import ChatEncoder
from pretune.modalities.text.encoder import TextPiece, collate_text
from pretune.schema import Check, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.baselines.chats import chat_baselines
from pretune.tasks.blocks.chats import chat_blocks
from pretune.tasks.blocks.writing import writing_warnings
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.protocols import Steps
from pretune.tasks.rows.chats import ChatRows, bytes_in, chat_item, store_chats, turns_of
from pretune.tasks.rows.written import right_texts
from pretune.tasks.soft_losses import softened_divergence
from pretune.tasks.written.picking import picked_rows
from pretune.tasks.written.writing import Writing, go_on, portable_writing
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, in_double

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["Conversation"]

_WRITING = tuple(spec.name for spec in dataclasses.fields(Writing))
_LOOKED_AT, _SHORTEST, _LONGEST = 2_000, 16, 512
_MANY_CUT = 0.1


@final
class Conversation(Task):
    """An answer to a conversation. The loss is the cross entropy of the tokens of all its answers, each with its end; all of an update weigh alike.

    Answers are written as ``writing`` says: the likeliest token each time where nothing else was asked for, of at most half more tokens than
    nearly all answers of the training rows have.
    """

    name: ClassVar[str] = "conversation"
    modality: ClassVar[Modality] = Modality.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", "target")
    found_by: ClassVar[tuple[str, ...]] = ("turns",)
    answer: ClassVar[str] = TargetText.kind
    metric_type: ClassVar[type[Metric]] = ConversationMetric
    default_batch_size: ClassVar[int] = 16
    default_updates: ClassVar[int] = 1_000
    default_cost: ClassVar[float] = 5e6
    reads: ClassVar[tuple[str, ...]] = (*(one for one in READ_BY_MODALITY["text"] if one != "long_text"), *_WRITING)
    kept: ClassVar[Mapping[str, Check]] = {"max_length": whole(2), "max_new_tokens": whole(1)}
    by_steps: ClassVar[bool] = True
    by_tokens: ClassVar[bool] = True
    holds_turns: ClassVar[bool] = True
    fresh: ClassVar[str] = "scratch:gpt-nano"
    taught_variation: ClassVar[str] = "none"
    labels: tuple[str, ...] = ()

    def __init__(self, encoder: ChatEncoder, writing: Writing) -> None:
        self.encoder = encoder
        self.writing = writing

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there answers?"""
        training_rows(data, cls.answer)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`. Raises :class:`UsageError` for a model that does not write."""
        _refuse_reader(backbone)
        most = most_tokens(backbone, settings.max_length)
        made = cls(ChatEncoder(backbone.tokenizer, max_length=most), _writing({"max_new_tokens": _LONGEST}))
        longest = settings.max_new_tokens or made.longest_answer(training_rows(data, cls.answer))
        made.writing = _writing({"max_new_tokens": longest})
        return made

    def longest_answer(self, train: Dataset) -> int:
        """Tokens that an answer may have: half more than nearly all of the first training rows' last answers have."""
        some = train.select(range(min(_LOOKED_AT, len(train))))
        texts = [texts[0] for texts in some["target"] if texts]
        sizes = [len(one) for one in self.encoder.tokens_of(texts)]
        return int(min(_LONGEST, self.encoder.max_length, max(_SHORTEST, 1.5 * float(np.quantile(sizes or [0], 0.99)))))

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The model with its vocabulary head; its folder says how answers end."""
        model, report = backbone.build("AutoModelForCausalLM", seed=seed)
        told: Any = model.generation_config
        told.eos_token_id, told.pad_token_id = list(self.encoder.end), self.encoder.padding.pad_id
        return model, report

    def processor_to_save(self, backbone: Backbone) -> Any:
        """The tokenizer with its chat template, such that transformers finds the template's marks in what it renders."""
        return self.encoder.tokenizer_to_save()

    def inputs_identity(self) -> str:
        """The tokenizer and the template."""
        return self.encoder.identity()

    @property
    def num_outputs(self) -> int:
        """One a token of the vocabulary."""
        return len(self.encoder.tokenizer)

    @property
    def runs_in_parts(self) -> bool:
        """Nothing inside is kept: an answer reads what is written so far."""
        return True

    def encode(self, example: Example) -> list[Encoded]:
        """One item: a conversation up to its last answer, or what is to be answered. Raises :class:`DataError` where that fills the context."""
        target = example.target
        assert target is None or isinstance(target, TargetText), f"{type(target).__name__} is no answer in words"
        turns = turns_of(example.inputs, None if target is None else target.values[0])
        if target is not None:
            chat, _ = self.encoder.fitted(turns)
            return [chat_item(example.id, chat.input_ids, chat.learned_T, known=True, cost=len(chat.input_ids), weight=example.weight)]  # fmt: skip
        try:
            ids_T, left_out = self.encoder.prompt(turns, room=self.writing.max_new_tokens)
        except (DataError, ModelError) as error:
            raise DataError(f"row {example.id} cannot be answered: {error.problem}", error.fix) from None
        cost = min(self.encoder.max_length, len(ids_T) + self.writing.max_new_tokens)
        item = chat_item(example.id, ids_T, np.zeros(len(ids_T), dtype=np.uint8), known=False, cost=cost, weight=example.weight)  # fmt: skip
        return [dataclasses.replace(item, arrays={**item.arrays, "left_out": np.array([left_out], dtype=np.int64)})]

    def asked(self, example: Example) -> Example:
        """Without its answer: what is written is another."""
        return dataclasses.replace(example, target=None)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ChatRows:
        """See :class:`pretune.tasks.base.Task`."""
        return store_chats(dataset, self.encoder, fingerprint=fingerprint)

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens."""
        return isinstance(other, Conversation) and other.encoder.identity() == self.encoder.identity()

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: it answers as long as its teacher."""
        made = type(self).start(data, backbone, settings)
        made.writing = self.writing
        return made

    def check_teacher(self, teacher: Task) -> None:
        """The same tokens: what is compared are shares of these, one after the other."""
        assert isinstance(teacher, Conversation), f"{teacher.name} answers no conversations"
        if teacher.encoder.pieces_identity() != self.encoder.pieces_identity():
            raise ModelError(
                "teacher and student cut conversations into other tokens, and are compared token by token",
                "leave --tokenizer out with --student scratch:..., or let the student learn what the teacher writes: pretune predict "
                "TEACHER rows.jsonl --out written.jsonl, then pretune finetune STUDENT --data written.jsonl",
            )

    def for_teacher(self, item: Encoded) -> Encoded:
        """With the answers: a teacher says what follows the right tokens so far."""
        return item

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (M,) are told at ``extras["told"]`` (M,) of the flattened B * T and belong to the items ``owners`` (M,);
        ``bytes`` (B,) are those of the answers, ``prompts`` what is read before the last answer, ``left_out`` turns that did not fit.
        """
        read = collate_text([TextPiece(row.arrays["input_ids"]) for row in rows], self.encoder.padding)
        width = read.inputs["input_ids"].shape[1]
        told = [np.flatnonzero(row.arrays["learned"][1:]) for row in rows]
        positions = [place * width + at for place, at in enumerate(told)]
        targets = [row.arrays["input_ids"][at + 1] for row, at in zip(rows, told, strict=True)]
        owners = np.repeat(np.arange(len(rows)), [len(at) for at in told])
        weights_B = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        extras = {
            "told": _whole(positions), "owners": torch.from_numpy(owners.astype(np.int64)), "weights": weights_B,
            "labelled": torch.tensor([row.target is not None for row in rows]),
            "bytes": torch.tensor([bytes_in(row.arrays["learned"]) for row in rows]),
            "left_out": torch.tensor([int(row.arrays["left_out"][0]) if "left_out" in row.arrays else 0 for row in rows]),
            "prompts": [torch.from_numpy(_before_answer(row)) for row in rows],
        }  # fmt: skip
        count = float(sum(len(at) * row.weight for at, row in zip(told, rows, strict=True)))
        ids = tuple(row.id for row in rows)
        return Batch(read.inputs, _whole(targets), {TERM: count}, ids, read.num_tokens, read.num_padded, extras)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, T, V): at each token, of the one behind it."""
        return model(**batch.inputs, **uncached(model)).logits

    def _losses(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each learned token its loss, and whether it was the likeliest: (M,) both."""
        assert batch.targets is not None
        return token_losses(model, batch.inputs, batch.extras["told"], batch.targets)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy, summed over the tokens of the answers."""
        refuse_unlabelled(self, batch, rows="conversations without an answer", answer="last turn of the assistant")
        losses_M, _ = self._losses(model, batch)
        return Loss.of((losses_M * batch.extras["weights"][batch.extras["owners"]]).sum())

    def watched(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each item the loss of its answers' tokens, and how many there are: the two of ``token_loss``."""
        losses_M, _ = self._losses(model, batch)
        return _by_item(losses_M, batch), _by_item(torch.ones_like(losses_M), batch)

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those that end in an answer."""
        return batch.extras["labelled"]

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Tokens of the answers."""
        return _by_item(batch.extras["weights"][batch.extras["owners"]], batch)

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy summed over an item's learned tokens, times its weight."""
        assert batch.targets is not None
        at_MV = logits.float().flatten(0, 1)[batch.extras["told"]]
        losses_M = functional.cross_entropy(at_MV, batch.targets, reduction="none")
        return _by_item(losses_M, batch) * batch.extras["weights"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`, summed over an item's learned tokens."""
        apart_BT = softened_divergence(logits, teachers, temperature)
        return _by_item(apart_BT.flatten()[batch.extras["told"]], batch) * batch.extras["weights"]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Probabilities of the next tokens, (B, T, V) float64; 0 behind an item's end."""
        real_BT = batch.inputs["attention_mask"].bool()
        logits_BTV = finite_answers(self.logits_of(model, batch), batch.ids, real_BT)
        shares_BTV = torch.softmax(in_double(logits_BTV), dim=-1)
        return shares_BTV * real_BT.to(shares_BTV.device)[..., None]

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """An answer to each item; of one that ends in an answer also the likelihood of its answers, in ``detail``."""
        prompts = [prompt.cpu().numpy() for prompt in batch.extras["prompts"]]
        written = go_on(model, prompts, self.encoder, self.writing)
        known = self._likelihoods(model, batch) if bool(batch.extras["labelled"].any()) else None
        labelled, left_out = batch.extras["labelled"].tolist(), batch.extras["left_out"].tolist()
        found = []
        for number, (row, one) in enumerate(zip(batch.ids, written, strict=True)):
            detail: dict[str, Any] = {"new_tokens": one.num_tokens, "finish_reason": one.reason}
            if known is not None and labelled[number]:
                detail |= dict(zip(LIKELIHOOD, known[number], strict=True))
            if left_out[number]:
                detail["turns_left_out"] = left_out[number]
            found.append(Prediction(row, one.text.strip(), (), detail))
        return found

    def written(
        self, model: torch.nn.Module, item: Encoded, device: torch.device, told: Callable[[str], bool]
    ) -> Prediction:
        """See :class:`pretune.tasks.protocols.Streams`; the same answer as :meth:`predict` gives."""
        batch = self.collate([item]).to(device)
        prompts = [batch.extras["prompts"][0].cpu().numpy()]
        (one,) = go_on(model, prompts, self.encoder, self.writing, told=lambda text: told(text.lstrip()))
        detail = {"new_tokens": one.num_tokens, "finish_reason": one.reason}
        left_out = int(batch.extras["left_out"][0])
        return Prediction(
            item.id, one.text.strip(), (), {**detail, **({"turns_left_out": left_out} if left_out else {})}
        )

    def _likelihoods(self, model: torch.nn.Module, batch: Batch) -> list[list[float]]:
        """Of each item the statistics of :data:`LIKELIHOOD`."""
        losses_M, right_M = self._losses(model, batch)
        finite_answers(_by_item(losses_M, batch), batch.ids)
        told = [losses_M, torch.ones_like(losses_M), right_M]
        nll_B, tokens_B, right_B = (_by_item(in_double(one), batch).tolist() for one in told)
        return [list(one) for one in zip(nll_B, tokens_B, map(float, batch.extras["bytes"].tolist()), right_B, strict=True)]  # fmt: skip

    def steps_of(self, example: Example, text: str) -> Steps:
        """The conversation and its answer as one, cut to the context."""
        ids_T = self.encoder.fitted(turns_of(example.inputs, text))[0].input_ids
        return Steps(ids_T[1:], ids_T[:-1], ids_T)

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """A row is one item."""
        return list(predictions)

    def with_picks(
        self, model: torch.nn.Module, records: Sequence[dict[str, Any]], rows: Dataset
    ) -> Sequence[dict[str, Any]]:
        """``picked``: is the right answer the likeliest of 20, token by token (:mod:`pretune.tasks.written.picking`)?"""
        device = next(model.parameters()).device

        def likelihoods(row: int, texts: Sequence[str]) -> list[float]:
            turns = cast(dict[str, Any], rows[row])
            batch = self.collate([self._ending(str(place), turns_of(turns, text)) for place, text in enumerate(texts)])
            with torch.inference_mode():
                losses_M, _ = self._losses(model, batch.to(device))
            tokens_J = torch.bincount(batch.extras["owners"], minlength=len(texts))
            return (-_by_item(losses_M.cpu().double(), batch) / tokens_J.clamp(min=1)).tolist()

        answers = [texts[0] for texts in self.cells(rows)]
        found = picked_rows(rows["id"], answers, likelihoods)
        return [{**record, "picked": found[row]} if row in found else record for row, record in enumerate(records)]

    def _ending(self, name: str, turns: list[dict[str, str]]) -> Encoded:
        """An item of which the last answer alone is told."""
        chat, _ = self.encoder.fitted(turns)
        item = chat_item(name, chat.input_ids, chat.learned_T, known=True, cost=len(chat.input_ids))
        learned_T = chat.learned_T.copy()
        learned_T[: len(_before_answer(item))] = 0
        return dataclasses.replace(item, arrays={**item.arrays, "learned": learned_T})

    def truths(self, dataset: Dataset) -> list[Any]:
        """The last answer of each row. Raises :class:`DataError` where a row has none."""
        return right_texts(dataset["id"], self.cells(dataset), "the conversation of row {row} ends without an answer")

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, the answer, how it ended; of a conversation with its answer also how likely that is."""
        line = {"id": prediction.id, self.answer: prediction.answer, **prediction.detail}
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With how the answer ended, and turns that did not fit into the context."""
        schema = super().record_schema()
        schema["properties"] |= {
            "new_tokens": {"type": "integer", "minimum": 0},
            "finish_reason": {"type": "string", "enum": ["end", "stop", "length"]},
            "turns_left_out": {"type": "integer", "minimum": 1, "description": "first turns for which the context had no room"},
        }  # fmt: skip
        return schema

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when the model answers the same everywhere, nothing, or does not come to an end."""
        said = writing_warnings(records)
        cut = sum(one.get("finish_reason") == "length" for one in records)
        if cut > _MANY_CUT * len(records):
            said.append(
                f"{cut} of {len(records)} answers were cut off at their limit: the model does not come to an end. Learn longer, or from a pre-trained "
                "decoder; raise --max-new-tokens where the answers are that long."
            )
        return said

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Which tokens are learned, the least likely answers, how written ones fail, and the worst rows."""
        return chat_blocks(self.encoder, records, rows, self.metric)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """See :func:`pretune.tasks.baselines.chats.chat_baselines`."""
        return chat_baselines(self.encoder, train, rows, self.truths(rows), self.metric)

    def answering(self) -> dict[str, Any]:
        """How answers are written."""
        return {name: value for name, value in vars(self.writing).items() if value not in (None, ())}

    def portable(self) -> dict[str, Any]:
        """The template as data, and how answers are written."""
        return {
            "modality": self.modality, "reader": "chat", "template": self.encoder.portable(),
            **portable_writing(self.writing, self.encoder),
        }  # fmt: skip

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`. ``about`` may say how answers are written, where that was asked for."""
        _refuse_reader(backbone)
        most = min(most_tokens(backbone, None), about["max_length"])
        return cls(ChatEncoder(backbone.tokenizer, max_length=most), _writing(about))

    def to_dict(self) -> dict[str, Any]:
        """Name, context, and the longest answer."""
        return {
            "task": self.name, "labels": [], "max_length": self.encoder.max_length, "max_new_tokens": self.writing.max_new_tokens,
        }  # fmt: skip


def _writing(about: Mapping[str, Any]) -> Writing:
    """How answers are written: the likeliest tokens, where nothing else is asked for."""
    asked = {name: about[name] for name in _WRITING if about.get(name) is not None}
    return Writing(**{"temperature": 0.0, **asked, "stop": tuple(asked.get("stop", ()))})


def _refuse_reader(backbone: Backbone) -> None:
    if not goes_on(backbone.config):
        raise UsageError(
            f"{backbone.name} ({backbone.config.model_type}) does not write answers token by token",
            "choose a decoder: scratch:llama-tiny, scratch:gpt-mini, a run of pretune pretrain of one, or a folder",
        )


def _before_answer(row: Encoded) -> np.ndarray:
    """The tokens that stand before the last answer; all of them where there is none."""
    ids_T, is_learned_T = row.arrays["input_ids"], row.arrays["learned"] > 0
    begins = np.flatnonzero(is_learned_T[1:] & ~is_learned_T[:-1])
    return np.array(ids_T[: begins[-1] + 1] if len(begins) else ids_T)


def _whole(parts: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _by_item(values_M: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sums over each item's learned tokens (B,)."""
    return values_M.new_zeros(len(batch.ids)).index_add(0, batch.extras["owners"].to(values_M.device), values_M)
