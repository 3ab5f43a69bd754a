"""Speech recognition with CTC (Graves et al. 2006): a clip in, its transcript out, character by character.

Shapes: B clips of a batch, T samples of a clip, F frames, V characters of the vocabulary, L characters of a transcript, K statistics.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from torch.nn import functional

from pretune.answers import Text
from pretune.backbones.audio.spec import audio_spec_of, without_own_masks
from pretune.backbones.text.characters import CharVocabulary, find_vocabulary
from pretune.config import READ_BY_MODALITY
from pretune.metrics.base import Measured, Metric
from pretune.metrics.recognition import RecognitionMetric
from pretune.modalities import Modality
from pretune.modalities.audio.clips import AudioSpec, run_model
from pretune.schema import text, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.blocks.recognition import recognition_blocks
from pretune.tasks.rows.audio import (
    DEFAULT_FRAMES,
    DEFAULT_UPDATES,
    HIDDEN_FRAMES,
    VARIATIONS,
    ClipRows,
    FrameMask,
    batch_of_clips,
    clip_of,
    clips_of,
    frame_mask_of,
    heard_whole,
    learned_clip,
    real_frames,
    variation_of,
)
from pretune.tasks.rows.trunk import POSITIONS
from pretune.tasks.shown.audio import shown_clip
from pretune.tasks.shown.parts import Parts, clip_parts
from pretune.tasks.soft_losses import softened_divergence
from pretune.tasks.speech.ctc_decoding import beam_search, greedy, least_frames
from pretune.tasks.speech.recognition_checks import (
    collapse_warnings,
    refuse_other_writing,
    refuse_too_long,
    refuse_without_characters,
    transcripts_found,
    transcripts_of,
)
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["SpeechRecognition"]


@final
class SpeechRecognition(Task):
    """Transcripts by CTC, greedy or with ``beam_size`` prefixes.

    The loss of a clip is the negative log-likelihood of its transcript; an update is normalised by the characters of its
    transcripts (an empty one counts as one), so that every character weighs the same. A transcript that needs more frames than its
    clip has cannot be learned: such rows get weight 0 and are told of.
    """

    name: ClassVar[str] = "speech-recognition"
    hub_task: ClassVar[str] = "automatic-speech-recognition"
    modality: ClassVar[Modality] = Modality.AUDIO
    columns: ClassVar[tuple[str, ...]] = ("audio", "text")
    answer: ClassVar[str] = "text"
    metric_type: ClassVar[type[Metric]] = RecognitionMetric
    default_updates: ClassVar[int] = DEFAULT_UPDATES
    default_cost: ClassVar[float] = DEFAULT_FRAMES
    default_batch_size: ClassVar[int] = 8
    learning_inputs: ClassVar[tuple[str, ...]] = HIDDEN_FRAMES
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["audio"], "augment", "beam_size")
    kept: ClassVar = {"spelling": CharVocabulary.fits, "augment?": text(*VARIATIONS), "beam_size?": whole(1, 1000)}
    labels: tuple[str, ...] = ()

    def __init__(
        self, spelling: CharVocabulary, hearing: AudioSpec, *, augment: str = "none", mask: FrameMask | None = None, beam_size: int = 1
    ) -> None:  # fmt: skip
        self.spelling = spelling
        self.hearing = hearing
        self.variation = VARIATIONS[augment]
        self.mask = mask
        self.beam_size = beam_size

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> SpeechRecognition:
        """See :class:`pretune.tasks.base.Task`."""
        refuse_without_characters(backbone)
        hearing = audio_spec_of(backbone)
        spelling = find_vocabulary(backbone, (text or "" for text in data["train"]["text"]))
        refuse_too_long(data["train"], spelling, hearing)
        return cls(
            spelling, hearing, augment=variation_of(settings), mask=frame_mask_of(backbone), beam_size=settings.beam_size
        )  # fmt: skip

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The CTC model that transformers has for the backbone, its head as wide as the vocabulary."""
        return without_own_masks(backbone).build(
            "AutoModelForCTC", seed=seed, vocab_size=len(self.spelling.tokens), pad_token_id=self.spelling.blank_id
        )

    def processor_to_save(self, backbone: Backbone) -> Any:
        """See :meth:`pretune.backbones.text.characters.CharVocabulary.processor`."""
        return self.spelling.processor(backbone.processor, features=self.hearing.filterbank is not None)

    def encode(self, example: Example) -> list[Encoded]:
        """One clip, decoded, with the numbers of its characters as target."""
        clip = clip_of(example.inputs["audio"], self.hearing)
        target = self.spelling.encode(example.target.value) if isinstance(example.target, Text) else None
        weight = example.weight if target is None or self._fits(target, len(clip)) else 0.0
        return [Encoded(example.id, {"samples": clip}, self.hearing.cost(len(clip)), target, weight)]

    def _fits(self, target: tuple[int, ...], samples: int) -> bool:
        return least_frames(target) <= self.hearing.frames(samples)

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> ClipRows:
        """See :class:`pretune.tasks.base.Task`."""
        clips = clips_of(dataset, self.hearing, fingerprint)
        if "text" not in dataset.column_names:
            return ClipRows(dataset, clips, self.hearing)
        texts = dataset["text"]
        targets = [None if text is None else self.spelling.encode(text) for text in texts]
        fits_N = np.array(
            [t is None or self._fits(t, int(n)) for t, n in zip(targets, clips.num_samples_N, strict=True)]
        )
        rows = ClipRows(dataset, clips, self.hearing, targets.__getitem__, fits_N.astype(np.float64))
        rows.ledger.update(transcripts_found(dataset["id"], targets, fits_N, self.spelling.unknown_id))
        return rows

    @property
    def num_outputs(self) -> int:
        """One a character of the vocabulary."""
        return len(self.spelling.tokens)

    @property
    def varies_rows(self) -> bool:
        """All levels but ``none`` do."""
        return self.variation.name != "none"

    @property
    def runs_in_parts(self) -> bool:
        """A model that is not told of padding reads clips of each length apart."""
        return not self.hearing.masked

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> SpeechRecognition:
        """It writes with the same characters."""
        return SpeechRecognition(
            self.spelling, audio_spec_of(backbone), augment=variation_of(settings), mask=frame_mask_of(backbone), beam_size=settings.beam_size
        )  # fmt: skip

    def same_inputs_as(self, other: Task) -> bool:
        """Clips at the same rate."""
        return isinstance(other, SpeechRecognition) and other.hearing.rate == self.hearing.rate

    def for_teacher(self, item: Encoded) -> Encoded:
        """The varied clip with all its frames and bands."""
        return heard_whole(item)

    def check_teacher(self, teacher: Task) -> None:
        """The same characters, and frames of the same length."""
        assert isinstance(teacher, SpeechRecognition), f"{teacher.name} writes no transcripts"
        refuse_other_writing(teacher.spelling, teacher.hearing, self.spelling, self.hearing)

    def augment(self, row: Encoded, rng: np.random.Generator) -> Encoded:
        """The clip varied, and frames of it hidden; never so short that its transcript no longer fits."""
        return learned_clip(
            row, rng, self.variation, self.mask, self.hearing,
            is_usable=lambda samples: row.target is None or self._fits(row.target, samples),
        )  # fmt: skip

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (sum of L,) are the characters of all transcripts. ``extras``: ``lengths`` (B,) samples, ``frames`` (B,),
        ``positions`` (B, F) which frames are real, ``characters`` (B,) L of each (-1 for unlabelled), ``weights`` (B,).
        """
        inputs, lengths_B = batch_of_clips(rows, self.hearing)
        targets = [row.target or () for row in rows]
        positions_BF = real_frames(inputs, lengths_B, self.hearing)
        costs = [row.cost for row in rows]
        labelled = [row for row in rows if row.target is not None]
        return Batch(
            inputs=inputs,
            targets=torch.tensor([i for target in targets for i in target], dtype=torch.long),
            counts={TERM: float(sum(row.weight * max(1, len(row.target)) for row in labelled))},
            ids=tuple(row.id for row in rows),
            num_tokens=sum(costs),
            num_padded=len(rows) * max(costs),
            extras={
                "lengths": lengths_B,
                "frames": positions_BF.sum(dim=1),
                POSITIONS: positions_BF,
                "characters": torch.tensor([-1 if row.target is None else len(row.target) for row in rows]),
                "weights": torch.tensor([row.weight for row in rows], dtype=torch.float32),
            },
        )

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, F, V)."""
        return run_model(model, batch.inputs, batch.extras["lengths"], self.hearing)

    def _log_probs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, F, V) float32."""
        return torch.log_softmax(self.logits_of(model, batch).float(), dim=-1)

    def _answers(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        log_probs_BFV = self._log_probs(model, batch)
        return finite_answers(log_probs_BFV, batch.ids, batch.extras[POSITIONS][:, : log_probs_BFV.shape[1]])

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """Negative log-likelihood of the transcripts, summed over clips. Rows of weight 0 add nothing."""
        refuse_unlabelled(self, batch, rows="rows without a transcript", answer="text")
        return Loss.of(self._likelihoods(self._log_probs(model, batch), batch).sum())

    def _likelihoods(self, log_probs_BFV: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Negative log-likelihoods (B,) times the clips' weights; of a clip without a transcript that of an empty one."""
        assert batch.targets is not None
        losses_B = functional.ctc_loss(
            log_probs_BFV.transpose(0, 1), batch.targets, batch.extras["frames"], batch.extras["characters"].clamp(min=0),
            blank=self.spelling.blank_id, reduction="none", zero_infinity=True,
        )  # fmt: skip
        return losses_B * batch.extras["weights"]

    def log_likelihoods(self, logits: torch.Tensor, batch: Batch, transcript: str) -> torch.Tensor:
        """Of one transcript for every clip (B,), over all its alignments."""
        ids, rows, device = self.spelling.encode(transcript), len(batch.ids), logits.device
        counts_B, ones_B = torch.full((rows,), len(ids), device=device), torch.ones(rows, device=device)
        extras = {**batch.extras, "characters": counts_B, "weights": ones_B}
        told = dataclasses.replace(batch, targets=torch.tensor(ids * rows, device=device), extras=extras)
        return -self._likelihoods(torch.log_softmax(logits.float(), dim=-1), told)

    def parts(self, example: Example) -> Parts:
        """Stretches of time; a blank is silence."""
        return clip_parts(clip_of(example.inputs["audio"], self.hearing), self.hearing, example.id)

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those with a transcript."""
        return batch.extras["characters"] >= 0

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Frames, the one measure of clips with and without a transcript."""
        return batch.extras["frames"].float()

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Negative log-likelihoods of the transcripts."""
        losses_B = self._likelihoods(torch.log_softmax(logits.float(), dim=-1), batch)
        return torch.where(self.is_labelled(batch), losses_B, torch.zeros_like(losses_B))

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """See :func:`pretune.tasks.soft_losses.softened_divergence`, summed over the frames of a clip: then its gradient is of the
        likelihood's size, which is a sum over frames too.
        """
        apart_BF = softened_divergence(logits, teachers, temperature)
        return torch.where(batch.extras[POSITIONS], apart_BF, torch.zeros_like(apart_BF)).sum(dim=1)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """One transcript a clip."""
        found = zip(batch.ids, self._answers(model, batch).cpu().numpy(), batch.extras["frames"].tolist(), strict=True)
        return [Prediction(i, self._written(log_probs_FV[:count])) for i, log_probs_FV, count in found]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Of the characters of each frame, (B, F, V) float32."""
        log_probs_BFV = self._answers(model, batch)
        return log_probs_BFV.exp() * batch.extras[POSITIONS][:, : log_probs_BFV.shape[1], None]

    def _written(self, log_probs_FV: np.ndarray) -> str:
        blank = self.spelling.blank_id
        if self.beam_size > 1:
            return self.spelling.decode(beam_search(log_probs_FV.astype(np.float64), blank, self.beam_size))
        return self.spelling.decode(greedy(log_probs_FV, blank))

    def answering(self) -> dict[str, Any]:
        """``beam_size``."""
        return {"beam_size": self.beam_size}

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """A clip is one item."""
        return list(predictions)

    def truths(self, dataset: Dataset) -> list[str]:
        """The transcripts, in the form that is learned."""
        return [self.spelling.tidied(text) for text in transcripts_of(dataset)]

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, transcript, and the truth where it is known."""
        found = {"id": prediction.id, "text": prediction.answer}
        return found if truth is None else {**found, "truth": truth}

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when the model writes nothing, or the same everywhere."""
        return collapse_warnings(records)

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """The most frequent confusions and the worst utterances, with spectrum and sound."""

        def shown(index: int) -> dict[str, Any]:
            row = rows[index]
            return {"id": row["id"], **shown_clip(row["audio"], self.hearing.rate)}

        return recognition_blocks(records, shown)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """The most frequent transcript of the training rows, for every clip."""
        usual = Counter(self.spelling.tidied(text) for text in train["text"] if text is not None).most_common(1)[0][0]
        records = [{"text": usual, "truth": truth} for truth in self.truths(rows)]
        return {"most-frequent-transcript": self.metric.measure(records)}, []

    def portable(self) -> dict[str, Any]:
        """How clips are heard."""
        return self.hearing.portable()

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> SpeechRecognition:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(
            CharVocabulary.from_dict(about["spelling"]), audio_spec_of(backbone), augment=about.get("augment", "none"),
            mask=frame_mask_of(backbone), beam_size=int(about.get("beam_size", 1)),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Name, vocabulary, how clips were varied and how transcripts are searched."""
        return {
            "task": self.name, "labels": [], "spelling": self.spelling.to_dict(), "augment": self.variation.name, "beam_size": self.beam_size,
        }  # fmt: skip
