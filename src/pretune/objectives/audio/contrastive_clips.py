"""COLA (Saeed, Grangier & Zeghidour 2021, arXiv 2010.10915): which piece of sound is of the same clip, among pieces of all clips of the update.

Shapes: B clips of a batch, T samples, F frames of a piece, D features, P projected numbers, N rows, K statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pretune.backbones.audio.mel_resnet import pooled
from pretune.backbones.audio.spec import audio_spec_of
from pretune.backbones.own import MEL_RESNET
from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream
from pretune.engine.devices import Device, inference
from pretune.engine.randomness import row_keys
from pretune.metrics.base import ScoreSpec
from pretune.modalities import Modality
from pretune.modalities.audio.clips import FULL_SCALE
from pretune.objectives.audio.hidden_frames import little_sound
from pretune.objectives.image.image_pretraining import classes_of
from pretune.objectives.pretraining import Pretraining
from pretune.objectives.representation import (
    HEALTH_SPECS,
    NUM_HEALTH,
    collapse_warnings,
    health_scores,
    health_statistics,
)
from pretune.objectives.two_views import seeded_heads, twins_found
from pretune.tasks.protocols import EncodedRows
from pretune.tasks.rows.audio import VARIATIONS, ClipRows, batch_of_clips, clips_of, frame_mask_of, learned_clip
from pretune.types import TERM, Batch, Encoded, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits

__all__ = ["ContrastiveClips", "elsewhere"]

_PIECE_SECONDS = 1.0
"""A piece is half of a clip, and so long at most (section 3.1 there: 0.96 s)."""
_PROJECTED = 512
_BENDS, _BEND = 6, 0.5
_NOISE_DB, _NOISE_SLOPE, _NOISE_HZ = 30.0, 1.5, 300.0
_LOUD = 0.5
_HELD_OUT_ROWS, _FEWEST_ROWS = 256, 20
_REMEDY = "lower --learning-rate, or raise --batch-size"


@final
class _Compared(nn.Module):
    """The encoder, and how like two pieces are: g(x)' W g(y), better there than the cosine (table 3). Head and W stay behind."""

    def __init__(self, encoder: nn.Module, width: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = seeded_heads(
            seed, lambda: nn.Sequential(nn.Linear(width, _PROJECTED), nn.LayerNorm(_PROJECTED), nn.Tanh())
        )
        self.across = nn.Parameter(torch.eye(_PROJECTED))

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """What a classifier reads of each piece, (B, D)."""
        return pooled(*self.encoder.mel_resnet(inputs["input_features"], inputs.get("attention_mask"), inputs.get("mask_time_indices")))  # type: ignore[operator]  # fmt: skip

    def forward(self, first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> torch.Tensor:
        """How like the first piece of each clip and the second of each are, (B, B)."""
        one_BP, other_BP = (self.head(self.features(**inputs)).float() for inputs in (first, second))
        return one_BP @ self.across @ other_BP.T / _PROJECTED**0.5


@final
class ContrastiveClips(Pretraining):
    """Cross entropy of telling a clip's other piece, summed over clips. Batch norm and the loss tie the clips of an update together: none is cut.

    A column ``label`` is looked at for the accuracy of nearest neighbours only; nothing is learned from it.
    """

    name: ClassVar[str] = "contrastive-clips"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.AUDIO,)
    columns: ClassVar[tuple[str, ...]] = ("audio",)
    primary: str = "twin_accuracy"
    specs: Mapping[str, ScoreSpec] = {
        "twin_accuracy": ScoreSpec(rising=True, limits=(0.0, 1.0), title="accuracy of finding the other piece"),
        **HEALTH_SPECS,
    }
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["audio"], "augment")
    default_epochs: tuple[float, float] = (60.0, 20.0)
    default_batch_size: int = 64
    models: ClassVar[str] = "a model that tells sounds apart, such as scratch:mel-resnet-tiny"
    reading: str = (
        "Two pieces of a clip are found where each is the other's nearest among the pieces of 256 clips. Spread is 0 where all clips get the same features, and 1 at most; "
        "directions (effective rank) is in how many ways the features differ. Nearest neighbours: how often the labelled clips that are most alike "
        "have a clip's own class. Nothing was learned from labels."
    )
    log_names: tuple[str, ...] = ("right",)

    def __init__(self, backbone: Backbone, *, augment: str = "light", seed: int) -> None:
        encoder, self.report = backbone.build("AutoModel", seed=seed)
        self.hearing = audio_spec_of(backbone)
        self.variation, self.mask = VARIATIONS[augment], frame_mask_of(backbone)
        self.model = self._compared = _Compared(encoder, 2 * int(backbone.config.hidden_size), seed)
        self.piece = round(_PIECE_SECONDS * self.hearing.rate)
        self._last: dict[str, float] = {}

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Is it a residual network on log-mel?"""
        return config.model_type == MEL_RESNET

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> ContrastiveClips:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return cls(backbone, augment="light" if settings.augment == "auto" else settings.augment, seed=seed)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ClipRows:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        classes = classes_of(dataset)
        told = None if classes is None else classes.__getitem__
        return ClipRows(dataset, clips_of(dataset, self.hearing, fingerprint), self.hearing, told)

    def advice(self, rows: EncodedRows) -> str:
        """Where there are minutes of sound: that it did not pay."""
        return little_sound(rows)

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of clips, its updates whole."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"clips": self.collate([rows[int(i)] for i in rows_R], keys_R)}

        return {"clips": Stream(rows.lengths_N, collate, batch_size, False, True)}

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray) -> Batch:
        """``first`` and ``second``: two varied pieces of each clip, functions of its key."""
        pieces = [self._pieces(row, int(key)) for row, key in zip(rows, keys_B, strict=True)]
        first, second = (batch_of_clips(side, self.hearing)[0] for side in zip(*pieces, strict=True))
        costs = [one.cost + other.cost for one, other in pieces]
        return Batch(
            inputs={"first": first, "second": second}, targets=None, counts={TERM: float(len(rows))}, ids=tuple(row.id for row in rows),
            num_tokens=sum(costs), num_padded=len(rows) * max(costs),
        )  # fmt: skip

    def _pieces(self, row: Encoded, key: int) -> tuple[Encoded, Encoded]:
        rng, samples_T = np.random.default_rng(key), row.arrays["samples"]
        size = max(self.hearing.least_samples, min(self.piece, len(samples_T) // 2))
        starts = rng.integers(0, len(samples_T) - size + 1, 2)
        cut = [samples_T[at : at + size] for at in starts]
        if self.variation.name != "none":
            cut = [elsewhere(piece_T, rng, self.hearing.rate) for piece_T in cut]
        items = [Encoded(row.id, {"samples": piece_T}, self.hearing.cost(size)) for piece_T in cut]
        one, other = (learned_clip(item, rng, self.variation, self.mask, self.hearing) for item in items)
        return one, other

    def loss(self, model: nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Summed over clips; ``right`` counts those whose other piece was the likest."""
        likeness_BB = model(**feed["clips"].inputs)
        twin_B = torch.arange(len(likeness_BB), device=likeness_BB.device)
        right = (likeness_BB.detach().argmax(dim=1) == twin_B).sum()
        return Loss.of(functional.cross_entropy(likeness_BB, twin_B, reduction="sum"), {"right": float(right)})

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 6): share of a row's pieces whose twin is nearest, and what :func:`health_statistics` says of whole clips' features."""
        self.model.eval()
        stats, features, classes = np.zeros((len(rows), 1 + NUM_HEALTH)), [], []
        for places in np.array_split(np.arange(len(rows)), max(1, -(-len(rows) // _HELD_OUT_ROWS))):
            items = [rows[int(i)] for i in places]
            pieces = self.collate(items, row_keys(0, "held-out", 0, places)).to(device.device)
            whole = Batch(batch_of_clips(items, self.hearing)[0], None, {}, (), 0, 0).to(device.device)
            with inference(device):
                views_VD = torch.cat([self._compared.features(**pieces.inputs[side]) for side in ("first", "second")])
                features.append(self._compared.features(**whole.inputs).float().cpu().numpy())
            stats[places, 0] = twins_found(views_VD)
            classes += [-1 if item.target is None else int(item.target) for item in items]
            if on_batch:
                on_batch(len(places))
        stats[:, 1:] = health_statistics(np.concatenate(features), np.array(classes))
        if len(rows) >= _FEWEST_ROWS:
            self._last = {name: float(value) for name, value in self.scores(stats.sum(axis=0)).items()}
        return stats

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """``twin_accuracy``, and the features' health."""
        return {
            "twin_accuracy": sums_K[..., 0] / np.maximum(sums_K[..., 1], 1e-12),
            **health_scores(sums_K[..., 1:]),
        }

    def warnings(self) -> Sequence[str]:
        """What the last statistics say of the features; nothing before there were any."""
        return collapse_warnings(self._last, remedy=_REMEDY, rows="clip") if self._last else ()

    def saved(self) -> nn.Module:
        """The bare encoder."""
        return self._compared.encoder

    def to_dict(self) -> dict[str, Any]:
        """Name, sampling rate, how clips were varied."""
        return {"task": self.name, "sampling_rate": self.hearing.rate, "augment": self.variation.name}


