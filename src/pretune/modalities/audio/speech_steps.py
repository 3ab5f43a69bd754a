"""How a text is said step by step where graphs tell the frames; also used by exported models (numpy alone).

Three graphs are one voice: what reads the letters, a step of the decoder with all that steps hand on, and the post-net over all frames
(:mod:`pretune.backbones.audio.tacotron` is the same in PyTorch). Shapes: B rows, L letters, C channels of a letter's state, A of its
key, S steps, R frames of a step, F = S x R frames, M mel bands, P units of the pre-net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FRAMES", "STATES", "Said", "SpeechSteps", "most_steps"]

FRAMES = "frames"
STATES = ("query", "query_cell", "decoder", "decoder_cell", "context", "last", "sum")
"""What a step hands on, by the names of its inputs: those of :class:`pretune.backbones.audio.tacotron.DecoderState`."""
_READ = ("memory", "keys", "letter_mask")
_SHOWN_STEPS = (1, 8, 24)


def most_steps(letters: int, frames_per_letter: float, step: int, limit: Sequence[float]) -> int:
    """Steps at which a text that did not stop is cut off: ``limit`` says frames, and times what the training rows take beside them."""
    frames, times = limit
    return math.ceil((frames + times * letters * frames_per_letter) / step)


class Said(NamedTuple):
    """Frames before and behind the post-net (B, F, M), logits of "this step is the last" (B, S), attention (B, S, L), steps of each row (B,)."""

    before_BFM: np.ndarray
    after_BFM: np.ndarray
    stop_BS: np.ndarray
    attention_BSL: np.ndarray
    steps_B: np.ndarray


class SpeechSteps:
    """The graphs as sessions of ONNX Runtime."""

    def __init__(self, step: Any, encoder: Any, postnet: Any) -> None:
        self._step, self._encoder, self._postnet = step, encoder, postnet
        self._sizes = {one.name: one.shape[-1] for one in step.get_inputs()}
        self._outputs = [FRAMES, "stop", *(f"next_{name}" for name in STATES)]

    def read(self, ids_BL: np.ndarray, lengths_B: np.ndarray, voices_B: np.ndarray) -> dict[str, np.ndarray]:
        """What letters are attended to, by what, and which they are. Rows of one length are read together, so that none reads padding."""
        rows, width = ids_BL.shape
        memory_BLC = np.zeros((rows, width, self._sizes["memory"]), dtype=np.float32)
        keys_BLA = np.zeros((rows, width, self._sizes["keys"]), dtype=np.float32)
        for length in np.unique(lengths_B).tolist():
            own = np.flatnonzero(lengths_B == length)
            told = {"input_ids": ids_BL[own, :length].astype(np.int64), "voice_ids": voices_B[own].astype(np.int64)}
            memory_BLC[own, :length], keys_BLA[own, :length] = self._encoder.run(["memory", "keys"], told)
        mask_BL = np.arange(width)[None] < lengths_B[:, None]
        return {"memory": memory_BLC, "keys": keys_BLA, "letter_mask": mask_BL}

    def start(self, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The state before the first step."""
        rows, letters = read["letter_mask"].shape
        sizes = {name: letters if name in ("last", "sum") else self._sizes[name] for name in STATES}
        return {name: np.zeros((rows, size), dtype=np.float32) for name, size in sizes.items()}

    def feed(
        self, frame_BM: np.ndarray, keep_B2P: np.ndarray, read: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """What a step is given: the frame before it, which units of the pre-net stay, the letters and the state."""
        return {"frame": frame_BM, "keep": keep_B2P.astype(np.float32), **{name: read[name] for name in _READ}, **state}

    def step(self, feed: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Frames (B, R, M), the logit of the end (B,) and the state behind it."""
        frames_BN, stop_B, *after = self._step.run(self._outputs, dict(feed))
        frames_BRM = frames_BN.reshape(len(frames_BN), -1, self._sizes["frame"])
        return frames_BRM, stop_B, dict(zip(STATES, after, strict=True))

    def forced(self, read: Mapping[str, np.ndarray], frames_BFM: np.ndarray, frame_mask_BF: np.ndarray, keep_BS2P: np.ndarray) -> Said:  # fmt: skip
        """Each step told the true frame before it."""
        steps = keep_BS2P.shape[1]
        every = frames_BFM.shape[1] // steps
        before = np.concatenate([np.zeros_like(frames_BFM[:, :1]), frames_BFM[:, every - 1 : -1 : every]], axis=1)
        state, made = self.start(read), []
        for number in range(steps):
            frames_BRM, stop_B, state = self.step(self.feed(before[:, number], keep_BS2P[:, number], read, state))
            made.append((frames_BRM, stop_B, state["last"]))
        return self._said(made, frame_mask_BF, np.full(len(frames_BFM), steps))

    def free(self, read: Mapping[str, np.ndarray], most_B: np.ndarray, draw: Callable[[int], np.ndarray]) -> Said:
        """Frames from the model's own, until each row stops or has its most steps. ``draw(step)`` says which units of the pre-net stay, (B, 2, P)."""
        rows = len(most_B)
        state, made = self.start(read), []
        frame_BM = np.zeros((rows, self._sizes["frame"]), dtype=np.float32)
        steps_B = np.zeros(rows, dtype=np.int64)
        going_B = steps_B < most_B
        while going_B.any():
            frames_BRM, stop_B, state = self.step(self.feed(frame_BM, draw(len(made)), read, state))
            frame_BM = frames_BRM[:, -1]
            made.append((frames_BRM, stop_B, state["last"]))
            steps_B = steps_B + going_B
            going_B = going_B & (stop_B < 0) & (steps_B < most_B)
        every = made[0][0].shape[1]
        mask_BF = np.arange(len(made) * every)[None] < (steps_B * every)[:, None]
        return self._said(made, mask_BF, steps_B)

    def _said(self, made: list[tuple[np.ndarray, np.ndarray, np.ndarray]], mask_BF: np.ndarray, steps_B: np.ndarray) -> Said:  # fmt: skip
        frames, stops, weights = zip(*made, strict=True)
        before_BFM = np.concatenate(frames, axis=1)
        told = {"spoken": before_BFM, "frame_mask": mask_BF}
        (after_BFM,) = self._postnet.run(["polished"], told)
        return Said(before_BFM, after_BFM, np.stack(stops, axis=1), np.stack(weights, axis=1), steps_B)

    def feeds(self, ids_BL: np.ndarray, lengths_B: np.ndarray, voices_B: np.ndarray, draw: Callable[[int], np.ndarray]) -> dict[str, np.ndarray]:  # fmt: skip
        """What the three graphs are given while rows are said: of the steps the first, one early and one late, as if of other rows."""
        filled_BL = np.stack(
            [np.resize(ids_L[:n], ids_BL.shape[1]) for ids_L, n in zip(ids_BL, lengths_B, strict=True)]
        )
        read = self.read(ids_BL, lengths_B, voices_B)
        state, frame_BM = self.start(read), np.zeros((len(ids_BL), self._sizes["frame"]), dtype=np.float32)
        shown, spoken = [], []
        for number in range(max(_SHOWN_STEPS) + 1):
            feed = self.feed(frame_BM, draw(number), read, state)
            shown += [feed] if number in _SHOWN_STEPS else []
            frames_BRM, _, state = self.step(feed)
            frame_BM = frames_BRM[:, -1]
            spoken.append(frames_BRM)
        steps = {name: np.concatenate([feed[name] for feed in shown]) for name in shown[0]}
        spoken_BFM = np.concatenate(spoken, axis=1)
        return {
            "input_ids": filled_BL.astype(np.int64), "voice_ids": voices_B.astype(np.int64), **steps,
            "spoken": spoken_BFM, "frame_mask": np.ones(spoken_BFM.shape[:2], dtype=bool),
        }  # fmt: skip
