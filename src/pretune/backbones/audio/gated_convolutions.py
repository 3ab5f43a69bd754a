"""WaveNet in plain PyTorch (van den Oord et al. 2016, arXiv 1609.03499): each sample from those before it, and, where they are given, from
the log-mel frames of the clip.

Samples are rows of matrices. Shapes: B rows of a batch, T samples, R channels inside, S channels of the skip sum, V codes, F frames, M mel
bands, N layers.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import nn
from torch.nn import functional

__all__ = ["GatedLayers", "WaveNet", "codes_of", "frame_places"]


def codes_of(samples: torch.Tensor, codes: int) -> torch.Tensor:
    """Samples in [-1, 1] as whole numbers 0..V-1, finer where they are quiet (mu-law, ITU-T G.711; section 2.2)."""
    mu = codes - 1
    squashed = samples.sign() * torch.log1p(mu * samples.abs().clamp(max=1.0)) / torch.log1p(torch.tensor(float(mu)))
    return ((squashed + 1) / 2 * mu + 0.5).long()


def frame_places(samples: int, hop: int, frames: int, device: Any = None) -> torch.Tensor:
    """The frame (T,) whose middle is nearest to each sample."""
    return ((torch.arange(samples, device=device) + hop // 2) // hop).clamp(max=frames - 1)


class _Layer(nn.Module):
    """Two taps ``dilation`` apart, a gate, and what goes on and out."""

    def __init__(self, inner: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Linear(2 * inner, 2 * inner)
        self.out = nn.Linear(inner, inner + skip)

    def forward(self, states_BTR: torch.Tensor, told_BT2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        past_BTR = functional.pad(states_BTR, (0, 0, self.dilation, 0))[:, : states_BTR.shape[1]]
        level, gate = (self.taps(torch.cat([past_BTR, states_BTR], dim=-1)) + told_BT2).chunk(2, dim=-1)
        made = self.out(torch.tanh(level) * torch.sigmoid(gate))
        inner = states_BTR.shape[2]
        return states_BTR + made[..., :inner], made[..., inner:]


class GatedLayers(nn.Module):
    """Embedded codes through gated layers, whose skip sums are what a sample is told by. ``config`` is
    :class:`pretune.backbones.audio.wavenet_model.WaveNetConfig`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        inner, skip = config.residual_size, config.hidden_size
        self.codes, self.hop = config.num_codes, config.mel["hop"]
        self.table = nn.Embedding(self.codes, inner)
        dilations = [2**layer for _ in range(config.num_stacks) for layer in range(config.stack_depth)]
        self.told = nn.Linear(config.mel["bands"] + 1, config.told_size)
        self.of_told = nn.Linear(config.told_size, len(dilations) * 2 * inner)
        self.layers = nn.ModuleList(_Layer(inner, skip, dilation) for dilation in dilations)

    def heard(self, frames_BFM: torch.Tensor, given_B: torch.Tensor) -> torch.Tensor:
        """What frames tell each layer, (B, F, N, 2 R); where none are ``given`` (bool (B,)), that there are none."""
        given_BF1 = given_B[:, None, None].to(frames_BFM.dtype).expand(-1, frames_BFM.shape[1], 1)
        told_BFC = torch.tanh(self.told(torch.cat([frames_BFM * given_BF1, given_BF1], dim=-1)))
        return self.of_told(told_BFC).unflatten(-1, (len(self.layers), -1))

    def skips(self, codes_BT: torch.Tensor, told_BTN2: torch.Tensor, place_T: torch.Tensor | None) -> torch.Tensor:
        """The skip sum (B, T, S) behind each code. ``place_T``: which place of ``told_BTN2`` tells each sample; None: the one that is there."""
        states_BTR, total = self.table(codes_BT), None
        for number, layer in enumerate(self.layers):
            told_BT2 = told_BTN2[:, :, number]
            states_BTR, skip_BTS = layer(states_BTR, told_BT2 if place_T is None else told_BT2[:, place_T])
            total = skip_BTS if total is None else total + skip_BTS
        assert total is not None, "there are layers"
        return total


@final
class WaveNet(GatedLayers):
    """Tells the sample that comes."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        skip = config.hidden_size
        self.middle = nn.Linear(skip, skip)
        self.last = nn.Linear(skip, self.codes)

    def states(self, before_BT: torch.Tensor, frames_BFM: torch.Tensor, given_B: torch.Tensor) -> torch.Tensor:
        """The skip sum (B, T, S) at each sample, told the codes before it: ``before_BT[:, t]`` is the code of sample t - 1."""
        place_T = frame_places(before_BT.shape[1], self.hop, frames_BFM.shape[1], before_BT.device)
        return self.skips(before_BT, self.heard(frames_BFM, given_B), place_T)

    def logits(self, states_BTS: torch.Tensor) -> torch.Tensor:
        """(B, T, V) of the sample that comes."""
        return self.last(functional.relu(self.middle(functional.relu(states_BTS))))

    def before(self, codes_BT: torch.Tensor) -> torch.Tensor:
        """The codes one sample earlier, silence before the first."""
        return functional.pad(codes_BT[:, :-1], (1, 0), value=self.codes // 2)
