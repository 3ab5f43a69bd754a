"""Tacotron 2 in the form of transformers: a config, and a model that :mod:`pretune.backbones.own` makes known to its Auto classes.

Shapes: B rows of a batch, L letters, F frames, M mel bands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pretune.backbones.audio.tacotron import Decoded, Tacotron
from pretune.backbones.audio.voice_model import VoiceConfig, VoiceModel

__all__ = ["TacotronConfig", "TacotronForTextToSpectrogram"]


class TacotronConfig(VoiceConfig):
    """Sizes, and what every voice has."""

    model_type = "pretune_tacotron2"

    def __init__(
        self, *, hidden_size: int = 128, decoder_size: int = 256, attention_size: int = 64, prenet_size: int = 96,
        frames_per_step: int = 3, postnet_size: int = 128, num_postnet_layers: int = 4, location_filters: int = 16,
        location_width: int = 31, dropout: float = 0.2, prenet_dropout: float = 0.5, state_dropout: float = 0.1, **named: Any,
    ) -> None:  # fmt: skip
        self.hidden_size, self.decoder_size, self.attention_size = hidden_size, decoder_size, attention_size
        self.prenet_size, self.frames_per_step = prenet_size, frames_per_step
        self.postnet_size, self.num_postnet_layers = postnet_size, num_postnet_layers
        self.location_filters, self.location_width = location_filters, location_width
        self.dropout, self.prenet_dropout, self.state_dropout = dropout, prenet_dropout, state_dropout
        super().__init__(**named)


class TacotronForTextToSpectrogram(VoiceModel):
    """Embeddings of letters and voices, and :class:`Tacotron`."""

    config_class = TacotronConfig
    base_model_prefix = "tacotron"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tacotron = Tacotron(config)
        self.post_init()

    def _read(
        self, input_ids: torch.Tensor, mask_BL: torch.Tensor, voice_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tacotron.read(self.letters(input_ids), mask_BL, self.voices(voice_ids))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor, frames: torch.Tensor,
        frame_mask: torch.Tensor, keep: torch.Tensor | None = None, **_: Any,
    ) -> Decoded:  # fmt: skip
        """Letters (B, L) said by voices (B,), each step told the true frames (B, F, M) before it; see :class:`Tacotron`."""
        memory, keys = self._read(input_ids, attention_mask, voice_ids)
        return self.tacotron.forced(memory, keys, attention_mask, frames, frame_mask, keep)

    def say(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor, most_steps: torch.Tensor,
        draw: Callable[[int], torch.Tensor],
    ) -> tuple[Decoded, torch.Tensor]:  # fmt: skip
        """Letters said freely: frames, and the steps of each row."""
        memory, keys = self._read(input_ids, attention_mask, voice_ids)
        return self.tacotron.free(memory, keys, attention_mask, most_steps, draw)
