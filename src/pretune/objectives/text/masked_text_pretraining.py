"""Masked language modelling as ``pretune pretrain`` runs it: the model, the tokens, and what is measured on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch

from pretune.backbones.text.limits import encoder_for, position_offset
from pretune.backbones.text_kinds import fills_in
from pretune.config import READ_BY_MODALITY
from pretune.errors import UsageError
from pretune.metrics.base import ScoreSpec, Sums
from pretune.modalities import Modality
from pretune.modalities.text.cooccurrence import cached_vectors
from pretune.objectives.pretraining import Measure, Pretraining
from pretune.objectives.text.masked_text import MaskedText
from pretune.objectives.text.token_rows import TokenRows, store_of
from pretune.types import Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream
    from pretune.engine.devices import Device
    from pretune.tasks.protocols import EncodedRows

__all__ = ["MaskedTextPretraining", "masked_scores", "pseudo_scores"]

MASK_FRACTION = 0.15
"""The share of Devlin et al. 2019, section 3.1."""

_PACK_TOKENS = 128

_COUNTED_RMS = 0.08
"""Root mean square of a counted embedding: four times that of fresh positions, which drown smaller ones (docs/decisions.md, D80)."""


def masked_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Of (..., 3) sums (masked tokens, right ones, loss): masked accuracy and perplexity of the masked tokens."""
    tokens = np.maximum(sums_K[..., 0], 1e-12)
    return {
        "masked_accuracy": sums_K[..., 1] / tokens,
        "masked_perplexity": np.exp(np.minimum(sums_K[..., 2] / tokens, 700)),
    }


def pseudo_scores(sums_K: np.ndarray) -> dict[str, np.ndarray]:
    """Of (..., 2) sums (tokens, negative log-likelihood): pseudo-perplexity (Salazar et al. 2020, section 2.3)."""
    return {"pseudo_perplexity": np.exp(np.minimum(sums_K[..., 1] / np.maximum(sums_K[..., 0], 1e-12), 700))}


@final
class MaskedTextPretraining(Pretraining):
    """See :class:`pretune.objectives.text.masked_text.MaskedText`."""

    name: ClassVar[str] = "masked-language-modelling"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.TEXT,)
    columns: ClassVar[tuple[str, ...]] = ("id", "text", "text_pair")
    primary: str = "masked_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "masked_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0)),
        "masked_perplexity": ScoreSpec(rising=False, unit="number"),
    }
    reads: ClassVar[tuple[str, ...]] = (
        *READ_BY_MODALITY["text"],
        "mask_fraction",
        "mask_whole_words",
        "bag_of_words",
        "embeddings",
        "pack",
    )
    default_epochs: tuple[float, float] = (10.0, 3.0)
    models: ClassVar[str] = "a model that fills in (scratch:bert-mini)"
    reading: str = "Masked accuracy is the share of hidden tokens that were guessed right; perplexity is among how many tokens the model wavers."

    def __init__(self, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> None:
        self.model, self.report = backbone.build("AutoModelForMaskedLM", seed=seed)
        self.encoder = encoder_for(backbone, settings)
        self.settings = settings
        self.seed = seed
        if settings.embeddings == "cooccurrence" and not self.report.fresh:
            raise UsageError(
                f"--embeddings cooccurrence is for fresh weights, and {backbone.name} has learned its embeddings",
                "leave --embeddings out, or start from scratch:...",
            )
        self.log_names = MaskedText.parts_with(settings.bag_of_words)

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Models that fill in."""
        return fills_in(config)

    @classmethod
    def start(
        cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int
    ) -> MaskedTextPretraining:
        """See :class:`Pretraining`."""
        return cls(backbone, settings, seed=seed)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> TokenRows:
        """See :class:`Pretraining`."""
        return TokenRows.of(dataset, self.encoder, fingerprint=fingerprint)

    def begin(self, rows: EncodedRows, *, fingerprint: str) -> str:
        """Fresh token embeddings become vectors of which tokens stand together; see :func:`cached_vectors`."""
        if not self.report.fresh or self.settings.embeddings == "random":
            return ""
        weights_VD = self.model.get_input_embeddings().weight  # type: ignore[operator, union-attr]
        vocabulary, width = weights_VD.shape
        vectors_VD = cached_vectors(
            store_of(rows), vocabulary=vocabulary, width=width, ignored=np.array(self.encoder.tokenizer.all_special_ids),
            seed=self.seed, fingerprint=f"{fingerprint}:{self.encoder.identity()}",
        )  # fmt: skip
        counted_V = vectors_VD.any(axis=1)
        with torch.no_grad():
            vectors = torch.from_numpy(vectors_VD[counted_V]) * (_COUNTED_RMS * width**0.5)
            weights_VD[torch.from_numpy(counted_V)] = vectors
        return f"{int(counted_V.sum()):,} of {vocabulary:,} token embeddings, by which tokens stand together"

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows or packs."""
        self._learner = self._made(self._pack_tokens(rows.lengths_N, group_by_length))
        return self._learner.streams(store_of(rows), batch_size=batch_size, group_by_length=group_by_length)

    def _made(self, pack_tokens: int | None) -> MaskedText:
        return MaskedText(
            self.encoder, self.adaptation, mask_fraction=self.settings.mask_fraction or MASK_FRACTION,
            mask_whole_words=self.settings.mask_whole_words, pack_tokens=pack_tokens,
            position_offset=position_offset(self.model), bag_of_words=self.settings.bag_of_words,
        )  # fmt: skip

    def _pack_tokens(self, lengths_N: np.ndarray, group_by_length: bool) -> int | None:
        """Tokens of a pack, or None for padded rows. Rows sorted by length pad little, so auto packs only unsorted ones."""
        if self.settings.pack == "no" or (self.settings.pack == "auto" and group_by_length):
            return None
        return min(self.encoder.max_length, max(_PACK_TOKENS, int(lengths_N.max())))

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """See :meth:`MaskedText.loss`."""
        return self._learner.loss(model, feed, rng)

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """See :meth:`MaskedText.held_out_statistics`."""
        return self._learner.held_out_statistics(self.model, store_of(rows), device, on_batch=on_batch)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """See :func:`masked_scores`."""
        return masked_scores(sums_K)

    def measures(self, rows: EncodedRows, device: Device) -> Sequence[Measure]:
        """Pseudo-perplexity on a sample of the held-out rows."""
        found = self._learner.pseudo_perplexity_statistics(self.model, store_of(rows), device)
        note = f"Pseudo-perplexity masks one token at a time, on {len(found)} of the held-out rows."
        return [Measure(Sums(found, pseudo_scores), note)] if len(found) else []

    def to_dict(self) -> dict[str, Any]:
        """Name and longest row."""
        return {"task": self.name, "max_length": self.encoder.max_length}
