"""A voice that says all frames at once as ONNX graphs: what reads the letters, and what makes frames of them.

``model_lengths.onnx`` gives the states of letters, and the logarithms of the frames that they last; ``model.onnx`` takes those states, the
whole frames of each letter and the numbers of the frames to make. :mod:`pretune.modalities.audio.speech_lengths` runs them. Shapes: as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pretune.backbones.graph_parts import lengths_beside
from pretune.export.onnx_graph import BATCH, ByName, checked_signature, write_graph
from pretune.modalities.audio.speech_lengths import FRAMES, LENGTHS

__all__ = ["export_at_once"]

_ROWS, _LETTERS, _LASTS = 3, 7, 2
"""Sizes that are traced: no two alike, and none of 1, which a tracer takes for a constant."""
_LETTER_SIZES = {0: BATCH, 1: "letters"}


def export_at_once(model: Any, path: Path) -> dict[str, Any]:
    """Write such a voice to ``path`` and beside it; their signature: inputs and outputs of what makes frames, and under ``lengths`` those of
    the other. Raises :class:`pretune.errors.ModelError` where it cannot be traced.
    """
    inputs = {
        "input_ids": torch.zeros(_ROWS, _LETTERS, dtype=torch.long),
        "letter_mask": torch.ones(_ROWS, _LETTERS, dtype=torch.bool),
        "voice_ids": torch.zeros(_ROWS, dtype=torch.long),
    }
    sizes = {"input_ids": _LETTER_SIZES, "letter_mask": _LETTER_SIZES, "voice_ids": {0: BATCH}}

    def read(given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return model.read(given["input_ids"], given["letter_mask"], given["voice_ids"])

    place = lengths_beside(path)
    write_graph(ByName(model, inputs, read), inputs, sizes, ["memory", LENGTHS], place)
    memory_BLC = read(inputs)[0]
    return {**_frames(model, memory_BLC, path), "lengths": checked_signature(place, sizes)}


def _frames(model: Any, memory_BLC: torch.Tensor, path: Path) -> dict[str, Any]:
    inputs = {
        "memory": memory_BLC,
        "durations": torch.full((_ROWS, _LETTERS), _LASTS),
        "frame_numbers": torch.arange(_LASTS * _LETTERS),
    }
    sizes = {"memory": _LETTER_SIZES, "durations": _LETTER_SIZES, "frame_numbers": {0: FRAMES}}

    def run(given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return model.fastspeech.spread(given["memory"], given["durations"], given["frame_numbers"])

    write_graph(ByName(model, inputs, run), inputs, sizes, [FRAMES], path)
    return checked_signature(path, sizes)
