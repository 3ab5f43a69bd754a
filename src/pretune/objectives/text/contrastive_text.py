"""Contrastive learning of texts without labels (SimCSE: Gao, Yao & Chen 2021, arXiv 2104.08821, section 3): find the other view of a text
among those of all texts of the update.

The paper's two views differ in dropout alone, which small models have little of: here each also hides tokens of its own (a function of
seed, epoch and row). What is compared is the mean of a text's states behind one layer, which stays behind.
Shapes: R rows, V = 2 R views (all first ones, then all second ones), T tokens, H width, N held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
import torch
from torch import nn

from pretune.backbones.load import without_pooler
from pretune.backbones.text_kinds import fills_in
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import row_keys, uniform
from pretune.metrics.base import ScoreSpec
from pretune.modalities.text.encoder import TextPiece, collate_text
from pretune.objectives.image.contrastive_image import nt_xent
from pretune.objectives.representation import SPREAD_SPECS, collapse_warnings, health_scores, health_statistics
from pretune.objectives.text.hidden_tokens import BUDGET_TOKENS, OnTrunk, TextPretraining, mask_id_of, number_of
from pretune.objectives.text.token_rows import store_of
from pretune.objectives.two_views import seeded_heads, twins_found
from pretune.types import TERM, Batch, Feed, Loss

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.modalities.text.encoder import TextEncoder
    from pretune.tasks.protocols import EncodedRows

__all__ = ["ContrastiveText"]

_TEMPERATURE = 0.05
"""Of section 3."""
_COMPARED = 64
"""Held-out texts that are told from each other."""
_FEWEST_ROWS = 16
_COUNT = 2
"""The purpose of a key's draw that says how many tokens are hidden; those of views are their numbers."""


@final
class _Projected(OnTrunk):
    """A trunk, the mean of its states, and a layer that stays behind."""

    def __init__(self, trunk: nn.Module, seed: int) -> None:
        super().__init__(trunk)
        width = int(self.config.hidden_size)
        self.head = seeded_heads(seed, lambda: nn.Sequential(nn.Linear(width, width), nn.Tanh()))

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(V, H) mean of the states of a text's tokens."""
        states_VTH = self.trunk(**inputs).last_hidden_state
        real_VT1 = inputs["attention_mask"][..., None].to(states_VTH)
        return (states_VTH * real_VT1).sum(dim=1) / real_VT1.sum(dim=1).clamp(min=1)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """(V, H)."""
        return self.head(self.features(inputs))


