"""How a text is said at once where graphs tell how long letters last, and the frames; also used by exported models (numpy alone).

Two graphs are one voice: what reads the letters, and what makes frames of them (:mod:`pretune.backbones.audio.fastspeech` is the same in
PyTorch). Shapes: B rows, L letters, C channels of a letter's state, F frames, M mel bands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["FRAMES", "LENGTHS", "MOST_FRAMES", "LettersRead", "SpeechLengths"]

FRAMES, LENGTHS = "frames", "lengths"
MOST_FRAMES = 160
"""Of a letter: two seconds."""


class LettersRead(NamedTuple):
    """States of letters (B, L, C), the logarithms of the frames that they last (B, L), and which of them are a row's own (B, L)."""

    memory_BLC: np.ndarray
    logs_BL: np.ndarray
    mask_BL: np.ndarray


class SpeechLengths:
    """The graphs as sessions of ONNX Runtime."""

    def __init__(self, frames: Any, lengths: Any) -> None:
        self._frames, self._lengths = frames, lengths

    def read(self, ids_BL: np.ndarray, lengths_B: np.ndarray, voices_B: np.ndarray) -> LettersRead:
        """Letters of rows of several lengths."""
        mask_BL = np.arange(ids_BL.shape[1])[None] < lengths_B[:, None]
        told = {"input_ids": ids_BL.astype(np.int64), "letter_mask": mask_BL, "voice_ids": voices_B.astype(np.int64)}
        memory_BLC, logs_BL = self._lengths.run(["memory", LENGTHS], told)
        return LettersRead(memory_BLC, logs_BL, mask_BL)

    def lasting(self, read: LettersRead) -> np.ndarray:
        """Whole frames of each letter (B, L), one at least; 0 behind a row's end."""
        frames_BL = np.exp(np.minimum(read.logs_BL, np.log(np.float32(2 * MOST_FRAMES)))).clip(1, MOST_FRAMES)
        return np.rint(frames_BL).astype(np.int64) * read.mask_BL

    def spread(self, read: LettersRead, durations_BL: np.ndarray, width: int) -> np.ndarray:
        """``width`` frames of each row (B, F, M); behind a row's end they mean nothing."""
        told = {"memory": read.memory_BLC, "durations": durations_BL, "frame_numbers": np.arange(width)}
        (frames_BFM,) = self._frames.run([FRAMES], told)
        return frames_BFM

    def said(self, ids_BL: np.ndarray, lengths_B: np.ndarray, voices_B: np.ndarray) -> list[np.ndarray]:
        """The frames (F, M) of each row."""
        read = self.read(ids_BL, lengths_B, voices_B)
        durations_BL = self.lasting(read)
        frames_B = durations_BL.sum(axis=1)
        found_BFM = self.spread(read, durations_BL, int(frames_B.max()))
        return [mel_FM[:count] for mel_FM, count in zip(found_BFM, frames_B.tolist(), strict=True)]
