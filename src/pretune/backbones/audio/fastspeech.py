"""All frames of a text at once (FastSpeech: Ren et al. 2019, arXiv 1905.09263; FastSpeech 2: Ren et al. 2020, arXiv 2006.04558).

Letters are read, how many frames each of them lasts is foreseen, their states are repeated so often, and frames are made of them. Layers
are convolutions: a word is said alike wherever it stands in a text. Norms run over the channels of a place, never over time or rows, so
that padding and neighbours change nothing. Nothing is drawn once a model has learned.
Shapes: B rows of a batch, L letters, C channels of a state, F frames, M mel bands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from pretune.modalities.audio.speech_lengths import MOST_FRAMES

__all__ = ["FastSpeech", "Spread", "lasting", "placed", "stretched"]

_PLACES = 3


class Spread(NamedTuple):
    """Frames (B, F, M), logarithms of the frames that letters are thought to last (B, L), and the frames that they were given (B, L)."""

    frames_BFM: torch.Tensor
    logs_BL: torch.Tensor
    durations_BL: torch.Tensor


def lasting(logs_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Whole frames of each letter (B, L), one at least; 0 behind a row's end."""
    frames_BL = logs_BL.float().exp().clamp(1, MOST_FRAMES).round().long()
    return frames_BL * mask_BL


def stretched(logs_BL: torch.Tensor, mask_BL: torch.Tensor, frames_B: torch.Tensor) -> torch.Tensor:
    """Whole frames of each letter (B, L) in the same proportions, ``frames_B`` in all: for a clip whose length is known."""
    wanted_BL = logs_BL.float().exp().clamp(1, MOST_FRAMES) * mask_BL
    ends_BL = (wanted_BL / wanted_BL.sum(dim=1, keepdim=True).clamp(min=1)).cumsum(dim=1) * frames_B[:, None]
    return torch.diff(ends_BL.round().long(), dim=1, prepend=torch.zeros_like(frames_B)[:, None].long()) * mask_BL


def placed(durations_BL: torch.Tensor, numbers_F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The letter of each frame (B, F), and how far it is into the letter, from 0 to 1; behind a row's end they mean nothing."""
    ends_BL = durations_BL.cumsum(dim=1)
    letters_BF = (ends_BL[:, None] <= numbers_F[None, :, None]).sum(dim=2).clamp(max=durations_BL.shape[1] - 1)
    lasts_BF, end_BF = durations_BL.gather(1, letters_BF), ends_BL.gather(1, letters_BF)
    through_BF = (numbers_F[None] - end_BF + lasts_BF + 0.5) / lasts_BF.clamp(min=1)
    return letters_BF, through_BF.clamp(0, 1)


class _Block(nn.Module):
    """Two convolutions over time around which the states go on, as in the paper's feed-forward blocks (section 3.1)."""

    def __init__(self, size: int, inner: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.inner = nn.Conv1d(size, inner, width, padding=width // 2)
        self.outer = nn.Conv1d(inner, size, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BTC: torch.Tensor, mask_BT1: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.inner((self.norm(states_BTC) * mask_BT1).transpose(1, 2)))
        return states_BTC + self.dropout(self.outer(self.dropout(inner)).transpose(1, 2))


class FastSpeech(nn.Module):
    """``config`` is that of :mod:`pretune.backbones.audio.fastspeech_model`; embeddings of letters and voices are given."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size, inner, width, drop = config.hidden_size, config.intermediate_size, config.conv_width, config.dropout
        self.bands = config.bands
        self.of_voice = nn.Linear(config.voice_size, size)
        self.encoder = nn.ModuleList(_Block(size, inner, width, drop) for _ in range(config.num_encoder_layers))
        self.encoder_norm = nn.LayerNorm(size)
        self.timing = nn.ModuleList(_Block(size, size, 3, config.duration_dropout) for _ in range(2))
        self.timing_norm = nn.LayerNorm(size)
        self.duration = nn.Linear(size, 1)
        self.of_place = nn.Linear(_PLACES, size)
        self.decoder = nn.ModuleList(_Block(size, inner, width, drop) for _ in range(config.num_decoder_layers))
        self.decoder_norm = nn.LayerNorm(size)
        self.frames = nn.Linear(size, self.bands)

    def read(
        self, letters_BLC: torch.Tensor, mask_BL: torch.Tensor, voice_BV: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of letters (B, L, C), and the logarithms of the frames that they last (B, L)."""
        mask_BL1 = mask_BL[..., None].to(letters_BLC.dtype)
        states_BLC = letters_BLC + self.of_voice(voice_BV)[:, None]
        for layer in self.encoder:
            states_BLC = layer(states_BLC, mask_BL1)
        states_BLC = timing_BLC = self.encoder_norm(states_BLC)
        for layer in self.timing:
            timing_BLC = layer(timing_BLC, mask_BL1)
        return states_BLC, self.duration(self.timing_norm(timing_BLC))[..., 0]

    def spread(self, states_BLC: torch.Tensor, durations_BL: torch.Tensor, numbers_F: torch.Tensor) -> torch.Tensor:
        """Frames (B, F, M) of letters that last so long; ``numbers_F`` counts them from 0. Behind a row's end they mean nothing."""
        letters_BF, through_BF = placed(durations_BL, numbers_F)
        mask_BF1 = (numbers_F[None] < durations_BL.sum(dim=1, keepdim=True))[..., None].to(states_BLC.dtype)
        held_BFC = states_BLC.gather(1, letters_BF[..., None].expand(-1, -1, states_BLC.shape[2]))
        lasts_BF = durations_BL.gather(1, letters_BF).clamp(min=1).to(states_BLC.dtype).log()
        place_BF3 = torch.stack(
            [through_BF.to(states_BLC.dtype), 1 - through_BF.to(states_BLC.dtype), lasts_BF], dim=-1
        )
        held_BFC = held_BFC + self.of_place(place_BF3)
        for layer in self.decoder:
            held_BFC = layer(held_BFC, mask_BF1)
        return self.frames(self.decoder_norm(held_BFC))
