"""HuBERT's idea (Hsu et al. 2021, arXiv 2106.07447): tell of hidden frames which cluster of frames they are of.

Clusters are counted in the training clips before anything is learned (k-means of cepstra, as in section 3.1 there), for models that read
log-mel features; their own masks hide the frames. Shapes: B clips of a batch, F frames of a clip, S hidden frames of all clips, V clusters,
M mel bands, C cepstra of a frame, H features, K statistics.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pretune.backbones.audio.spec import audio_spec_of, without_own_masks
from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import row_keys
from pretune.errors import DataError, ModelError
from pretune.metrics.base import ScoreSpec
from pretune.modalities import Modality
from pretune.objectives.audio.hidden_frames import MASK_SHARE, hidden_frames, little_sound
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.two_views import seeded_heads
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.audio import ClipRows, batch_of_clips, clips_of
from pretune.types import TERM, Batch, Encoded, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits

__all__ = ["MaskedAudio"]

CLUSTERS, CEPSTRA = 100, 13
"""Section 4.2 there: 100 clusters in the first round, of 13 cepstra."""
_FRAMES_A_CLUSTER, _MOST_FRAMES = 8, 60_000
_NOWHERE = 1e4
"""A centre that no frame is near: of few frames there are fewer clusters."""
_BUDGET_FRAMES = 4096
_HIDDEN = "mask_time_indices"
_LITTLE_SPREAD, _LITTLE = 0.05, 1.1


@final
class _Telling(nn.Module):
    """The encoder, the centres of the clusters, and a head that tells which one a frame is of; centres and head stay behind."""

    centres_VC: torch.Tensor
    cosines_MC: torch.Tensor

    def __init__(self, encoder: nn.Module, *, width: int, bands: int, stack: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = seeded_heads(seed, lambda: nn.Linear(width, CLUSTERS))
        places_M, numbers_C = torch.arange(bands) + 0.5, torch.arange(1, CEPSTRA + 1)
        self.bands = bands
        self.register_buffer("cosines_MC", torch.cos(torch.pi * places_M[:, None] * numbers_C / bands) / bands)
        self.register_buffer("centres_VC", torch.full((CLUSTERS, stack * CEPSTRA), _NOWHERE))

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """The states of all frames (B, F, H)."""
        return self.encoder(**inputs).last_hidden_state

    def cepstra(self, features: torch.Tensor) -> torch.Tensor:
        """(..., stack * C) of features (..., stack * M)."""
        return (features.float().unflatten(-1, (-1, self.bands)) @ self.cosines_MC).flatten(-2)

    def clusters(self, features: torch.Tensor) -> torch.Tensor:
        """The nearest centre of each frame."""
        return torch.cdist(self.cepstra(features).flatten(0, -2), self.centres_VC).argmin(-1).view(features.shape[:-1])


@final
class MaskedAudio(Pretraining):
    """Cross entropy of the clusters of hidden frames, summed over them."""

    name: ClassVar[str] = "masked-audio"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.AUDIO,)
    columns: ClassVar[tuple[str, ...]] = ("audio",)
    primary: str = "masked_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "masked_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of telling a hidden frame's cluster"),
        "masked_loss": ScoreSpec(rising=False, unit="nats", title="loss of telling it"),
        "frequency_loss": ScoreSpec(rising=False, unit="nats", title="loss by how often clusters are"),
        "spread": ScoreSpec(rising=True, unit="number", title="spread of the features"),
    }  # fmt: skip
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["audio"], "mask_fraction")
    default_epochs: tuple[float, float] = (60.0, 10.0)
    default_batch_size: int = 32
    models: ClassVar[str] = "a model that reads log-mel features, such as scratch:w2v-bert-tiny"
    reading: str = (
        "Frames of 20 ms are sorted into clusters that are counted in the training clips; of hidden frames the model tells the cluster from "
        "the frames around them. Held against it is how often each cluster is. Spread is 0 where all frames are told alike, and 1 at most."
    )
    log_names: tuple[str, ...] = ("correct",)

    def __init__(self, backbone: Backbone, *, seed: int, mask_share: float = MASK_SHARE) -> None:
        if not self.suits(backbone.config):
            raise ModelError(
                f"{backbone.name} ({backbone.config.model_type}) reads no log-mel features", f"choose {self.models}"
            )
        backbone = _hiding(without_own_masks(backbone))
        encoder, self.report = backbone.build("AutoModel", seed=seed)
        self.hearing = audio_spec_of(backbone)
        filterbank = self.hearing.filterbank
        assert filterbank is not None, "the model reads features"
        width = int(backbone.config.hidden_size)
        self.model = self._telling = _Telling(encoder, width=width, bands=filterbank.bands, stack=filterbank.stack, seed=seed)  # fmt: skip
        self.mask_share = mask_share
        self._last: dict[str, float] = {}

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Is it w2v-bert, the encoder of log-mel features that takes masks in time?"""
        return config.model_type == "wav2vec2-bert"

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> MaskedAudio:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return cls(backbone, seed=seed, mask_share=settings.mask_fraction or MASK_SHARE)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ClipRows:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return ClipRows(dataset, clips_of(dataset, self.hearing, fingerprint), self.hearing)

    def begin(self, rows: EncodedRows, *, fingerprint: str) -> str:
        """Find the clusters, by k-means of frames of the training clips. Raises :class:`DataError` for too few frames."""
        from sklearn.cluster import MiniBatchKMeans

        frames_NC = self._some_frames(rows)
        count = min(CLUSTERS, len(frames_NC) // _FRAMES_A_CLUSTER)
        if count < 2:
            raise DataError(
                f"the training clips have {len(frames_NC)} frames of 20 ms: too few to find clusters", "give more clips"
            )
        found: Any = MiniBatchKMeans(count, batch_size=4096, random_state=0).fit(frames_NC)
        self._telling.centres_VC[:count] = torch.from_numpy(found.cluster_centers_.astype(np.float32))
        return f"{count} clusters were found in {len(frames_NC):,} frames of the training clips"

    def _some_frames(self, rows: EncodedRows) -> np.ndarray:
        """Cepstra (N, stack * C) of clips drawn alike each time, until there are enough."""
        found, total = [], 0
        for number in np.random.default_rng(0).permutation(len(rows)):
            inputs, _ = batch_of_clips([rows[int(number)]], self.hearing)
            real = inputs["attention_mask"][0].bool()
            found.append(self._telling.cepstra(inputs[self.hearing.reads][0][real]).numpy())
            total += len(found[-1])
            if total >= _MOST_FRAMES:
                break
        return np.concatenate(found)[:_MOST_FRAMES]

    def advice(self, rows: EncodedRows) -> str:
        """Where there are minutes of sound: that it did not pay."""
        return little_sound(rows)

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of clips."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"clips": self.collate([rows[int(i)] for i in rows_R], keys_R)}

        return {"clips": Stream(rows.lengths_N, collate, batch_size, group_by_length)}

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray) -> Batch:
        """Clips with ``mask_time_indices`` (B, F), the frames that are hidden: a function of their keys."""
        told = []
        for row, key in zip(rows, keys_B, strict=True):
            mask_F = hidden_frames(self.hearing.frames(len(row.arrays["samples"])), self.mask_share, key)
            told.append(Encoded(row.id, {**row.arrays, "mask": mask_F}, row.cost))
        inputs, _ = batch_of_clips(told, self.hearing)
        costs = [row.cost for row in rows]
        return Batch(
            inputs=inputs, targets=None, counts={TERM: float(inputs[_HIDDEN].sum())}, ids=tuple(row.id for row in rows),
            num_tokens=sum(costs), num_padded=len(rows) * max(costs),
        )  # fmt: skip

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Summed over hidden frames."""
        logits_SV, clusters_S, _ = self._told(model, feed["clips"])
        right = (logits_SV.detach().argmax(-1) == clusters_S).sum()
        return Loss.of(functional.cross_entropy(logits_SV, clusters_S, reduction="sum"), {"correct": float(right)})

    def _told(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of hidden frames, clip by clip: logits (S, V), clusters (S,), states (S, H)."""
        hidden_BF = batch.inputs[_HIDDEN]
        states_SH = model(**batch.inputs)[hidden_BF]
        with torch.no_grad():
            clusters_S = self._telling.clusters(batch.inputs[self.hearing.reads][hidden_BF])
        return self._telling.head(states_SH).float(), clusters_S, states_SH.detach()

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 3 + V + H) per row: hidden frames, right ones, summed loss, frames of each cluster, sum of the unit states."""
        self.model.eval()
        keys, stats = row_keys(0, "held-out", 0, np.arange(len(rows))), None
        for places in cut_by_budget(rows.lengths_N, max_cost=_BUDGET_FRAMES, max_rows=2**31):
            batch = self.collate([rows[int(i)] for i in places], keys[places])
            moved = batch.to(device.device)
            with inference(device):
                logits_SV, clusters_S, states_SH = self._told(self.model, moved)
            losses_S = functional.cross_entropy(logits_SV, clusters_S, reduction="none")
            sums_S3 = torch.stack(
                [torch.ones_like(losses_S), (logits_SV.argmax(-1) == clusters_S).float(), losses_S], 1
            )
            each = functional.one_hot(clusters_S, CLUSTERS).float(), functional.normalize(states_SH.float(), dim=-1)
            frames_SK = torch.cat([sums_S3, *each], dim=1).cpu().double().numpy()
            if stats is None:
                stats = np.zeros((len(rows), frames_SK.shape[1]))
            owners = np.repeat(places, batch.inputs[_HIDDEN].sum(dim=1).numpy())
            np.add.at(stats, owners, frames_SK)
            if on_batch:
                on_batch(len(places))
        assert stats is not None, "there are rows"
        self._last = {name: float(value) for name, value in self.scores(stats.sum(axis=0)).items()}
        return stats

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., K) sums."""
        frames = np.maximum(sums_K[..., 0], 1e-12)
        share_V = sums_K[..., 3 : 3 + CLUSTERS] / frames[..., None]
        mean_H = sums_K[..., 3 + CLUSTERS :] / frames[..., None]
        return {
            "masked_accuracy": sums_K[..., 1] / frames,
            "masked_loss": sums_K[..., 2] / frames,
            "frequency_loss": -(share_V * np.log(np.maximum(share_V, 1e-30))).sum(-1),
            "spread": np.sqrt(np.maximum(1 - (mean_H**2).sum(-1), 0.0)),
        }

    def warnings(self) -> Sequence[str]:
        """Whether the states collapsed, or nothing was learned; nothing before there were statistics."""
        found = []
        if self._last and self._last["spread"] < _LITTLE_SPREAD:
            found.append(
                f"the encoder has collapsed: it says the same of every frame (spread {self._last['spread']:.3f}, of at most 1); lower --learning-rate"
            )
        if self._last and self._last["masked_loss"] * _LITTLE > self._last["frequency_loss"]:
            found.append(
                f"hidden frames are hardly told better than by how often clusters are ({self._last['masked_loss']:.2f} nats against "
                f"{self._last['frequency_loss']:.2f}): little was learned; learn longer (--epochs), or with a larger --learning-rate"
            )
        return found

    def saved(self) -> nn.Module:
        """The encoder."""
        return self._telling.encoder

    def to_dict(self) -> dict[str, Any]:
        """Name and sampling rate."""
        return {"task": self.name, "sampling_rate": self.hearing.rate}


def _hiding(backbone: Backbone) -> Backbone:
    """The backbone with the vector that stands in for a hidden frame, which its config may do without."""
    if getattr(backbone.config, "mask_time_prob", 0.0) > 0:
        return backbone
    config: Any = copy.deepcopy(backbone.config)
    config.mask_time_prob = 0.05
    return dataclasses.replace(backbone, config=config)