@final
class ContrastiveText(TextPretraining):
    """See the head of this file. The rows of an update are compared with each other: it is never cut."""

    name: ClassVar[str] = "contrastive-text"
    models: ClassVar[str] = "a model that fills in (scratch:bert-mini)"
    auto_class: ClassVar[str] = "AutoModel"
    default_fraction: ClassVar[float] = 0.15
    primary: str = "twin_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "twin_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of finding the other view"),
        **SPREAD_SPECS,
    }
    reading: str = (
        f"Two views of a text, each with other tokens hidden, are found where each is the other's nearest among the views of {_COMPARED} "
        "texts of like length. Spread is 0 where all texts get the same features, and 1 at most; directions (effective rank) is in how "
        "many ways the features differ."
    )
    log_names: tuple[str, ...] = ("right",)

    def __init__(self, backbone: Backbone, encoder: TextEncoder, *, fraction: float | None = None, seed: int) -> None:
        super().__init__(backbone, encoder, fraction=fraction, seed=seed)
        self.mask_id = mask_id_of(encoder)
        trunk, self.report = without_pooler(self.model, self.report)
        self.model = self.projecting = _Projected(trunk, seed)
        self._last: dict[str, float] = {}

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Models that fill in."""
        return fills_in(config)

    def saved(self) -> nn.Module:
        """The trunk."""
        return self.projecting.trunk

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of rows, each read twice, its updates whole."""
        (plain,) = super().streams(rows, batch_size=batch_size, group_by_length=group_by_length).values()
        return {"text": Stream(2 * plain.lengths_N, plain.collate, batch_size, group_by_length, is_whole=True)}

    def collate(self, pieces: Sequence[TextPiece], keys_R: np.ndarray, ids: Sequence[str]) -> Batch:
        """The first view of every row, then the second of every row."""
        views = [view for number in (0, 1) for view in self._views(pieces, keys_R, number)]
        padded = collate_text(views, self.encoder.padding, max_length=self.encoder.max_length)
        return Batch(padded.inputs, None, {TERM: float(len(ids))}, tuple(ids), padded.num_tokens, padded.num_padded)

    def _views(self, pieces: Sequence[TextPiece], keys_R: np.ndarray, number: int) -> list[TextPiece]:
        """The rows with tokens hidden by their keys. A row of one token keeps it: two views of nothing but masks are alike in all rows."""
        draws_RT = uniform(keys_R, max(len(piece.input_ids) for piece in pieces), number)
        count_R2 = uniform(keys_R, 2, _COUNT)
        found = []
        for row, piece in enumerate(pieces):
            ids_T, own = piece.input_ids.copy(), self.own_places(piece)
            hidden = min(number_of(len(own), self.fraction, count_R2[row, number]), len(own) - 1) if len(own) else 0
            ids_T[own[np.argsort(draws_RT[row, own], kind="stable")[:hidden]]] = self.mask_id
            found.append(TextPiece(ids_T, piece.segment_ids))
        return found

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """NT-Xent, summed over rows; ``right`` counts rows by the share of their views that found their twin."""
        losses_V, right_V = nt_xent(model(**feed["text"].inputs), _TEMPERATURE)
        return Loss.of(losses_V.sum() / 2, {"right": float(right_V.sum()) / 2})

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 6): share of a row's views whose twin is nearest among those of rows of like length, and what
        :func:`health_statistics` says of whole texts' features.
        """
        store = store_of(rows)
        stats_NK = np.zeros((len(store), 1))
        features_NH = np.zeros((len(store), int(self.projecting.config.hidden_size)))
        keys_N = row_keys(0, "held-out", 0, np.arange(len(store)))
        self.model.eval()
        for places in cut_by_budget(store.lengths, max_cost=BUDGET_TOKENS, max_rows=_COMPARED):
            pieces = [store.piece(int(i)) for i in places]
            batch = self.collate(pieces, keys_N[places], [""] * len(places)).to(device.device)
            whole = collate_text(pieces, self.encoder.padding, max_length=self.encoder.max_length)
            with inference(device):
                stats_NK[places, 0] = twins_found(self.projecting(**batch.inputs))
                inputs = {name: value.to(device.device) for name, value in whole.inputs.items()}
                features_NH[places] = self.projecting.features(inputs).cpu().double().numpy()
            if on_batch:
                on_batch(len(places))
        unlabelled_N = np.full(len(store), -1)
        stats_NK = np.concatenate([stats_NK, health_statistics(features_NH, unlabelled_N)], axis=1)
        self._last = {}
        if len(store) >= _FEWEST_ROWS:  # a handful of rows says nothing of directions
            self._last = {name: float(value) for name, value in self.scores(stats_NK.sum(axis=0)).items()}
        return stats_NK

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., 6) sums; see :meth:`statistics`."""
        return {
            "twin_accuracy": sums_K[..., 0] / np.maximum(sums_K[..., 1], 1e-12),
            **health_scores(sums_K[..., 1:]),
        }

    def warnings(self) -> Sequence[str]:
        """What the last statistics say of the features; nothing before there were any."""
        remedy = "learn with --objective masked-text, or with both: --mix masked-text=0.7,contrastive-text=0.3"
        return collapse_warnings(self._last, remedy=remedy, rows="text") if self._last else ()
