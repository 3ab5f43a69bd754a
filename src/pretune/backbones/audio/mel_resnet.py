"""A residual network on log-mel spectra, in the form of transformers, for what is heard in a clip: which sound, not which words.

Kong et al. 2020 (PANNs, arXiv 1912.10211, section II-A) read spectra as pictures and take the mean and the maximum over time at the end;
residual blocks after He et al. 2016. Norms over the channels of each place learned far slower than batch norm (docs/decisions.md, D225).
Shapes: B clips of a batch, F frames, M mel bands, C channels, f and m places of a map, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
import transformers
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from pretune.backbones.audio.voice_model import DrawnByTorch

__all__ = ["MelResNetConfig", "MelResNetForSequenceClassification", "MelResNetModel", "pooled"]


class MelResNetConfig(transformers.PreTrainedConfig):
    """``hidden_sizes`` channels of ``depths`` blocks, each stage half as fine as the one before, and ``inner_sizes`` between the two
    convolutions of a block (None: as many); ``bands`` of sound of ``sampling_rate`` Hz. While it learns, frames are hidden as ``mask_time_prob`` and ``mask_time_length`` say.
    """

    model_type = "pretune_mel_resnet"

    def __init__(
        self, *, hidden_sizes: Sequence[int] = (24, 48, 96, 192), depths: Sequence[int] = (1, 1, 1, 1),
        inner_sizes: Sequence[int] | None = None, bands: int = 80,
        sampling_rate: int = 16_000, final_dropout: float = 0.2, mask_time_prob: float = 0.1, mask_time_length: int = 10, **named: Any,
    ) -> None:  # fmt: skip
        self.hidden_sizes, self.depths = [*hidden_sizes], [*depths]
        self.inner_sizes = [*(inner_sizes or hidden_sizes)]
        self.bands, self.sampling_rate = bands, sampling_rate
        self.final_dropout = final_dropout
        self.mask_time_prob, self.mask_time_length = mask_time_prob, mask_time_length
        super().__init__(**named)

    @property
    def hidden_size(self) -> int:
        """Channels of the last map."""
        return self.hidden_sizes[-1]

    @property
    def feature_projection_input_dim(self) -> int:
        """Features of a frame, by the name that transformers has for it."""
        return self.bands


@final
class _RealNorm(nn.Module):
    """Batch norm that counts no padding: what a batch's clips say, however long the longest is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, map_BCfm: torch.Tensor, real_Bf: torch.Tensor) -> torch.Tensor:
        """Of the same shape; padding is 0, as the ends of a clip are."""
        if not self.training:
            return self.norm(map_BCfm) * real_Bf[:, None, :, None]
        frames_BfCm = map_BCfm.transpose(1, 2)
        normed_BfCm = torch.zeros_like(frames_BfCm)
        normed_BfCm[real_Bf] = self.norm(frames_BfCm[real_Bf][..., None])[..., 0].to(normed_BfCm.dtype)
        return normed_BfCm.transpose(1, 2)


@final
class _Block(nn.Module):
    """Two convolutions; what is read is added, through one of its own where the map becomes coarser or wider."""

    def __init__(self, before: int, inner: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(before, inner, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(inner, after, 3, padding=1, bias=False)
        self.first_norm, self.second_norm = _RealNorm(inner), _RealNorm(after)
        self.across = None if (before, stride) == (after, 1) else nn.Conv2d(before, after, 1, stride=stride, bias=False)
        self.across_norm = None if self.across is None else _RealNorm(after)

    def forward(self, map_BCfm: torch.Tensor, real_Bf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The next map, and which of its frames are real."""
        real_Bf = real_Bf[:, :: self.stride]
        made_BCfm = functional.relu(self.first_norm(self.first(map_BCfm), real_Bf))
        made_BCfm = self.second_norm(self.second(made_BCfm), real_Bf)
        if self.across is not None and self.across_norm is not None:
            map_BCfm = self.across_norm(self.across(map_BCfm), real_Bf)
        return functional.relu(made_BCfm + map_BCfm), real_Bf


@final
class _Stages(nn.Module):
    """The network without its head."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        widths = config.hidden_sizes
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.norm = _RealNorm(widths[0])
        self.layers = nn.ModuleList()
        before = widths[0]
        for width, inner, depth in zip(widths, config.inner_sizes, config.depths, strict=True):
            for number in range(depth):
                self.layers.append(_Block(before, inner, width, 1 if number else 2))
                before = width

    def forward(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None, mask_time_indices: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States (B, f, C), the mean over bands, and which of them are real, bool (B, f)."""
        if mask_time_indices is not None:
            input_features = input_features.masked_fill(mask_time_indices[:, :, None], 0.0)
        real_Bf = (
            torch.ones_like(input_features[:, :, 0], dtype=torch.bool) if attention_mask is None else attention_mask > 0
        )
        map_BCfm = functional.relu(self.norm(self.stem((input_features * real_Bf[:, :, None])[:, None]), real_Bf))
        for block in self.layers:
            map_BCfm, real_Bf = block(map_BCfm, real_Bf)
        return map_BCfm.mean(dim=3).transpose(1, 2), real_Bf


def pooled(states_BfC: torch.Tensor, real_Bf: torch.Tensor) -> torch.Tensor:
    """The mean and the maximum of the real states of each clip, (B, 2 C)."""
    real_Bf1 = real_Bf[:, :, None]
    mean_BC = (states_BfC * real_Bf1).sum(dim=1) / real_Bf1.sum(dim=1).clamp(min=1)
    most_BC = states_BfC.masked_fill(~real_Bf1, torch.finfo(states_BfC.dtype).min).amax(dim=1)
    return torch.cat([mean_BC, most_BC], dim=1)


class _MelResNet(DrawnByTorch):
    config_class = MelResNetConfig
    base_model_prefix = "mel_resnet"
    main_input_name = "input_features"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.mel_resnet = _Stages(config)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@final
class MelResNetModel(_MelResNet):
    """The trunk."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.post_init()

    def forward(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, mask_time_indices: torch.Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:  # fmt: skip
        """States (B, f, C) of features (B, F, M)."""
        states_BfC, _real_Bf = self.mel_resnet(input_features, attention_mask, mask_time_indices)
        return BaseModelOutput(last_hidden_state=states_BfC)


@final
class MelResNetForSequenceClassification(_MelResNet):
    """Labels of a clip, from the mean and the maximum of its states."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.dropout = nn.Dropout(config.final_dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, mask_time_indices: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:  # fmt: skip
        """Logits (B, L) of features (B, F, M)."""
        states_BfC, real_Bf = self.mel_resnet(input_features, attention_mask, mask_time_indices)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled(states_BfC, real_Bf))))
