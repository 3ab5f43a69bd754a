"""WaveNet in the form of transformers, which :mod:`pretune.backbones.own` makes known to its Auto classes.

Shapes: B rows of a batch, T samples, F frames, M mel bands, V codes, L labels or characters.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput

from pretune.backbones.audio.gated_convolutions import WaveNet
from pretune.backbones.audio.heard_frames import FrameContext, HeardFrames, real_frames
from pretune.backbones.audio.voice_model import DrawnByTorch, default_mel

__all__ = ["WaveNetConfig", "WaveNetForCTC", "WaveNetForSequenceClassification", "WaveNetModel"]

_FRAMES_PER_SECOND = 50


class WaveNetConfig(transformers.PreTrainedConfig):
    """``num_stacks`` times ``stack_depth`` layers with dilations 1, 2, 4, ...; ``hidden_size`` channels of the skip sum. Heads read
    ``num_context_layers`` convolutions over frames; while they learn, frames are hidden as ``mask_time_prob`` and ``mask_time_length`` say.
    """

    model_type = "pretune_wavenet"

    def __init__(
        self, *, hidden_size: int = 64, residual_size: int = 48, num_stacks: int = 2, stack_depth: int = 8, num_codes: int = 256,
        told_size: int = 64, mel: dict[str, Any] | None = None, context_size: int = 128, context_width: int = 5, num_context_layers: int = 2,
        final_dropout: float = 0.1, mask_time_prob: float = 0.1, mask_time_length: int = 5, vocab_size: int = 32, pad_token_id: int = 0,
        **named: Any,
    ) -> None:  # fmt: skip
        self.hidden_size, self.residual_size, self.told_size = hidden_size, residual_size, told_size
        self.num_stacks, self.stack_depth, self.num_codes = num_stacks, stack_depth, num_codes
        self.mel = mel or default_mel()
        self.context_size, self.context_width, self.num_context_layers = context_size, context_width, num_context_layers
        self.final_dropout = final_dropout
        self.mask_time_prob, self.mask_time_length = mask_time_prob, mask_time_length
        self.vocab_size, self.pad_token_id = vocab_size, pad_token_id
        super().__init__(**named)

    @property
    def frame_samples(self) -> int:
        """Samples of a frame that heads read: 20 ms."""
        return self.mel["rate"] // _FRAMES_PER_SECOND

    @property
    def conv_kernel(self) -> tuple[int, ...]:
        """From samples to frames in one step, by the name that transformers has for it."""
        return (self.frame_samples,)

    @property
    def conv_stride(self) -> tuple[int, ...]:
        """Frames do not overlap."""
        return (self.frame_samples,)


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


class _OverFrames(DrawnByTorch):
    """The layers of a WaveNet, and convolutions over the frames that they make."""

    config_class = WaveNetConfig
    base_model_prefix = "wavenet"
    main_input_name = "input_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wavenet = HeardFrames(config)
        self.context = FrameContext(config)

    def read(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None, mask_time_indices: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a head reads, (B, F, C), and which frames are real, bool (B, F)."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values)
        real_BF = real_frames(attention_mask, self.wavenet.samples)
        states_BFS = self.wavenet(input_values, mask_time_indices).last_hidden_state
        return self.context(states_BFS, real_BF), real_BF


class WaveNetForCTC(_OverFrames):
    """Characters of each frame."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.context_size, config.vocab_size)
        self.post_init()

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None, mask_time_indices: torch.Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutput:  # fmt: skip
        """Logits (B, F, L) of clips (B, T)."""
        read_BFC, _real_BF = self.read(input_values, attention_mask, mask_time_indices)
        return CausalLMOutput(logits=self.lm_head(read_BFC))


class WaveNetForSequenceClassification(_OverFrames):
    """Labels of a clip, from the mean of its frames."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.classifier = nn.Linear(config.context_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None, mask_time_indices: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:  # fmt: skip
        """Logits (B, L) of clips (B, T)."""
        read_BFC, real_BF = self.read(input_values, attention_mask, mask_time_indices)
        real_BF1 = real_BF[:, :, None].to(read_BFC.dtype)
        mean_BC = (read_BFC * real_BF1).sum(dim=1) / real_BF1.sum(dim=1).clamp(min=1.0)
        return SequenceClassifierOutput(logits=self.classifier(mean_BC))
