"""wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477): tell a hidden frame's own code from those of other hidden frames.

The model is transformers' ``Wav2Vec2ForPreTraining``. Its loss is computed here, as a sum over frames: masks, negatives and the
Gumbel noise are functions of the rows' keys, where transformers draws them from states that no resume brings back.

Shapes: B clips of a batch, F frames of a clip, S hidden frames of all clips, J negatives, G groups of V codes, H features, K statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.audio.spec import audio_spec_of, without_own_masks
from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import row_keys
from pretune.errors import ModelError
from pretune.metrics.base import ScoreSpec
from pretune.modalities import Modality
from pretune.modalities.audio.clips import parts_of
from pretune.objectives.audio.hidden_frames import (
    MASK_SHARE,
    code_warnings,
    gumbel,
    hidden_frames,
    little_sound,
    other_frames,
)
from pretune.objectives.pretraining import Pretraining
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.audio import ClipRows, batch_of_clips, clips_of
from pretune.types import TERM, Batch, Encoded, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits

__all__ = ["ContrastiveAudio"]

TEMPERATURES = (2.0, 0.5)
"""Gumbel softmax at the beginning and at the end (section 4.2)."""

_BUDGET_FRAMES = 4096
_MODELS = ("wav2vec2", "wav2vec2-conformer")


class _Told(NamedTuple):
    """What the model says of the hidden frames. ``losses_S`` are negative log-likelihoods, ``right_S`` whether the own code is the
    likeliest, ``codes_SGV`` soft probabilities of the codes, ``context_SH`` the projected context.
    """

    losses_S: torch.Tensor
    right_S: torch.Tensor
    codes_SGV: torch.Tensor
    context_SH: torch.Tensor


@final
class ContrastiveAudio(Pretraining):
    """Contrastive and diversity loss, summed over hidden frames that have another one in their clip.

    The diversity loss (section 3.2) is of the mean over an update's frames, so updates are never cut; with
    ``diversity_weight`` 0 they may be.
    """

    name: ClassVar[str] = "contrastive-audio"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.AUDIO,)
    columns: ClassVar[tuple[str, ...]] = ("audio",)
    primary: str = "contrastive_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "contrastive_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of finding the hidden frame"),
        "contrastive_loss": ScoreSpec(rising=False, unit="nats"),
        "codebook_perplexity": ScoreSpec(rising=True, unit="number", title="codes in use"),
        "spread": ScoreSpec(rising=True, unit="number", title="spread of the features"),
    }
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["audio"], "mask_fraction")
    default_epochs: tuple[float, float] = (60.0, 10.0)
    default_batch_size: int = 32
    models: ClassVar[str] = "a wav2vec 2.0 model, such as scratch:wav2vec2-tiny"
    reading: str = (
        "For each hidden frame the model picks its own code from those of other hidden frames of the clip; accuracy is how often it "
        "picks right. Codes in use are a mean over the groups of codes. Spread is 0 where all frames are told alike, and 1 at most."
    )
    log_names: tuple[str, ...] = ("contrastive", "diversity", "correct")

    def __init__(
        self, backbone: Backbone, *, seed: int, mask_share: float = MASK_SHARE, diversity_weight: float | None = None
    ) -> None:
        if not self.suits(backbone.config):
            raise ModelError(
                f"{backbone.name} ({backbone.config.model_type}) has no codes to tell frames by",
                f"choose {self.models}",
            )
        changes: dict[str, Any] = {} if backbone.config.mask_time_prob > 0 else {"mask_time_prob": 0.05}
        self.model, self.report = without_own_masks(backbone).build("AutoModelForPreTraining", seed=seed, **changes)
        self.hearing = audio_spec_of(backbone)
        self.mask_share = mask_share
        config = backbone.config
        self.diversity_weight = config.diversity_loss_weight if diversity_weight is None else diversity_weight
        self.negatives = int(config.num_negatives)
        self.groups, self.codes = int(config.num_codevector_groups), int(config.num_codevectors_per_group)
        self.likeness = float(config.contrastive_logits_temperature)
        self.temperature = TEMPERATURES[0]
        self._last: dict[str, float] = {}

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Is it a wav2vec 2.0 model, with codes to tell frames by?"""
        return config.model_type in _MODELS

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> ContrastiveAudio:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return cls(backbone, seed=seed, mask_share=settings.mask_fraction or MASK_SHARE)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ClipRows:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return ClipRows(dataset, clips_of(dataset, self.hearing, fingerprint), self.hearing)

    def advice(self, rows: EncodedRows) -> str:
        """Where there are minutes of sound: that it did not pay."""
        return little_sound(rows)

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of clips."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"clips": self.collate([rows[int(i)] for i in rows_R], keys_R)}

        return {
            "clips": Stream(rows.lengths_N, collate, batch_size, group_by_length, is_whole=self.diversity_weight > 0)
        }

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray) -> Batch:
        """``extras``: ``lengths`` (B,), ``negatives`` (S, J) places among the S hidden frames, ``counts`` (S,) 1 where a frame has
        negatives, ``gumbel`` (S, G * V).
        """
        frames = [self.hearing.frames(len(row.arrays["samples"])) for row in rows]
        hidden = [hidden_frames(count, self.mask_share, key) for count, key in zip(frames, keys_B, strict=True)]
        told = [
            Encoded(row.id, {**row.arrays, "mask": mask_F}, row.cost) for row, mask_F in zip(rows, hidden, strict=True)
        ]
        inputs, lengths_B = batch_of_clips(told, self.hearing)
        counts = [int(mask_F.sum()) for mask_F in hidden]
        starts = np.cumsum([0, *counts])
        negatives, noise = [], []
        for count, key, start in zip(counts, keys_B, starts, strict=False):
            negatives.append(other_frames(count, self.negatives, key) + start)
            noise.append(gumbel(count, self.groups * self.codes, key))
        valid_S = np.repeat([float(count > 1) for count in counts], counts)
        costs = [row.cost for row in rows]
        return Batch(
            inputs=inputs,
            targets=None,
            counts={TERM: float(valid_S.sum())},
            ids=tuple(row.id for row in rows),
            num_tokens=sum(costs),
            num_padded=len(rows) * max(costs),
            extras={
                "lengths": lengths_B,
                "negatives": torch.from_numpy(np.concatenate(negatives)),
                "counts": torch.from_numpy(valid_S.astype(np.float32)),
                "gumbel": torch.from_numpy(np.concatenate(noise)),
            },
        )

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Also cools the Gumbel softmax, by equal factors over the run."""
        super().prepare(model, progress)
        first, last = TEMPERATURES
        self.temperature = first * (last / first) ** progress

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Contrastive loss, and the diversity loss times its weight for each frame."""
        batch = feed["clips"]
        told = self._told(model, batch)
        counts_S = batch.extras["counts"]
        contrastive = (told.losses_S * counts_S).sum()
        diversity = self._diversity(told.codes_SGV, counts_S) * batch.num_items
        parts = {
            "contrastive": float(contrastive.detach()),
            "diversity": float(diversity.detach()),
            "correct": float((told.right_S * counts_S).sum()),
        }
        return Loss.of(contrastive + self.diversity_weight * diversity, parts)

    def _diversity(self, codes_SGV: torch.Tensor, counts_S: torch.Tensor) -> torch.Tensor:
        """Share of the codes that are not used: 1 - (sum of the groups' perplexities) / (G * V) (equation 4, as transformers has it)."""
        mean_GV = (codes_SGV * counts_S[:, None, None]).sum(0) / counts_S.sum().clamp(min=1)
        perplexity_G = torch.exp(-torch.xlogy(mean_GV, mean_GV.clamp(min=1e-9)).sum(-1))
        return 1 - perplexity_G.sum() / (self.groups * self.codes)

    def _told(self, model: torch.nn.Module, batch: Batch) -> _Told:
        context_SH, features_SH = self._hidden_frames(model, batch)
        codes_SGV, chosen_SG, targets_SH = self._quantised(model, features_SH, batch.extras["gumbel"])
        predicted_SH = model.project_hid(context_SH).float()  # type: ignore[operator]
        negatives_SJ = batch.extras["negatives"]
        own_S = torch.cosine_similarity(predicted_SH, targets_SH, dim=-1)
        other_SJ = torch.cosine_similarity(predicted_SH[:, None], targets_SH[negatives_SJ], dim=-1)
        # A negative with the same codes is no negative (as in the authors' code).
        same_SJ = (chosen_SG[negatives_SJ] == chosen_SG[:, None]).all(-1)
        logits_SJ = torch.cat([own_S[:, None], other_SJ.masked_fill(same_SJ, -torch.inf)], dim=1) / self.likeness
        losses_S = -torch.log_softmax(logits_SJ, dim=1)[:, 0]
        right_S = (logits_SJ.argmax(dim=1) == 0) & ~same_SJ.all(dim=1)
        return _Told(losses_S, right_S.detach(), codes_SGV, predicted_SH.detach())

    def _hidden_frames(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Context and features of the hidden frames, (S, H) each, clip by clip."""
        encoder = getattr(model, model.base_model_prefix)  # type: ignore[arg-type]
        found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for rows, part in parts_of(batch.inputs, batch.extras["lengths"], self.hearing):
            said = encoder(**part)
            for place, row in enumerate(rows):
                mask_F = part["mask_time_indices"][place]
                found[row] = (said.last_hidden_state[place][mask_F], said.extract_features[place][mask_F])
        ordered = [found[row] for row in range(len(batch.ids))]
        features_SH = torch.cat([features for _, features in ordered])
        return torch.cat([context for context, _ in ordered]), model.dropout_features(features_SH)  # type: ignore[operator]

    def _quantised(
        self, model: torch.nn.Module, features_SH: torch.Tensor, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Soft probabilities of the codes (S, G, V), the chosen ones (S, G), and these projected (S, H): sampled while learning, the likeliest otherwise.

        Straight through: the forward pass takes one code a group, the backward pass the softmax (section 2, equation 1).
        """
        quantizer: Any = model.quantizer
        logits_SGV = quantizer.weight_proj(features_SH).float().view(-1, self.groups, self.codes)
        if model.training:
            soft_SGV = torch.softmax((logits_SGV + gumbel.view_as(logits_SGV)) / self.temperature, dim=-1)
        else:
            soft_SGV = torch.softmax(logits_SGV, dim=-1)
        chosen_SG = soft_SGV.argmax(-1)
        hard_SGV = functional.one_hot(chosen_SG, self.codes).to(soft_SGV.dtype)
        taken_SGV = hard_SGV + soft_SGV - soft_SGV.detach() if model.training else hard_SGV
        vectors = quantizer.codevectors.view(self.groups, self.codes, -1)
        picked = torch.einsum("sgv,gvd->sgd", taken_SGV.to(vectors.dtype), vectors).flatten(1)
        projected_SH = model.project_q(picked).float()  # type: ignore[operator]
        return torch.softmax(logits_SGV, dim=-1), chosen_SG, projected_SH

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 3 + G V + H) per row: hidden frames, right ones, summed loss, uses of each code, sum of the unit contexts."""
        self.model.eval()
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for places, batch in self._held_out(rows):
            moved = batch.to(device.device)
            with inference(device):
                told = self._told(self.model, moved)
            owners = np.repeat(places, self._hidden_counts(batch))
            parts.append((owners, self._frame_statistics(told, moved.extras["counts"])))
            if on_batch:
                on_batch(len(places))
        stats = np.zeros((len(rows), parts[0][1].shape[1]))
        for owners, frames_SK in parts:
            np.add.at(stats, owners, frames_SK)
        self._last = {name: float(value) for name, value in self.scores(stats.sum(axis=0)).items()}
        return stats

    def _held_out(self, rows: EncodedRows) -> Iterator[tuple[np.ndarray, Batch]]:
        keys = row_keys(0, "held-out", 0, np.arange(len(rows)))
        for places in cut_by_budget(rows.lengths_N, max_cost=_BUDGET_FRAMES, max_rows=2**31):
            yield places, self.collate([rows[int(i)] for i in places], keys[places])

    @staticmethod
    def _hidden_counts(batch: Batch) -> np.ndarray:
        return batch.inputs["mask_time_indices"].sum(dim=1).numpy()

    def _frame_statistics(self, told: _Told, counts_S: torch.Tensor) -> np.ndarray:
        """(S, K) of the hidden frames; zeros for those without negatives."""
        used_SGV = functional.one_hot(told.codes_SGV.argmax(-1), self.codes).flatten(1)
        unit_SH = functional.normalize(told.context_SH, dim=-1)
        sums_S3 = torch.stack([torch.ones_like(counts_S), told.right_S.float(), told.losses_S], dim=1)
        both = torch.cat([sums_S3, used_SGV, unit_SH], dim=1) * counts_S[:, None]
        return both.cpu().double().numpy()

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., K) sums: accuracy and loss of the contrast; ``codebook_perplexity``, the mean over groups of how many codes are in
        use (1 to V); ``spread``, the distance of unit contexts from their mean, root mean square (0 when all are alike).
        """
        frames = np.maximum(sums_K[..., 0], 1e-12)
        end = 3 + self.groups * self.codes
        used_GV = sums_K[..., 3:end].reshape(*sums_K.shape[:-1], self.groups, self.codes) / frames[..., None, None]
        entropy_G = -(used_GV * np.log(np.maximum(used_GV, 1e-30))).sum(-1)
        mean_H = sums_K[..., end:] / frames[..., None]
        return {
            "contrastive_accuracy": sums_K[..., 1] / frames,
            "contrastive_loss": sums_K[..., 2] / frames,
            "codebook_perplexity": np.exp(entropy_G).mean(-1),
            "spread": np.sqrt(np.maximum(1 - (mean_H**2).sum(-1), 0.0)),
        }

    def warnings(self) -> Sequence[str]:
        """What the last statistics say of codes and contexts; nothing before there were any."""
        return code_warnings(self._last, codes=self.codes, negatives=self.negatives) if self._last else ()

    def to_dict(self) -> dict[str, Any]:
        """Name and sampling rate."""
        return {"task": self.name, "sampling_rate": self.hearing.rate}
