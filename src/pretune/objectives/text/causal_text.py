"""Causal language modelling as ``pretune pretrain`` runs it: each token is told from those before it.

Short rows share a sequence and do not see each other, long ones are cut into blocks (:mod:`pretune.backbones.blocks`), and nothing
is left out: what the model says of held-out rows is the likelihood of every byte of them.
Shapes: N rows, R items of a batch, M told tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch

from pretune.backbones.blocks import BlockEncoder
from pretune.backbones.heads import token_losses
from pretune.backbones.text.limits import most_tokens, position_offset
from pretune.backbones.text_kinds import goes_on
from pretune.backbones.writing.causal import ToldTokens, packs_exactly, told_in_packs, told_in_rows
from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.metrics.base import ScoreSpec
from pretune.metrics.texts.language_model import LIKELIHOOD, LanguageModelMetric, likelihood_scores
from pretune.modalities import Modality
from pretune.modalities.text.packing import pack
from pretune.objectives.pretraining import Pretraining
from pretune.tasks.rows.texts import WholeTexts, store_texts
from pretune.tasks.written.text_generation import TextGeneration
from pretune.types import TERM, Batch, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.tasks.protocols import EncodedRows

__all__ = ["CausalText"]

_PACK_TOKENS = 128
_BUDGET_TOKENS = 8192  # padded, of a forward pass that only answers


@final
class CausalText(Pretraining):
    """Next tokens (Radford et al. 2018, "Improving language understanding by generative pre-training", section 3.1)."""

    name: ClassVar[str] = "causal-language-modelling"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.TEXT,)
    columns: ClassVar[tuple[str, ...]] = ("id", "text", "text_pair")
    primary: str = LanguageModelMetric.primary
    specs: Mapping[str, ScoreSpec] = LanguageModelMetric.specs
    reads: ClassVar[tuple[str, ...]] = (
        *(name for name in READ_BY_MODALITY["text"] if name != "long_text"),
        "pack",
    )
    default_epochs: tuple[float, float] = (10.0, 3.0)
    models: ClassVar[str] = "a model that writes (scratch:gpt-mini, scratch:llama-mini)"
    reading: str = (
        "Bits per byte are what the model needs to tell a held-out text, its end included: they compare models of any tokenizers. "
        "Perplexity is among how many tokens it wavers."
    )
    log_names: tuple[str, ...] = ("correct",)

    def __init__(self, backbone: Backbone, *, max_length: int | None = None, pack: str = "auto", seed: int) -> None:
        self.model, self.report = backbone.build("AutoModelForCausalLM", seed=seed)
        self.encoder = BlockEncoder(backbone.tokenizer, max_length=most_tokens(backbone, max_length))
        self.pack = pack

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Decoders."""
        return goes_on(config)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> CausalText:
        """See :class:`Pretraining`."""
        return cls(backbone, max_length=settings.max_length, pack=settings.pack, seed=seed)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> WholeTexts:
        """See :class:`Pretraining`."""
        return store_texts(dataset, self.encoder, fingerprint=fingerprint)

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows, or of packs of rows; ``batch_size`` counts rows either way."""
        store, lengths_N = _texts(rows).store, rows.lengths_N
        if not self._packs(group_by_length):

            def collate(rows_R: np.ndarray, _keys: np.ndarray) -> Feed:
                told = told_in_rows([store.piece(int(i)) for i in rows_R], self.encoder.padding)
                return {"text": _batch(told, [str(store.rows[i]) for i in rows_R])}

            return {"text": Stream(lengths_N, collate, batch_size, group_by_length)}
        groups = pack(lengths_N, min(self.encoder.max_length, max(_PACK_TOKENS, int(lengths_N.max()))))
        per_pack = len(lengths_N) / max(1, len(groups))
        totals = np.array([int(lengths_N[group].sum()) for group in groups])
        offset = position_offset(self.model)

        def collate_packs(packs_R: np.ndarray, _keys: np.ndarray) -> Feed:
            chosen = [groups[int(i)] for i in packs_R]
            pieces = [[store.piece(int(i)) for i in group] for group in chosen]
            told = told_in_packs(pieces, self.encoder.padding, position_offset=offset)
            return {"text": _batch(told, [str(store.rows[i]) for group in chosen for i in group])}

        return {"text": Stream(totals, collate_packs, max(1, round(batch_size / per_pack)), False)}

    def _packs(self, group_by_length: bool) -> bool:
        """Rows sorted by length pad little, so auto packs only unsorted ones; and only where it changes nothing."""
        if self.pack == "no" or (self.pack == "auto" and group_by_length):
            return False
        return packs_exactly(self.model, self.encoder.padding, position_offset=position_offset(self.model))

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Cross entropy of every token but the first, summed."""
        batch = feed["text"]
        losses_M, right_M = token_losses(model, batch.inputs, batch.extras["positions"], batch.targets)
        return Loss.of(losses_M.sum(), {"correct": float(right_M.sum())})

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 4) as :data:`pretune.metrics.texts.language_model.LIKELIHOOD` names them; N are rows of the data, whatever blocks they have."""
        texts = _texts(rows)
        stats_NK = np.zeros((len(texts.bytes_N), len(LIKELIHOOD)))
        stats_NK[:, LIKELIHOOD.index("bytes")] = texts.bytes_N
        self.model.eval()
        for places in cut_by_budget(texts.lengths_N, max_cost=_BUDGET_TOKENS, max_rows=2**31):
            told = told_in_rows([texts.store.piece(int(i)) for i in places], self.encoder.padding)
            batch = _batch(told, [str(i) for i in places]).to(device.device)
            with inference(device):
                losses_M, right_M = token_losses(self.model, batch.inputs, batch.extras["positions"], batch.targets)
            owner_M = np.asarray(texts.store.rows)[places][told.owners_M.numpy()]
            told_by = {0: losses_M.cpu().double().numpy(), 1: 1.0, 3: right_M.cpu().numpy()}
            for k, values_M in told_by.items():
                np.add.at(stats_NK[:, k], owner_M, values_M)
            if on_batch:
                on_batch(len(places))
        return stats_NK

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """See :func:`likelihood_scores`."""
        return likelihood_scores(sums_K)

    def to_dict(self) -> dict[str, Any]:
        """What it learned to do: to go on writing."""
        return TextGeneration(self.encoder).to_dict()


def _batch(told: ToldTokens, ids: list[str]) -> Batch:
    counts = {TERM: float(len(told.targets_M))}
    extras = {"positions": told.positions_M}
    return Batch(told.inputs, told.targets_M, counts, tuple(ids), told.num_tokens, told.num_padded, extras)


def _texts(rows: EncodedRows) -> WholeTexts:
    assert isinstance(rows, WholeTexts)
    return rows
