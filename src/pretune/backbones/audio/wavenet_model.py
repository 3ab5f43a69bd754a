"""WaveNet in the form of transformers, which :mod:`pretune.backbones.own` makes known to its Auto classes.

Shapes: B rows of a batch, T samples, F frames, M mel bands, V codes.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from pretune.backbones.audio.gated_convolutions import WaveNet
from pretune.backbones.audio.voice_model import DrawnByTorch, default_mel

__all__ = ["WaveNetConfig", "WaveNetModel"]


class WaveNetConfig(transformers.PreTrainedConfig):
    """``num_stacks`` times ``stack_depth`` layers with dilations 1, 2, 4, ...; ``hidden_size`` channels of the skip sum."""

    model_type = "pretune_wavenet"

    def __init__(
        self, *, hidden_size: int = 64, residual_size: int = 48, num_stacks: int = 2, stack_depth: int = 8, num_codes: int = 256,
        told_size: int = 64, mel: dict[str, Any] | None = None, **named: Any,
    ) -> None:  # fmt: skip
        self.hidden_size, self.residual_size, self.told_size = hidden_size, residual_size, told_size
        self.num_stacks, self.stack_depth, self.num_codes = num_stacks, stack_depth, num_codes
        self.mel = mel or default_mel()
        super().__init__(**named)


class WaveNetModel(DrawnByTorch):
    """:class:`pretune.backbones.audio.gated_convolutions.WaveNet`."""

    config_class = WaveNetConfig
    base_model_prefix = "wavenet"
    main_input_name = "codes"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wavenet = WaveNet(config)
        self.post_init()

    def forward(self, codes: torch.Tensor, frames: torch.Tensor, given: torch.Tensor, **_: Any) -> torch.Tensor:
        """Logits (B, T, V) of each of the codes (B, T), from those before it and the frames (B, F, M) where they are ``given`` (B,)."""
        return self.wavenet.logits(self.wavenet.states(self.wavenet.before(codes), frames, given))
