"""ONNX graphs that say a text at once (:mod:`pretune.export.lasting_graphs`) as a module that a task calls as it calls the voice that they were made from.

Shapes: B rows, L letters, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.audio.fastspeech import Spread, stretched
from pretune.backbones.graph_parts import lengths_beside
from pretune.errors import ModelError
from pretune.export.graphs.speaking import SpeakingGraph
from pretune.export.onnx_model import ALONE, open_session
from pretune.modalities.audio.speech_lengths import FRAMES, LENGTHS, LettersRead, SpeechLengths

__all__ = ["GraphAtOnce"]


class GraphAtOnce(SpeakingGraph):
    """Called, it is told how long clips last; :meth:`say` foresees it. It has no parameters."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Raises :class:`ModelError` for graphs that are damaged or do not belong together."""
        super().__init__()
        self.path = path
        frames = open_session(path, threads=threads, gives=FRAMES)
        lengths = open_session(lengths_beside(path), threads=threads, gives=LENGTHS)
        wanted = {one.name: one.shape[-1] for one in frames.get_inputs()}
        made = {one.name: one.shape[-1] for one in lengths.get_outputs()}
        if wanted.get("memory") != made.get("memory"):
            raise ModelError(f"{path} and {lengths_beside(path).name} are not of one model", "copy the folder again, or export anew")  # fmt: skip
        self.alone = ALONE in frames.get_modelmeta().custom_metadata_map
        self.graphs = SpeechLengths(frames, lengths)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor, frames: torch.Tensor,
        width: int, durations: torch.Tensor | None = None,
    ) -> Spread:  # fmt: skip
        """As :meth:`pretune.backbones.audio.fastspeech_model.FastSpeechForTextToSpectrogram.forward`."""

        def lasting(read: LettersRead, rows: slice) -> np.ndarray:
            logs_BL, mask_BL = torch.from_numpy(read.logs_BL), torch.from_numpy(read.mask_BL)
            told = None if durations is None else durations[rows, : logs_BL.shape[1]].cpu()
            return (stretched(logs_BL, mask_BL, frames[rows].cpu()) if told is None else told).numpy()

        return self._by_rows(input_ids, attention_mask, voice_ids, lasting, width)

    def say(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor) -> Spread:
        """As :meth:`pretune.backbones.audio.fastspeech_model.FastSpeechForTextToSpectrogram.say`."""
        return self._by_rows(input_ids, attention_mask, voice_ids, lambda read, _: self.graphs.lasting(read), None)

    def feeds(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """What its graphs are given while these rows are said, by the names of the inputs of both."""
        ids_BL, mask_BL, voices_B = (inputs[name].cpu().numpy() for name in ("input_ids", "attention_mask", "voice_ids"))  # fmt: skip
        read = self.graphs.read(ids_BL, mask_BL.sum(axis=1), voices_B)
        durations_BL = self.graphs.lasting(read)
        return {
            "input_ids": ids_BL.astype(np.int64), "letter_mask": read.mask_BL, "voice_ids": voices_B.astype(np.int64),
            "memory": read.memory_BLC, "durations": durations_BL, "frame_numbers": np.arange(durations_BL.sum(axis=1).max()),
        }  # fmt: skip

    def _by_rows(
        self, ids_BL: torch.Tensor, mask_BL: torch.Tensor, voices_B: torch.Tensor,
        lasting: Callable[[LettersRead, slice], np.ndarray], width: int | None,
    ) -> Spread:  # fmt: skip
        """All rows together; one after the other where the graph asks for that."""
        rows = [slice(row, row + 1) for row in range(len(ids_BL))] if self.alone else [slice(None)]
        ids, mask, voices = (one.cpu().numpy() for one in (ids_BL, mask_BL, voices_B))
        found = []
        for some in rows:
            lengths_B = mask[some].sum(axis=1)
            read = self.graphs.read(ids[some, : lengths_B.max()], lengths_B, voices[some])
            durations_BL = lasting(read, some)
            most = int(durations_BL.sum(axis=1).max()) if width is None else width
            found.append(Spread(*map(torch.from_numpy, (self.graphs.spread(read, durations_BL, most), read.logs_BL, durations_BL))))  # fmt: skip
        return _together(found, ids_BL)


def _together(parts: list[Spread], like: torch.Tensor) -> Spread:
    """What was said of some rows after others as one, as wide as the letters of ``like``; shorter ones end in zeros."""
    frames, letters = max(one.frames_BFM.shape[1] for one in parts), like.shape[1]
    return Spread(
        torch.cat([functional.pad(one.frames_BFM, (0, 0, 0, frames - one.frames_BFM.shape[1])) for one in parts]).to(like.device),
        torch.cat([functional.pad(one.logs_BL, (0, letters - one.logs_BL.shape[1])) for one in parts]).to(like.device),
        torch.cat([functional.pad(one.durations_BL, (0, letters - one.durations_BL.shape[1])) for one in parts]).to(like.device),
    )  # fmt: skip