def elsewhere(samples_T: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A piece as another microphone in another place would hear it, int16 (T,): louder and fainter over the frequencies, with noise of some colour,
    up to as loud as itself. Otherwise two pieces of a clip are found by its place alone (docs/decisions.md, D229).
    """
    spectrum, hertz = np.fft.rfft(samples_T.astype(np.float64)), np.fft.rfftfreq(len(samples_T), 1 / rate)
    octaves = np.log2(np.maximum(hertz, 40.0) / 40.0)
    bends = np.cumsum(rng.normal(0.0, _BEND, _BENDS))
    spectrum *= np.exp(np.interp(octaves, np.linspace(0.0, octaves[-1], _BENDS), bends))
    noise = np.fft.rfft(rng.standard_normal(len(samples_T)))
    noise *= np.maximum(hertz / _NOISE_HZ, 0.05) ** rng.uniform(-_NOISE_SLOPE, 0.0)
    loud, faint = (np.sqrt((np.abs(one) ** 2).sum()) for one in (spectrum, noise))
    sound_T = np.fft.irfft(spectrum + noise * loud / faint * 10 ** (-rng.uniform(0.0, _NOISE_DB) / 20), len(samples_T))
    return np.rint(sound_T * (_LOUD * (FULL_SCALE - 1) / max(np.abs(sound_T).max(), 1e-9))).astype(np.int16)
