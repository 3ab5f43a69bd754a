"""A voice as ONNX graphs: what reads the letters, a step of the decoder with all that steps hand on, the post-net over all frames.

``model_encoder.onnx`` takes rows of one length, so that it needs no mask; ``model.onnx`` takes the frame before a step, which units of
the pre-net stay, the letters and the state, and gives frames, the logit of the end and the state behind it; ``model_postnet.onnx`` gives
frames with what it adds to them. :mod:`pretune.modalities.audio.speech_steps` runs them. Shapes: as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretune.backbones.audio.tacotron import DecoderState
from pretune.backbones.graph_parts import encoder_beside, postnet_beside
from pretune.backbones.own import FASTSPEECH
from pretune.export.lasting_graphs import export_at_once
from pretune.export.onnx_graph import BATCH, ByName, checked_signature, plain, write_graph
from pretune.modalities.audio.speech_steps import FRAMES, STATES

__all__ = ["export_speaker"]

_ROWS, _LETTERS, _FRAMES = 3, 7, 11
"""Sizes that are traced: no two alike, and none of 1, which a tracer takes for a constant."""
_LETTER_SIZES, _FRAME_SIZES = {0: BATCH, 1: "letters"}, {0: BATCH, 1: FRAMES}


def export_speaker(model: nn.Module, path: Path) -> dict[str, Any]:
    """Write a Tacotron as ONNX to ``path`` and beside it; their signature: inputs and outputs of the step, and under ``encoder`` and
    ``postnet`` those of the others; of a FastSpeech see :func:`~pretune.export.lasting_graphs.export_at_once`. Raises
    :class:`pretune.errors.ModelError` where it cannot be traced.
    """
    with plain(model) as traced:
        if traced.config.model_type == FASTSPEECH:  # type: ignore[union-attr]
            return export_at_once(traced, path)
        encoder, read = _encoder(traced, encoder_beside(path))
        postnet = _postnet(traced, postnet_beside(path))
        return {**_step(traced, read, path), "encoder": encoder, "postnet": postnet}


def _write(model: nn.Module, run: Any, inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, Any], outputs: list[str], path: Path) -> dict[str, Any]:  # fmt: skip
    write_graph(ByName(model, inputs, run), inputs, sizes, outputs, path)
    return checked_signature(path, sizes)


def _encoder(model: Any, path: Path) -> tuple[dict[str, Any], Mapping[str, torch.Tensor]]:
    """Its signature, and what it gives of rows that stand for any."""

    def run(given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return model.tacotron.read_whole(model.letters(given["input_ids"]), model.voices(given["voice_ids"]))

    inputs = {
        "input_ids": torch.zeros(_ROWS, _LETTERS, dtype=torch.long),
        "voice_ids": torch.zeros(_ROWS, dtype=torch.long),
    }
    told = _write(model, run, inputs, {"input_ids": _LETTER_SIZES, "voice_ids": {0: BATCH}}, ["memory", "keys"], path)
    return told, dict(zip(("memory", "keys"), run(inputs), strict=True))


def _step(model: Any, read: Mapping[str, torch.Tensor], path: Path) -> dict[str, Any]:
    voice = model.tacotron

    def run(given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        state = DecoderState._make(given[name] for name in STATES)
        prepared_BP = voice.prepared(given["frame"], given["keep"])
        after, features = voice.attend(prepared_BP, state, given["memory"], given["keys"], given["letter_mask"])
        return (voice.frames(features), voice.stop(features)[:, 0], *after)

    inputs = {
        "frame": torch.zeros(_ROWS, voice.bands),
        "keep": torch.ones(_ROWS, 2, voice.units),
        **read,
        "letter_mask": torch.ones(_ROWS, _LETTERS, dtype=torch.bool),
        **dict(zip(STATES, voice.start(read["memory"]), strict=True)),
    }
    by_letter = {"memory", "keys", "letter_mask", "last", "sum"}
    sizes = {name: _LETTER_SIZES if name in by_letter else {0: BATCH} for name in inputs}
    return _write(model, run, inputs, sizes, [FRAMES, "stop", *(f"next_{name}" for name in STATES)], path)


def _postnet(model: Any, path: Path) -> dict[str, Any]:
    inputs = {
        "spoken": torch.zeros(_ROWS, _FRAMES, model.tacotron.bands),
        "frame_mask": torch.ones(_ROWS, _FRAMES, dtype=torch.bool),
    }

    def run(given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return model.tacotron.polished(given["spoken"], given["frame_mask"])

    return _write(model, run, inputs, dict.fromkeys(inputs, _FRAME_SIZES), ["polished"], path)
