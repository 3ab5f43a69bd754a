"""A WaveNet as a trunk: what its layers make of a clip, averaged to frames of 20 ms, and the few convolutions over these that a head reads.

After section 3.4 of van den Oord et al. 2016 (arXiv 1609.03499), who pool a WaveNet's activations to frames and put non-causal convolutions
on them to recognise speech. Shapes: B clips of a batch, T samples, F frames, S channels of the skip sum, C channels of the convolutions.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from pretune.backbones.audio.gated_convolutions import GatedLayers, codes_of
from pretune.modalities.audio.mel import PEAK

__all__ = ["FrameContext", "HeardFrames", "real_frames"]


def real_frames(attention_mask: torch.Tensor, samples: int) -> torch.Tensor:
    """Which frames are of samples alone and not of padding, bool (B, F)."""
    frames = attention_mask.shape[1] // samples
    return attention_mask[:, : frames * samples].unflatten(1, (frames, samples)).amin(dim=2) > 0


@final
class HeardFrames(GatedLayers):
    """The layers of a WaveNet that is not told any frames, and the means of their skip sums over frames."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.samples = config.frame_samples
        self.bands = config.mel["bands"]

    def forward(self, input_values: torch.Tensor, mask_time_indices: torch.Tensor | None = None) -> BaseModelOutput:
        """States (B, F, S) of clips (B, T), made as loud as those of pre-training. Padding comes behind a clip, and no sample hears those
        behind it. Frames of ``mask_time_indices`` (B, F) are hidden.
        """
        loudest_B1 = input_values.abs().amax(dim=1, keepdim=True)
        codes_BT = codes_of(input_values * (PEAK / loudest_B1.clamp(min=1e-5)), self.codes)
        nothing = self.told.weight.new_zeros(1, 1, self.bands)
        told_11N2 = self.heard(nothing, torch.zeros(1, dtype=torch.bool, device=nothing.device))
        states_BTS = functional.relu(self.skips(codes_BT, told_11N2, None))
        frames = states_BTS.shape[1] // self.samples
        states_BFS = states_BTS[:, : frames * self.samples].unflatten(1, (frames, self.samples)).mean(dim=2)
        if mask_time_indices is not None:
            states_BFS = states_BFS.masked_fill(mask_time_indices[:, :, None], 0.0)
        return BaseModelOutput(last_hidden_state=states_BFS)


@final
class FrameContext(nn.Module):
    """Convolutions over frames, each added to what it reads. Padding is 0 to all of them, as the ends of a clip are."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size, width = config.context_size, config.context_width
        self.inward = nn.Linear(config.hidden_size, size)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(config.num_context_layers))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, size, width, padding=width // 2) for _ in range(config.num_context_layers)
        )
        self.last_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.final_dropout)

    def forward(self, states_BFS: torch.Tensor, real_BF: torch.Tensor) -> torch.Tensor:
        """(B, F, C)."""
        real_BF1 = real_BF[:, :, None]
        states_BFC = self.inward(states_BFS)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            read_BFC = torch.where(real_BF1, norm(states_BFC), 0.0)
            made_BFC = functional.gelu(convolution(read_BFC.transpose(1, 2)).transpose(1, 2))
            states_BFC = states_BFC + self.dropout(made_BFC)
        return self.last_norm(states_BFC)
