"""What objectives share that hide tokens of a row and let the model tell them: all but masked text, whose rows may be packed.

Which tokens are hidden is a function of (seed, epoch, row), so it needs no state and does not depend on the batch.
Shapes: N rows, R rows of a batch, T tokens of a row, M hidden tokens of all rows, V vocabulary.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.text.limits import encoder_for
from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import row_keys
from pretune.errors import ModelError
from pretune.metrics.base import ScoreSpec
from pretune.modalities import Modality
from pretune.modalities.text.encoder import TextPiece
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.text.token_rows import TokenRows, store_of
from pretune.types import Batch, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.modalities.text.encoder import TextEncoder
    from pretune.tasks.protocols import EncodedRows

__all__ = ["BUDGET_TOKENS", "HiddenTokens", "OnTrunk", "TextPretraining", "mask_id_of", "number_of"]

BUDGET_TOKENS = 8192  # padded, of a forward pass that only answers


def number_of(available: int, fraction: float, draw: float) -> int:
    """``fraction`` of ``available`` on average, at least one and at most all: the fraction's rest is drawn (``draw`` in [0, 1))."""
    return min(available, max(1, math.floor(fraction * available + draw)))


def mask_id_of(encoder: TextEncoder) -> int:
    """The id of the mask token. Raises :class:`ModelError` where the tokenizer has none."""
    if encoder.tokenizer.mask_token_id is None:
        raise ModelError("the tokenizer has no mask token", "choose a model that fills in, such as scratch:bert-mini")
    return int(encoder.tokenizer.mask_token_id)


class OnTrunk(torch.nn.Module):
    """A bare ``trunk`` with parts of an objective on it, which stay behind."""

    base_model_prefix = "trunk"

    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.config: Any = trunk.config

    @property
    def base_model(self) -> torch.nn.Module:
        """What layers are counted of."""
        return self.trunk


class TextPretraining(Pretraining):
    """Rows of texts of which tokens are hidden by keys. ``fraction`` of a row's own tokens are, ``default_fraction`` where the settings name none."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.TEXT,)
    columns: ClassVar[tuple[str, ...]] = ("id", "text", "text_pair")
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["text"], "mask_fraction")
    default_epochs: tuple[float, float] = (10.0, 3.0)
    default_fraction: ClassVar[float]
    auto_class: ClassVar[str]

    def __init__(self, backbone: Backbone, encoder: TextEncoder, *, fraction: float | None = None, seed: int) -> None:
        self.model, self.report = backbone.build(self.auto_class, seed=seed)
        self.encoder = encoder
        self.fraction = self.default_fraction if fraction is None else fraction
        self.special_ids = np.array(sorted(encoder.tokenizer.all_special_ids))

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> Self:
        """See :class:`Pretraining`."""
        return cls(backbone, encoder_for(backbone, settings), fraction=settings.mask_fraction, seed=seed)

    @abstractmethod
    def collate(self, pieces: Sequence[TextPiece], keys_R: np.ndarray, ids: Sequence[str]) -> Batch:
        """Rows with tokens hidden by their keys."""

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> TokenRows:
        """See :class:`Pretraining`."""
        return TokenRows.of(dataset, self.encoder, fingerprint=fingerprint)

    def own_places(self, piece: TextPiece) -> np.ndarray:
        """Places of a row's own tokens, which may be hidden."""
        return np.flatnonzero(~np.isin(piece.input_ids, self.special_ids))

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows."""
        store = store_of(rows)

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            pieces = [store.piece(int(i)) for i in rows_R]
            return {"text": self.collate(pieces, keys_R, [str(store.rows[i]) for i in rows_R])}

        return {"text": Stream(rows.lengths_N, collate, batch_size, group_by_length)}

    def to_dict(self) -> dict[str, Any]:
        """Name and longest row."""
        return {"task": self.name, "max_length": self.encoder.max_length}


class HiddenTokens(TextPretraining):
    """Hidden tokens are told. Of each token that is told ``extras["owners"]`` (M,) of a batch is the row, and ``extras["hidden"]`` bool (M,)
    whether it was one of the row's own (not a mark between them).
    """

    primary: str = "hidden_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "hidden_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of hidden tokens"),
        "hidden_perplexity": ScoreSpec(rising=False, unit="number", title="perplexity of hidden tokens"),
    }
    log_names: tuple[str, ...] = ("correct",)

    @abstractmethod
    def told(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (M, V) of the tokens that are told, and these (M,)."""

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Cross entropy of what is told, summed."""
        logits_MV, targets_M = self.told(model, feed["text"])
        total = functional.cross_entropy(logits_MV.float(), targets_M, reduction="sum")
        return Loss.of(total, {"correct": float((logits_MV.detach().argmax(-1) == targets_M).sum())})

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 3) a row: hidden tokens, right ones, summed loss; with the same tokens hidden at every call."""
        store = store_of(rows)
        stats_NK = np.zeros((len(store), 3))
        keys = row_keys(0, "held-out", 0, np.arange(len(store)))
        self.model.eval()
        for places in cut_by_budget(store.lengths, max_cost=BUDGET_TOKENS, max_rows=2**31):
            pieces = [store.piece(int(i)) for i in places]
            batch = self.collate(pieces, keys[places], [str(i) for i in places]).to(device.device)
            with inference(device):
                logits_MV, targets_M = self.told(self.model, batch)
                losses_M = functional.cross_entropy(logits_MV.float(), targets_M, reduction="none")
                right_M = logits_MV.argmax(-1) == targets_M
            hidden_M = batch.extras["hidden"].cpu().numpy()
            owner_M = places[batch.extras["owners"].cpu().numpy()][hidden_M]
            values = (
                np.ones(len(owner_M)),
                right_M.cpu().double().numpy()[hidden_M],
                losses_M.cpu().double().numpy()[hidden_M],
            )
            for k, values_M in enumerate(values):
                np.add.at(stats_NK[:, k], owner_M, values_M)
            if on_batch:
                on_batch(len(places))
        return stats_NK

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., 3) sums (hidden tokens, right ones, loss)."""
        tokens = np.maximum(sums_K[..., 0], 1e-12)
        return {
            "hidden_accuracy": sums_K[..., 1] / tokens,
            "hidden_perplexity": np.exp(np.minimum(sums_K[..., 2] / tokens, 700)),
        }
