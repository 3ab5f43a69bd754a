"""Texts to clips of speech by the voice in this folder; :mod:`predict` uses it.

Letters to log-mel frames by two or three graphs, frames to samples by Griffin-Lim: numpy and onnxruntime alone. Shapes: T samples, F frames,
M mel bands, L letters.
"""

from __future__ import annotations

import base64
import io
import json
import unicodedata
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FULL_SCALE = 32_767
HELD = "data:audio/wav;base64,"


MANIFEST = "manifest.jsonl"


class Spoken(NamedTuple):
    """A row to be said: its text and speaker as given, its letters with the end (L,), the number of its voice, and how many characters were
    never learned.
    """

    row: dict[str, str]
    letters: list[int]
    voice: int
    unread: int


Said = tuple[np.ndarray, dict[str, bool]]
"""Frames (F, M), and what is told of them."""


class Reader:
    """Letters and voices of rows, and clips of what was said."""

    most_together = 16
    asks = ("speaker", "take", "out")

    def __init__(self, _folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.told = about["inputs"]
        self.beside, self.parts = beside, beside("graph_parts")
        self.mel = beside("mel").MelSpec(**self.told["mel"])
        spelling = self.told["letters"]
        self.case, self.tokens = spelling["case"], spelling["tokens"]
        special = (spelling["blank"], spelling["unknown"], spelling["delimiter"])
        self.numbers = {token: number for number, token in enumerate(self.tokens) if token not in special}
        self.numbers[" "] = self.tokens.index(spelling["delimiter"])
        self.voices = {name: number for number, name in enumerate(self.told["speakers"])}
        self.speaker, self.take, self.out = None, self.told["take"], "said"

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Let ``speaker`` say rows that name none, in another ``take``, into the folder ``out``. Raises :class:`ValueError` for a speaker whom
        the voice never heard, and for a take of a voice that has but one.
        """
        if "take" in asked and self.take is None:
            raise ValueError("--take does not fit: this voice says a text in one way only")
        if "speaker" in asked:
            self.voice_of(asked["speaker"])
        self.speaker, self.take = asked.get("speaker", self.speaker), asked.get("take", self.take)
        self.out = asked.get("out", self.out)

    def voice_of(self, name: Any) -> int:
        """The number of a voice; the first, which has most rows, where none is named. Raises :class:`ValueError`."""
        if not name or not self.voices:
            return 0
        if str(name) not in self.voices:
            raise ValueError(f"the model never heard {str(name)!r}: it speaks as {', '.join([*self.voices][:20])}")
        return self.voices[str(name)]

    def items(self, row: dict[str, Any]) -> list[Spoken]:
        """The letters of a row. Raises :class:`ValueError` for a speaker whom the model never heard."""
        text = " ".join(unicodedata.normalize("NFC", row["text"]).split())
        text = text.upper() if self.case == "upper" else text.lower() if self.case == "lower" else text
        known = [self.numbers[one] for one in text if one in self.numbers]
        speaker = row.get("speaker") or self.speaker
        told = {"text": row["text"], **({"speaker": str(speaker)} if speaker else {})}
        return [Spoken(told, [*known, len(self.tokens)], self.voice_of(speaker), len(text) - len(known))]

    def inputs(self, items: list[Spoken]) -> list[Spoken]:
        """The rows."""
        return items

    def opened(
        self, folder: Path, threads: int | None, open_session: Callable[[Path, int | None], Any]
    ) -> Callable[[list[Spoken]], list[Said]]:
        """The graphs of the folder, as a function from rows to their frames (F, M), and whether they stopped by themselves."""
        made = self._by_steps if self.told["manner"] == "steps" else self._at_once
        said_by = made(folder / "model.onnx", lambda place: open_session(place, threads))

        def said(items: list[Spoken]) -> list[Said]:
            lengths_B = np.array([len(one.letters) for one in items])
            ids_BL = np.zeros((len(items), lengths_B.max()), dtype=np.int64)
            for row, one in enumerate(items):
                ids_BL[row, : lengths_B[row]] = one.letters
            return said_by(items, ids_BL, lengths_B, np.array([one.voice for one in items]))

        return said

    def _by_steps(self, graph: Path, session: Callable[[Path], Any]) -> Callable[..., list[Said]]:
        speech, randomness = self.beside("speech_steps"), self.beside("randomness")
        steps = speech.SpeechSteps(
            *map(session, (graph, self.parts.encoder_beside(graph), self.parts.postnet_beside(graph)))
        )

        def said(items: list[Spoken], ids_BL: np.ndarray, lengths_B: np.ndarray, voices_B: np.ndarray) -> list[Said]:
            keys = [randomness.spoken_key(self.take, one.voice, one.letters) for one in items]
            keys_B, shape = np.array(keys, dtype=np.uint64), (2, self.told["units"])
            limits = [self.told[name] for name in ("frames_per_letter", "step", "limit")]
            found = steps.free(
                steps.read(ids_BL, lengths_B, voices_B),
                np.array([speech.most_steps(int(n), *limits) for n in lengths_B]),
                lambda step: randomness.dropout_mask(keys_B, shape, self.told["dropout"], purpose=step),
            )  # fmt: skip
            return [
                (mel_FM[: count * self.told["step"]], {"stopped": bool(stop_S[count - 1] >= 0)})
                for mel_FM, stop_S, count in zip(found.after_BFM, found.stop_BS, found.steps_B.tolist(), strict=True)
            ]

        return said

    def _at_once(self, graph: Path, session: Callable[[Path], Any]) -> Callable[..., list[Said]]:
        speech = self.beside("speech_lengths")
        lengths = speech.SpeechLengths(*map(session, (graph, self.parts.lengths_beside(graph))))
        return lambda _items, *rows: [(mel_FM, {}) for mel_FM in lengths.said(*rows)]

    def real(self, said: Said, item: Spoken) -> Said:
        """What was said of a row."""
        return said

    def answer(self, outputs: list[Said], items: list[Spoken]) -> dict[str, Any]:
        """The clip as a ``data:`` address, how long it is, and whether it stopped by itself where it could go on."""
        mel_FM, told = outputs[0]
        clip = HELD + base64.b64encode(wav_of(self.mel.sound(mel_FM), self.mel.rate)).decode()
        unread = {"unread": items[0].unread} if items[0].unread else {}
        seconds = len(mel_FM) * self.mel.hop / self.mel.rate
        return {**items[0].row, "audio": clip, "seconds": seconds, **told, **unread}

    def in_files(self, answers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The answers with each clip as a WAV of the folder ``out``, numbered on from those that are there; the manifest tells of each.

        Raises :class:`OSError` where they cannot be written.
        """
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem) for path in folder.glob("*.wav") if path.stem.isdigit()]
        with open(folder / MANIFEST, "a", encoding="utf-8") as manifest:
            for number, answer in enumerate(answers, start=1 + max(numbers, default=0)):
                name, told = f"{number:05}.wav", {key: cell for key, cell in answer.items() if key != "id"}
                (folder / name).write_bytes(base64.b64decode(answer["audio"].removeprefix(HELD)))
                manifest.write(json.dumps({**told, "audio": name}, ensure_ascii=False, allow_nan=False) + "\n")
                yield {**answer, "audio": str(folder / name)}


def wav_of(samples_T: np.ndarray, rate: int) -> bytes:
    """Samples in [-1, 1] as a WAV of 16 bits."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(np.clip(samples_T, -1.0, 1.0) * FULL_SCALE).astype("<i2").tobytes())
    return held.getvalue()
