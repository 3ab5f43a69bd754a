"""Learning sound as it is: each sample from those before it (van den Oord et al. 2016, arXiv 1609.03499), with the clip's log-mel frames told
of some clips and not of others, so that one model is a speech model and a vocoder.

Shapes: B clips of a batch, T samples, F frames, M mel bands, V codes, N rows, K statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.audio.gated_convolutions import codes_of
from pretune.backbones.audio.vocoder import WaveNetVocoder
from pretune.backbones.own import WAVENET, mel_of
from pretune.config import READ_BY_MODALITY
from pretune.engine.batching import Stream, cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.metrics.base import ScoreSpec, Sums
from pretune.modalities import Modality
from pretune.modalities.audio.clips import FULL_SCALE
from pretune.objectives.audio.sound_baselines import CodeCounts, linear_prediction_bits
from pretune.objectives.pretraining import Measure, Pretraining
from pretune.tasks.protocols import EncodedRows, PartsPace
from pretune.tasks.rows.spoken import SoundRows, spoken_clips
from pretune.types import TERM, Batch, Encoded, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits

__all__ = ["NextSample"]

UNTOLD_SHARE = 0.3
"""Of the clips, those whose frames the model is not told."""
_LONGEST_SECONDS = 1.0
"""Clips are measured in their first second."""
_PIECE_SECONDS = 0.1
"""Clips are learned from in pieces that are drawn anew each time: in equal time many more updates."""
_RATE = 5e-3
"""Of fresh weights 64 channels wide; less by the root of the width."""
_BUDGET_SAMPLES = 40_000
_BASELINE_CLIPS, _COPIED_CLIPS = 60, 20


@final
class NextSample(Pretraining):
    """Cross entropy of mu-law codes, summed over samples."""

    name: ClassVar[str] = "next-sample"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.AUDIO,)
    columns: ClassVar[tuple[str, ...]] = ("audio",)
    primary: str = "bits_per_sample"
    specs: Mapping[str, ScoreSpec] = {
        "bits_per_sample": ScoreSpec(rising=False, unit="bits", title="bits a sample"),
        "bits_given_mel": ScoreSpec(rising=False, unit="bits", title="bits a sample, told the log-mel frames"),
        "bits_unigram": ScoreSpec(rising=False, unit="bits", title="bits by how often codes are"),
        "bits_previous": ScoreSpec(rising=False, unit="bits", title="bits by the sample before"),
        "bits_linear": ScoreSpec(rising=False, unit="bits", title="bits by linear prediction of 16 samples"),
        "copy_distance": ScoreSpec(rising=False, title="log-mel distance of clips made again of their frames"),
        "copy_distance_griffin_lim": ScoreSpec(rising=False, title="the same of clips by Griffin-Lim"),
    }
    reads: ClassVar[tuple[str, ...]] = READ_BY_MODALITY["audio"]
    default_epochs: tuple[float, float] = (20.0, 6.0)
    default_batch_size: int = 8
    models: ClassVar[str] = "a WaveNet, such as scratch:wavenet-tiny"
    reading: str = (
        "Bits are the mean of minus the binary logarithm of what the model gave the code (of 256, mu-law) that came. Clips are taken "
        "without the quiet around them and equally loud. Simple methods, counted in the training rows or in the samples before, stand beside."
    )

    def __init__(self, backbone: Backbone, *, seed: int) -> None:
        self.model, self.report = backbone.build("AutoModel", seed=seed)
        self.mel = mel_of(backbone.config)
        self.codes = int(backbone.config.num_codes)
        self.most = round(_LONGEST_SECONDS * self.mel.rate)
        self.piece = round(_PIECE_SECONDS * self.mel.rate) // self.mel.hop * self.mel.hop
        self._counts: CodeCounts | None = None

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Is it a WaveNet?"""
        return config.model_type == WAVENET

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> NextSample:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return cls(backbone, seed=seed)

    def parts_pace(self, backbone: Backbone) -> PartsPace | None:
        """Fresh weights learn at five times the rate of other sound models (docs/decisions.md, D230)."""
        if backbone.kind != "scratch":
            return None
        return PartsPace(learning_rate=_RATE * (64 / int(backbone.config.hidden_size)) ** 0.5)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> SoundRows:
        """See :class:`pretune.objectives.pretraining.Pretraining`."""
        return SoundRows(dataset, spoken_clips(dataset, self.mel, fingerprint), most=self.most)

    def begin(self, rows: EncodedRows, *, fingerprint: str) -> str:
        """Nothing is given to the weights; what the model is held against is counted."""
        self._counts = CodeCounts.of((self._codes(rows[i]) for i in range(len(rows))), self.codes)
        return ""

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """The one stream of clips."""

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            return {"clips": self.collate([rows[int(i)] for i in rows_R], keys_R)}

        return {"clips": Stream(rows.lengths_N, collate, batch_size, group_by_length)}

    def _codes(self, row: Encoded) -> np.ndarray:
        return codes_of(torch.from_numpy(row.arrays["samples"] / np.float32(FULL_SCALE)), self.codes).numpy()

    def collate(self, rows: Sequence[Encoded], keys_B: np.ndarray | None = None) -> Batch:
        """``inputs``: ``codes`` (B, T), ``frames`` (B, F, M), ``given`` (B,); ``extras``: ``real`` (B, T). With ``keys_B`` clips are cut to
        a piece, and of some the frames are not given.
        """
        given_B = torch.ones(len(rows), dtype=torch.bool)
        clips, frames = [], []
        for number, row in enumerate(rows):
            start, size = 0, self.most
            if keys_B is not None:
                rng = np.random.default_rng(int(keys_B[number]))
                given_B[number] = bool(rng.random() >= UNTOLD_SHARE)
                size = self.piece
                start = int(rng.integers(max(0, len(row.arrays["samples"]) - size) // self.mel.hop + 1)) * self.mel.hop
            clip_T, frames_FM = self._cut(row.arrays["samples"], start, size)
            clips.append(clip_T)
            frames.append(torch.from_numpy(frames_FM))
        lengths_B = torch.tensor([len(clip_T) for clip_T in clips])
        samples_BT = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip_T) for clip_T in clips], batch_first=True)
        real_BT = torch.arange(samples_BT.shape[1])[None] < lengths_B[:, None]
        inputs = {
            "codes": codes_of(samples_BT, self.codes), "given": given_B,
            "frames": torch.nn.utils.rnn.pad_sequence(frames, batch_first=True),
        }  # fmt: skip
        return Batch(
            inputs=inputs, targets=None, counts={TERM: float(lengths_B.sum())}, ids=tuple(row.id for row in rows),
            num_tokens=int(lengths_B.sum()), num_padded=real_BT.numel(), extras={"real": real_BT},
        )  # fmt: skip

    def _cut(self, stored_T: np.ndarray, start: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """``size`` samples at most, from ``start`` on (a whole number of hops), and the whole clip's frames (F, M) there."""
        hop = self.mel.hop
        around = math.ceil(self.mel.size / 2 / hop) * hop
        before = min(start, around)
        near_T = stored_T[start - before : start + size + around] / np.float32(FULL_SCALE)
        clip_T = near_T[before : before + size]
        first = before // hop
        return clip_T, self.mel.of(near_T)[first : first + self.mel.frames(len(clip_T))]

    def losses(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Nats of the samples of each clip, (B,)."""
        logits_BTV = model(**batch.inputs).float()
        nats_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), batch.inputs["codes"], reduction="none")
        return (nats_BT * batch.extras["real"]).sum(dim=1)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Summed over samples."""
        return Loss.of(self.losses(model, feed["clips"]).sum())

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, 3) of a row: samples, bits not told its frames, bits told them."""
        self.model.eval()
        stats = np.zeros((len(rows), 3))
        for places in cut_by_budget(rows.lengths_N, max_cost=_BUDGET_SAMPLES, max_rows=2**31):
            batch = self.collate([rows[int(i)] for i in places]).to(device.device)
            stats[places, 0] = batch.extras["real"].sum(dim=1).cpu().numpy()
            for column, given in ((1, False), (2, True)):
                batch.inputs["given"][:] = given
                with inference(device):
                    stats[places, column] = self.losses(self.model, batch).cpu().numpy() / math.log(2)
            if on_batch:
                on_batch(len(places))
        return stats

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Bits a sample."""
        samples = np.maximum(sums_K[..., 0], 1.0)
        return {"bits_per_sample": sums_K[..., 1] / samples, "bits_given_mel": sums_K[..., 2] / samples}

    def measures(self, rows: EncodedRows, device: Device) -> Sequence[Measure]:
        """What simple methods need for the same clips."""
        assert self._counts is not None, "training rows were counted"
        some = range(min(len(rows), _BASELINE_CLIPS))
        stats = []
        for number in some:
            codes_T = self._codes(rows[number])[: self.most]
            clip_T = rows[number].arrays["samples"][: self.most] / np.float32(FULL_SCALE)
            stats.append(
                (len(codes_T), *self._counts.bits(codes_T), linear_prediction_bits(clip_T, codes_T, self.codes))
            )
        names = ("bits_unigram", "bits_previous", "bits_linear")
        found = Sums(
            np.array(stats), lambda sums: {name: sums[..., 1 + k] / sums[..., 0] for k, name in enumerate(names)}
        )
        return [Measure(found, f"The simple methods were measured on {len(stats)} of the clips."), self._copies(rows)]

    def _copies(self, rows: EncodedRows) -> Measure:
        """Some clips made again of their frames by the model and by Griffin-Lim, and how far from them the frames of both are."""
        some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _COPIED_CLIPS)).astype(int)).tolist()
        frames = [self._cut(rows[number].arrays["samples"], 0, self.most)[1] for number in some]
        drawn = WaveNetVocoder(self.model, self.mel, "the model").sounds(frames, some)
        made = (drawn, [self.mel.sound(frames_FM) for frames_FM in frames])
        apart = [
            [self._apart(clip_T, frames_FM) for clip_T, frames_FM in zip(one, frames, strict=True)] for one in made
        ]
        stats = np.array([[len(frames_FM) for frames_FM in frames], *apart]).T
        names = ("copy_distance", "copy_distance_griffin_lim")
        found = Sums(stats, lambda sums: {name: sums[..., 1 + k] / sums[..., 0] for k, name in enumerate(names)})
        own, plain = (sum(one) for one in apart)
        told = (
            "it is nearer to the true frames: `--vocoder` with this run lets it make a voice's sound"
            if own < plain
            else "Griffin-Lim is nearer to the true frames, and makes a voice's sound where no `--vocoder` is given"
        )
        return Measure(found, f"{len(some)} of the clips were made again of their frames, by the model and by Griffin-Lim: {told}.")  # fmt: skip

    def _apart(self, clip_T: np.ndarray, frames_FM: np.ndarray) -> float:
        """The distance of a made clip's frames from those that it was made of, summed over frames."""
        return float(np.abs(self.mel.of(clip_T)[: len(frames_FM)] - frames_FM).mean(axis=1).sum())

    def to_dict(self) -> dict[str, Any]:
        """Name and sampling rate."""
        return {"task": self.name, "sampling_rate": self.mel.rate}
