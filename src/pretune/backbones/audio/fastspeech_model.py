"""FastSpeech in the form of transformers: a config, and a model that :mod:`pretune.backbones.own` makes known to its Auto classes.

Shapes: B rows of a batch, L letters, F frames, M mel bands.
"""

from __future__ import annotations

from typing import Any

import torch

from pretune.backbones.audio.fastspeech import FastSpeech, Spread, lasting, stretched
from pretune.backbones.audio.voice_model import VoiceConfig, VoiceModel

__all__ = ["FastSpeechConfig", "FastSpeechForTextToSpectrogram"]


class FastSpeechConfig(VoiceConfig):
    """Sizes, and what every voice has.

    ``frames_per_step`` is that of the voice that it learned from: clips are filled up with silence to whole steps, as they were there.
    """

    model_type = "pretune_fastspeech"

    def __init__(
        self, *, hidden_size: int = 128, intermediate_size: int = 256, conv_width: int = 5, num_encoder_layers: int = 3,
        num_decoder_layers: int = 4, dropout: float = 0.1, duration_dropout: float = 0.2, frames_per_step: int = 1, **named: Any,
    ) -> None:  # fmt: skip
        self.hidden_size, self.intermediate_size, self.conv_width = hidden_size, intermediate_size, conv_width
        self.num_encoder_layers, self.num_decoder_layers = num_encoder_layers, num_decoder_layers
        self.dropout, self.duration_dropout = dropout, duration_dropout
        self.frames_per_step = frames_per_step
        super().__init__(**named)


class FastSpeechForTextToSpectrogram(VoiceModel):
    """Embeddings of letters and voices, and :class:`FastSpeech`."""

    config_class = FastSpeechConfig
    base_model_prefix = "fastspeech"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.fastspeech = FastSpeech(config)
        self.post_init()

    def read(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of the letters (B, L, C), and the logarithms of the frames that they last (B, L)."""
        return self.fastspeech.read(self.letters(input_ids), attention_mask, self.voices(voice_ids))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor, frames: torch.Tensor,
        width: int, durations: torch.Tensor | None = None, **_: Any,
    ) -> Spread:  # fmt: skip
        """Letters (B, L) said by voices (B,) in as many ``frames`` (B,) as true clips have: letters last so long (B, L), or else in the
        proportions that the model foresees. ``width`` frames are made of each row.
        """
        states, logs_BL = self.read(input_ids, attention_mask, voice_ids)
        lasts_BL = stretched(logs_BL, attention_mask, frames) if durations is None else durations
        return self._spread(states, logs_BL, lasts_BL, width)

    def say(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor) -> Spread:
        """Letters said freely: each lasts as long as is foreseen."""
        states, logs_BL = self.read(input_ids, attention_mask, voice_ids)
        lasts_BL = lasting(logs_BL, attention_mask)
        return self._spread(states, logs_BL, lasts_BL, int(lasts_BL.sum(dim=1).max()))

    def _spread(self, states_BLC: torch.Tensor, logs_BL: torch.Tensor, lasts_BL: torch.Tensor, width: int) -> Spread:
        numbers_F = torch.arange(width, device=lasts_BL.device)
        return Spread(self.fastspeech.spread(states_BLC, lasts_BL, numbers_F), logs_BL, lasts_BL)
