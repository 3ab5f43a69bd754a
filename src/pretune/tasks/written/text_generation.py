"""A text that goes on. What is learned is the text itself: each token from those before it.

A row whose text is known is scored (how likely is it, whole), one that is asked about is a prompt, and its answer the text behind it.
Shapes: B items of a batch, T tokens of an item, M told tokens of all items, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Text
from pretune.backbones.blocks import BlockEncoder
from pretune.backbones.heads import token_losses, uncached
from pretune.backbones.text.limits import most_tokens
from pretune.backbones.text_kinds import goes_on
from pretune.backbones.writing.causal import told_in_rows
from pretune.config import READ_BY_MODALITY
from pretune.errors import DataError, UsageError
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.language_model import LIKELIHOOD, LanguageModelMetric
from pretune.modalities import Modality
from pretune.modalities.text.encoder import TextPiece
from pretune.schema import Check, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled, windows_of
from pretune.tasks.blocks.likelihood import likelihood_blocks, token_frequencies
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.protocols import Steps
from pretune.tasks.rows.texts import WholeTexts, block_of, bytes_of, store_texts
from pretune.tasks.soft_losses import softened_divergence
from pretune.tasks.written.writing import Writing, go_on, portable_writing
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction, in_double

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["TextGeneration"]

_WRITING = tuple(spec.name for spec in dataclasses.fields(Writing))
_WORDS = re.compile(r"\s*\S+")
_ASKED_SHARE = 8
_ALONE = "a model that writes is made by pretune pretrain, and what is made smaller of it is not compared yet"


@final
class TextGeneration(Task):
    """Going on from a text."""

    name: ClassVar[str] = "text-generation"
    hub_task: ClassVar[str] = "text-generation"
    modality: ClassVar[Modality] = Modality.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text",)
    answer: ClassVar[str] = Text.kind
    metric_type: ClassVar[type[Metric]] = LanguageModelMetric
    reads: ClassVar[tuple[str, ...]] = (*(one for one in READ_BY_MODALITY["text"] if one != "long_text"), *_WRITING)
    kept: ClassVar[Mapping[str, Check]] = {"max_length": whole(2)}
    by_name: ClassVar[bool] = True
    by_steps: ClassVar[bool] = True
    by_tokens: ClassVar[bool] = True
    lacks: ClassVar[Mapping[str, str]] = {
        **Task.lacks,
        "finetune": "texts that go on are learned without labels: pretune pretrain MODEL --data DATA",
        **dict.fromkeys(("distill", "prune"), _ALONE),
    }

    def __init__(self, encoder: BlockEncoder, writing: Writing = Writing()) -> None:  # noqa: B008 - it never changes
        self.labels = ()
        self.encoder = encoder
        self.writing = writing

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`. Raises :class:`UsageError` for a model that does not write."""
        training_rows(data, cls.answer)
        if not goes_on(backbone.config):
            raise UsageError(
                f"{backbone.name} ({backbone.config.model_type}) does not go on writing",
                "choose a decoder: scratch:gpt-mini, scratch:llama-mini, or a folder of one",
            )
        return cls(BlockEncoder(backbone.tokenizer, max_length=most_tokens(backbone, settings.max_length)))

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The model with its vocabulary head."""
        return backbone.build("AutoModelForCausalLM", seed=seed)

    @property
    def num_outputs(self) -> int:
        """One a token of the vocabulary."""
        return len(self.encoder.tokenizer)

    def inputs_identity(self) -> str:
        """The tokenizer, and how rows are cut into blocks."""
        return self.encoder.identity()

    def encode(self, example: Example) -> list[Encoded]:
        """The blocks of a known text; of another the prompt. Raises :class:`DataError` for a prompt that fills the context."""
        texts = [example.inputs.get(name) for name in ("text", "text_pair")]
        if example.target is not None:
            pair = None if texts[1] is None else [texts[1]]
            pieces = self.encoder.encode([example.inputs["text"]], pair)[0]
            size = bytes_of(*texts)
            return [
                block_of(example.id, piece.input_ids, len(pieces), 0 if number else size, example.weight)
                for number, piece in enumerate(pieces)
            ]
        ids_T = self.encoder.prompt(example.inputs["text"])
        if len(ids_T) >= self.encoder.max_length:
            raise DataError(
                f"the prompt of row {example.id} has {len(ids_T)} tokens, and the model's context holds {self.encoder.max_length}, prompt and answer together",
                "shorten it",
            )
        arrays = {"input_ids": ids_T, "row": np.array([1, 0], dtype=np.int64)}
        cost = min(self.encoder.max_length, len(ids_T) + self.writing.max_new_tokens)
        return [Encoded(example.id, arrays, cost, None, example.weight)]

    def asked(self, example: Example) -> Example:
        """The beginning of a text, to go on from: half of its words, and no more letters than an eighth of the context's tokens."""
        text = example.inputs["text"]
        parts = _WORDS.findall(text)
        most = max(1, self.encoder.max_length // _ASKED_SHARE)
        beginning = "".join(parts[: (len(parts) + 1) // 2])[:most]
        return Example(example.id, {"text": beginning if beginning.strip() else text[:most]}, None, example.weight)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> WholeTexts:
        """See :class:`pretune.tasks.base.Task`."""
        return store_texts(dataset, self.encoder, fingerprint=fingerprint)

    def same_inputs_as(self, other: Task) -> bool:
        """The same tokens."""
        return isinstance(other, TextGeneration) and other.encoder.identity() == self.encoder.identity()

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (M,) are told at ``extras["positions"]`` (M,) of the flattened B * T and belong to the items ``owners`` (M,).
        Every block of a row weighs as the row (``weights`` (B,)); ``row`` (B, 2) holds the row's blocks and the block's bytes; items
        without a target are ``prompts``.
        """
        told = told_in_rows([TextPiece(row.arrays["input_ids"]) for row in rows], self.encoder.padding)
        row_B2 = torch.from_numpy(np.stack([row.arrays["row"] for row in rows]))
        weights_B = torch.tensor([row.weight for row in rows]) * row_B2[:, 0]
        labelled_B = torch.tensor([row.target is not None for row in rows])
        count = float((weights_B * labelled_B)[told.owners_M].sum())
        prompts = [None if row.target else torch.from_numpy(row.arrays["input_ids"]) for row in rows]
        extras = {
            "positions": told.positions_M, "owners": told.owners_M, "weights": weights_B, "labelled": labelled_B,
            "row": row_B2, "prompts": prompts,
        }  # fmt: skip
        ids = tuple(row.id for row in rows)
        return Batch(told.inputs, told.targets_M, {TERM: count}, ids, told.num_tokens, told.num_padded, extras)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, T, V): at each token, of the one behind it."""
        return model(**batch.inputs, **uncached(model)).logits

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Cross entropy, summed over the told tokens."""
        refuse_unlabelled(self, batch, rows="prompts", answer="text")
        losses_M, _ = token_losses(model, batch.inputs, batch.extras["positions"], batch.targets)
        return Loss.of((losses_M * batch.extras["weights"][batch.extras["owners"]]).sum())

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those whose text is known."""
        return batch.extras["labelled"]

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Told tokens."""
        return _by_item(batch.extras["weights"][batch.extras["owners"]], batch)

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy summed over an item's tokens, times their weight."""
        at_MV = logits.float().flatten(0, 1)[batch.extras["positions"]]
        losses_M = functional.cross_entropy(at_MV, batch.targets, reduction="none")
        return _by_item(losses_M, batch) * batch.extras["weights"] * batch.extras["labelled"]

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`, summed over an item's tokens."""
        apart_BT = softened_divergence(logits, teachers, temperature)
        return _by_item(apart_BT.flatten()[batch.extras["positions"]], batch) * batch.extras["weights"]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Probabilities of the next tokens, (B, T, V) float64; 0 behind an item's end."""
        real_BT = batch.inputs["attention_mask"].bool()
        logits_BTV = finite_answers(self.logits_of(model, batch), batch.ids, real_BT)
        shares_BTV = torch.softmax(in_double(logits_BTV), dim=-1)
        return shares_BTV * real_BT.to(shares_BTV.device)[..., None]

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """Of a known text its likelihood in ``detail``; of a prompt the text that follows."""
        known = self._likelihoods(model, batch) if bool(batch.extras["labelled"].any()) else []
        asked = [number for number, prompt in enumerate(batch.extras["prompts"]) if prompt is not None]
        prompts = [batch.extras["prompts"][number].cpu().numpy() for number in asked]
        written = dict(zip(asked, go_on(model, prompts, self.encoder, self.writing), strict=True)) if asked else {}
        found = []
        for number, row in enumerate(batch.ids):
            if (one := written.get(number)) is None:
                found.append(Prediction(row, "", (), dict(zip(LIKELIHOOD, known[number], strict=True))))
            else:
                found.append(Prediction(row, one.text, (), {"new_tokens": one.num_tokens, "finish_reason": one.reason}))
        return found

    def _likelihoods(self, model: torch.nn.Module, batch: Batch) -> list[list[float]]:
        """Of each item the statistics of :data:`LIKELIHOOD`."""
        losses_M, right_M = token_losses(model, batch.inputs, batch.extras["positions"], batch.targets)
        finite_answers(_by_item(losses_M, batch), batch.ids)
        told = [losses_M, torch.ones_like(losses_M), right_M]
        nll_B, tokens_B, right_B = (_by_item(in_double(one), batch).tolist() for one in told)
        size_B = batch.extras["row"][:, 1].tolist()
        return [list(one) for one in zip(nll_B, tokens_B, map(float, size_B), right_B, strict=True)]

    def steps_of(self, example: Example, text: str) -> Steps:
        """Prompt and text as one, cut to the context."""
        ids_T = self.encoder.prompt(example.inputs["text"] + text)[: self.encoder.max_length]
        return Steps(ids_T[1:], ids_T[:-1], ids_T)

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The likelihood of a row is that of its blocks together."""
        return [_merged(blocks) for blocks in windows_of(predictions)]

    def truths(self, dataset: Dataset) -> list[Any]:
        """The texts."""
        return self.cells(dataset)

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, what was written, how it ended; of a known text its likelihood, and the text."""
        line = {"id": prediction.id, self.answer: prediction.answer, **prediction.detail}
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With how the text ended."""
        schema = super().record_schema()
        schema["properties"]["new_tokens"] = {"type": "integer", "minimum": 0}
        schema["properties"]["finish_reason"] = {"type": "string", "enum": ["end", "stop", "length"]}
        return schema

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """The least and the most likely rows."""
        return likelihood_blocks(records, rows)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """``token-frequencies``: each token by how often the training rows have it, whatever stands before it."""
        return {"token-frequencies": token_frequencies(self.encoder, train, rows)}, []

    def answering(self) -> dict[str, Any]:
        """Nothing is drawn where texts are scored."""
        return {}

    def portable(self) -> dict[str, Any]:
        """The mark before a text, and how it goes on where nothing else is asked for."""
        return {
            "modality": self.modality, "reader": "prompt", "start": list(self.encoder.start),
            **portable_writing(self.writing, self.encoder),
        }  # fmt: skip

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> Self:
        """See :class:`pretune.tasks.base.Task`. ``about`` may say how texts go on, where that was asked for."""
        asked = {name: about[name] for name in _WRITING if about.get(name) is not None}
        writing = Writing(**{**asked, "stop": tuple(asked.get("stop", ()))})
        most = most_tokens(backbone, None)
        return cls(BlockEncoder(backbone.tokenizer, max_length=min(most, about["max_length"])), writing)

    def to_dict(self) -> dict[str, Any]:
        """Name and the longest block."""
        return {"task": self.name, "max_length": self.encoder.max_length}


def _by_item(values_M: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sums over each item's told tokens (B,)."""
    return values_M.new_zeros(len(batch.ids)).index_add(0, batch.extras["owners"].to(values_M.device), values_M)


def _merged(blocks: Sequence[Prediction]) -> Prediction:
    if len(blocks) == 1:
        return blocks[0]
    detail = {name: sum(block.detail[name] for block in blocks) for name in LIKELIHOOD}
    return Prediction(blocks[0].id, "", (), detail)
