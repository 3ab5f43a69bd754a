"""Speech made of text: letters in, log-mel frames out, sound by Griffin-Lim.

Frames are said step by step (:mod:`pretune.tasks.speech.step_by_step`) or all at once (:mod:`pretune.tasks.speech.at_once`).
Shapes: B rows of a batch, L letters, F frames, M mel bands, T samples of a clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch

from pretune.answers import Wave
from pretune.backbones.audio.vocoder import WaveNetVocoder, vocoder_in
from pretune.backbones.own import FASTSPEECH, TACOTRON, mel_of
from pretune.backbones.text.characters import CharVocabulary
from pretune.config import READ_BY_MODALITY
from pretune.engine.randomness import spoken_key
from pretune.errors import DataError, ModelError, UsageError, did_you_mean
from pretune.modalities import Modality
from pretune.modalities.audio.clips import FULL_SCALE
from pretune.modalities.audio.mel import MelSpec
from pretune.schema import text, whole
from pretune.tasks.base import Task, finite_answers, refuse_unlabelled
from pretune.tasks.inputs.row_task import training_rows
from pretune.tasks.rows.spoken import InTakes, SpokenRows, spoken_clip, spoken_clips
from pretune.tasks.rows.spoken_data import (
    frames_per_letter,
    letters_of,
    refuse_new,
    refuse_other_backbone,
    refuse_untaught,
    speakers_of,
    spelling_in,
)
from pretune.tasks.rows.trunk import POSITIONS
from pretune.tasks.speech.at_once import AtOnce
from pretune.tasks.speech.manners import Manner, Said, told_frames
from pretune.tasks.speech.spoken_answers import SpokenAnswers
from pretune.tasks.speech.step_by_step import LIMIT, StepByStep
from pretune.types import TERM, Batch, Encoded, Example, Loss, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits
    from pretune.tasks.protocols import EncodedRows

__all__ = ["TextToSpeech"]

_MANNERS: Mapping[str, type[Manner]] = {TACOTRON: StepByStep, FASTSPEECH: AtOnce}


@final
class TextToSpeech(SpokenAnswers):
    """Clips of texts, each said by one of the voices of the training rows (column ``speaker``; one voice where there is none).

    Letters are those of the training texts in lower case, an end behind them. ``take`` chooses among the ways of saying a text; a voice
    that has one way only takes none.
    """

    name: ClassVar[str] = "text-to-speech"
    modality: ClassVar[Modality] = Modality.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", "audio")
    default_updates: ClassVar[int] = 4000
    reads: ClassVar[tuple[str, ...]] = (*READ_BY_MODALITY["audio"], "take", "vocoder")
    kept: ClassVar = {"spelling": CharVocabulary.fits, "take?": whole(0), "vocoder?": text()}
    taught_variation: ClassVar[str] = "none"
    by_name: ClassVar[bool] = True
    by_steps: ClassVar[bool] = True
    more_inputs: ClassVar[tuple[str, ...]] = ("speaker",)
    lacks: ClassVar[Mapping[str, str]] = {
        **Task.lacks,
        "explain": "text-to-speech answers with sound: its attention is drawn in the report, and nothing else is explained",
    }
    left_to_pretune: ClassVar[str] = (
        "predict.py makes the sound by Griffin-Lim; for that of a WaveNet: pretune predict RUN --vocoder WAVES (WAVES: a run of pretune pretrain "
        "scratch:wavenet-tiny)"
    )
    labels: tuple[str, ...] = ()

    def __init__(
        self, spelling: CharVocabulary, config: Any, *, take: int | None = None, vocoder: str | None = None
    ) -> None:
        self.spelling, self.vocoder = spelling, vocoder
        self.manner: Manner = _MANNERS[config.model_type](config)
        self.loss_parts: tuple[str, ...] = self.manner.loss_parts
        if take is not None and self.manner.default_take is None:
            raise UsageError(f"--take is {take}, and this voice says a text in one way only", "leave --take out")
        self.take = self.manner.default_take if take is None else take
        self.mel: MelSpec = mel_of(config)
        self.speakers: tuple[str, ...] = tuple(config.speakers)
        self.frames_per_letter: float = config.frames_per_letter
        self._voices = {name: number for number, name in enumerate(self.speakers)}

    @classmethod
    def check(cls, data: Splits) -> None:
        """Are there clips with texts?"""
        training_rows(data, cls.answer)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: TaskSettings) -> TextToSpeech:
        """Letters and voices of the training rows; of a trained model its own, which have to be enough."""
        refuse_other_backbone(backbone, settings.adapt)
        refuse_untaught(backbone)
        train, config = data["train"], backbone.config
        texts = [text or "" for text in train["text"]]
        if backbone.folder is None:
            spelling, speakers = letters_of(texts), speakers_of(train)
        else:
            spelling, speakers = spelling_in(config), tuple(config.speakers)
            refuse_new(texts, spelling, speakers_of(train), speakers, backbone.name)
        config.tokens, config.speakers, config.vocab_size = (
            list(spelling.tokens),
            list(speakers),
            len(spelling.tokens) + 1,
        )
        config.frames_per_letter = frames_per_letter(train, spelling, mel_of(config))
        config.limit = list(LIMIT)
        return cls(spelling, config)

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> TextToSpeech:
        """With the letters, voices and spectra of this one, where it learns from what its attention shows."""
        config = backbone.config
        if config.model_type != FASTSPEECH:
            return type(self).start(data, backbone, settings)
        refuse_other_backbone(backbone, settings.adapt)
        train = data["train"]
        refuse_new([text or "" for text in train["text"]], self.spelling, speakers_of(train), self.speakers, "the teacher")  # fmt: skip
        config.tokens, config.speakers = list(self.spelling.tokens), list(self.speakers)
        config.vocab_size, config.mel = len(self.spelling.tokens) + 1, self.mel.to_dict()
        config.frames_per_letter, config.frames_per_step = self.frames_per_letter, self.manner.step
        return type(self)(self.spelling, config)

    def check_teacher(self, teacher: Task) -> None:
        """A teacher shows by its attention how long letters last. Raises :class:`UsageError` for one without."""
        assert isinstance(teacher, TextToSpeech), "teacher and student answer alike"
        if not teacher.manner.has_attention:
            raise UsageError(
                "the teacher says a text at once: it has no attention that shows how long letters last",
                "name the voice that it learned from (scratch:tacotron-...) as the teacher",
            )

    @property
    def learns_alone(self) -> bool:
        """Not where a teacher's attention has to show how long letters last."""
        return self.manner.has_attention

    def lesson(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What it says of true frames, and where it has attention their letters."""
        self._refuse_silent(batch)
        return self.manner.lesson(model, batch)

    def learned_from(self, batch: Batch, lesson: torch.Tensor) -> None:
        """How long letters last, where it has no attention of its own."""
        self.manner.learned_from(batch, lesson)

    def lessons_told(self, lessons: Iterable[np.ndarray]) -> str:
        """Clips of which a teacher does not know where the letters are."""
        return self.manner.lessons_told(lessons)

    def build(self, backbone: Backbone, *, seed: int) -> tuple[torch.nn.Module, LoadReport]:
        """The model that the backbone is."""
        return backbone.build("AutoModelForTextToSpectrogram", seed=seed)

    @property
    def runs_in_parts(self) -> bool:
        """Letters are read once and frames said step by step: what layers hold has no place in common with the answer."""
        return True

    def inputs_identity(self) -> str:
        """How spectra are made, and who speaks."""
        return repr((self.mel.to_dict(), self.speakers))

    def encode(self, example: Example) -> list[Encoded]:
        """Letters and voice; with a target its clip."""
        target = example.target
        assert target is None or isinstance(target, Wave), f"{type(target).__name__} is no clip"
        item = self.read({"id": example.id, **example.inputs})
        if target is None:
            return [item]
        clip = spoken_clip(target.cell(), self.mel.rate)
        return [Encoded(item.id, item.arrays, self.mel.frames(len(clip)), clip.tobytes(), item.weight)]

    def read(self, row: Mapping[str, Any]) -> Encoded:
        """A row's letters (L,) with the end, its voice (1,) and the key of its draws (1,). Raises :class:`DataError` for a voice it has not."""
        known = [number for number in self.spelling.encode(row.get("text") or "") if number != self.spelling.unknown_id]
        ids = np.array([*known, len(self.spelling.tokens)], dtype=np.int32)
        voice = self._voice(row.get("speaker"), str(row["id"]))
        arrays = {
            "input_ids": ids, "voice": np.array([voice]), "key": np.array([spoken_key(self.take or 0, voice, ids.tolist())], dtype=np.uint64),
            "unread": np.array([len(self.spelling.tidied(row.get("text") or "")) - len(known)]), "take": np.array([self.take or 0]),
        }  # fmt: skip
        return Encoded(str(row["id"]), arrays, self._expected(len(ids)), None, 1.0 if known else 0.0)

    def _voice(self, name: Any, row: str) -> int:
        """The number of a voice; the first, which has most rows, where none is named."""
        if not name or not self.speakers:
            return 0
        if str(name) not in self._voices:
            raise DataError(
                f"row {row} is to be said by {name!r}, whom the model never heard",
                f"{did_you_mean(str(name), self.speakers)}; it speaks as {', '.join(self.speakers[:20])}",
            )
        return self._voices[str(name)]

    def _expected(self, letters: int) -> int:
        return max(1, round(letters * self.frames_per_letter))

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> SpokenRows:
        """See :class:`pretune.tasks.base.Task`."""
        clips = spoken_clips(dataset, self.mel, fingerprint) if self.answer in dataset.column_names else None
        return SpokenRows(dataset, clips, self.mel, self.read)

    def in_takes(self, rows: EncodedRows) -> EncodedRows:
        """A text that stands there again is said in the next take, where there are takes."""
        return rows if self.take is None else InTakes(rows, self.take)

    def same_inputs_as(self, other: Task) -> bool:
        """The same letters, voices and frames."""
        return (
            isinstance(other, TextToSpeech)
            and other.spelling == self.spelling
            and (other.mel, other.speakers, other.manner.step) == (self.mel, self.speakers, self.manner.step)
        )

    def collate(self, rows: Sequence[Encoded]) -> Batch:
        """``targets`` (B, F, M) are the true frames, silence behind them up to a whole step; None where no row has a clip. ``extras``:
        ``frames`` (B,) of each (0 without a clip), ``weights`` and ``keys`` (B,), ``unread`` (B,) letters that were passed over.
        """
        letters = [torch.from_numpy(row.arrays["input_ids"].astype(np.int64)) for row in rows]
        ids_BL = torch.nn.utils.rnn.pad_sequence(letters, batch_first=True)
        lengths_B = torch.tensor([len(one) for one in letters])
        inputs: dict[str, torch.Tensor] = {
            "input_ids": ids_BL,
            "attention_mask": torch.arange(ids_BL.shape[1])[None] < lengths_B[:, None],
            "voice_ids": torch.tensor([int(row.arrays["voice"][0]) for row in rows]),
        }
        mels = [None if row.target is None else self._target(row.target) for row in rows]
        frames_B = torch.tensor([0 if one is None else len(one) for one in mels])
        weights = [row.weight for row in rows]
        costs = [row.cost for row in rows]
        targets = None
        if frames_B.max() > 0:
            targets = torch.full((len(rows), int(frames_B.max()), self.mel.bands), self.mel.silence)
            for number, one in enumerate(mels):
                if one is not None:
                    targets[number, : len(one)] = torch.from_numpy(one)
        width = 0 if targets is None else targets.shape[1]
        counted = sum(w * int(n) for w, n in zip(weights, frames_B.tolist(), strict=True))
        return Batch(
            inputs=inputs, targets=targets, counts={TERM: float(counted)}, ids=tuple(row.id for row in rows),
            num_tokens=sum(costs), num_padded=len(rows) * max(costs),
            extras={
                "frames": frames_B, POSITIONS: torch.arange(width)[None] < frames_B[:, None], "weights": torch.tensor(weights, dtype=torch.float32), "letters": lengths_B,
                "keys": torch.from_numpy(np.concatenate([row.arrays["key"] for row in rows]).view(np.int64)),
                **{name: torch.from_numpy(np.concatenate([row.arrays[name] for row in rows])) for name in ("unread", "take")},
            },
        )  # fmt: skip

    def _target(self, clip: bytes) -> np.ndarray:
        """True frames (F, M), silence added up to a whole step."""
        frames_FM = self.mel.of(np.frombuffer(clip, dtype=np.int16) / np.float32(FULL_SCALE))
        more = -len(frames_FM) % self.manner.step
        return np.pad(frames_FM, ((0, more), (0, 0)), constant_values=self.mel.silence)

    def logits_of(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(B, F, K) what it says of true frames (:meth:`pretune.tasks.speech.manners.Manner.forced`). Raises :class:`DataError` where no row
        has a clip.
        """
        self._refuse_silent(batch)
        return self.manner.forced(model, batch)

    @staticmethod
    def _refuse_silent(batch: Batch) -> None:
        if batch.targets is None:
            raise DataError("none of these rows has a clip to be said again", "give rows with clips")

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        """What the manner of the voice learns, summed over frames."""
        refuse_unlabelled(self, batch, rows="rows without a clip", answer="clip")
        parts = self._parts(self.logits_of(model, batch), batch)
        log = {name: float(value.detach().sum()) for name, value in parts.items()}
        return Loss.of(sum(parts.values(), torch.zeros(())).sum(), log)

    def _parts(self, logits: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Each part of the loss summed over the frames of a row (B,)."""
        assert batch.targets is not None, "there are true frames"
        parts = self.manner.losses(logits, batch.targets, batch.extras["frames"])
        return {name: values_B * batch.extras["weights"] for name, values_B in parts.items()}

    def is_labelled(self, batch: Batch) -> torch.Tensor:
        """Those with a clip."""
        return batch.extras["frames"] > 0

    def item_weights(self, batch: Batch) -> torch.Tensor:
        """Frames."""
        return batch.extras["frames"].float() * batch.extras["weights"]

    def hard_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss summed over the frames of each row."""
        return sum(self._parts(logits, batch).values(), torch.zeros_like(batch.extras["weights"]))

    def soft_losses(
        self, logits: torch.Tensor, teachers: torch.Tensor, batch: Batch, temperature: float
    ) -> torch.Tensor:
        """How far frames and ends are from a teacher's that was told the same true frames, summed over the frames of each row."""
        return self.manner.taught(logits, teachers, batch.extras["frames"]) * batch.extras["weights"]

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What frames it says, told of the true ones, (B, F, M); 0 behind a row's end."""
        logits = self.logits_of(model, batch)
        mask_BF = told_frames(logits, batch.extras["frames"])
        said_BFM = self.manner.frames(finite_answers(logits, batch.ids, mask_BF))
        return said_BFM * mask_BF[..., None]

    def for_teacher(self, item: Encoded) -> Encoded:
        """With its clip: a teacher says each step told the true frames before it, too."""
        return item

    def watched(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each row, told the true frames before each step, and its frames: sound is made when learning is over."""
        logits = finite_answers(self.logits_of(model, batch), batch.ids)
        return self.hard_losses(logits, batch), self.item_weights(batch)

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[Prediction]:
        """One clip a row, with what its voice tells of how it was said."""
        said = self.said(model, batch)
        unread, takes = (batch.extras[name].tolist() for name in ("unread", "take"))
        keys = batch.extras["keys"].cpu().numpy().view(np.uint64).tolist()
        found = []
        for row, sound_T, one, lost, take in zip(batch.ids, self._sounds([one.mel_FM for one in said], keys), said, unread, takes, strict=True):  # fmt: skip
            seconds = len(one.mel_FM) * self.mel.hop / self.mel.rate
            other = {"take": take} if self.take is not None and take != self.take else {}
            detail = {"seconds": seconds, **one.detail, **({"unread": lost} if lost else {}), **other}
            found.append(Prediction(row, Wave.of(sound_T, self.mel.rate).to_json(), (), detail))
        return found

    def _sounds(self, mels: list[np.ndarray], keys: list[int]) -> list[np.ndarray]:
        """The sound of each row's frames: by Griffin-Lim, or by the WaveNet that was asked for."""
        if self._spoken_by is None:
            return [self.mel.sound(one) for one in mels]
        return self._spoken_by.sounds(mels, keys)

    @cached_property
    def _spoken_by(self) -> WaveNetVocoder | None:
        """Raises :class:`UsageError` where the vocoder's folder holds no WaveNet."""
        return None if self.vocoder is None else vocoder_in(self.vocoder, self.mel)

    def answering(self) -> dict[str, Any]:
        """``take`` and what makes the sound."""
        return {
            **({} if self.take is None else {"take": self.take}),
            "vocoder": self.vocoder or "Griffin-Lim",
        }

    def said(self, model: torch.nn.Module, batch: Batch) -> list[Said]:
        """Each row as it is said freely. Raises :class:`ModelError` for frames that are no numbers."""
        said = self.manner.said(model, batch)
        odd = [row for row, one in zip(batch.ids, said, strict=True) if not np.isfinite(one.mel_FM).all()]
        if odd:
            raise ModelError(f"the model's frames are no numbers (NaN or infinite) for {len(odd)} rows, the first is {odd[0]}", "train again, or copy the model again")  # fmt: skip
        return said

    def portable(self) -> dict[str, Any]:
        """Letters, voices and spectra."""
        return {
            "modality": self.modality, "reader": "spoken", "more": list(self.more_inputs), "letters": self.spelling.to_dict(), "speakers": list(self.speakers),
            "mel": self.mel.to_dict(), "take": self.take, **self.manner.portable(),
        }  # fmt: skip

    @classmethod
    def restore(cls, about: Mapping[str, Any], backbone: Backbone) -> TextToSpeech:
        """See :class:`pretune.tasks.base.Task`."""
        return cls(
            spelling_in(backbone.config),
            backbone.config,
            take=about.get("take"),
            vocoder=about.get("vocoder"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Name, letters and take; the rest stands in the model's config."""
        return {
            "task": self.name,
            "labels": [],
            "spelling": self.spelling.to_dict(),
            **({} if self.take is None else {"take": self.take}),
            **({} if self.vocoder is None else {"vocoder": self.vocoder}),
        }
