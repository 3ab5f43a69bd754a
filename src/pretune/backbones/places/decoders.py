"""What turns a trunk's maps into one answer for each place of a picture: U-Net, DeepLabV3+, and a plain stack for heat maps.

Each takes maps of rising stride and gives one map of ``channels`` at ``stride`` pixels of the picture.
Shapes: B pictures, C channels, h and w sides of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from pretune.backbones.places.stages import FeaturePyramid, Stage
from pretune.errors import ModelError

__all__ = ["DECODERS", "Decoder", "decoder_of"]

_UNET_WIDTHS = {2: 32, 4: 48, 8: 64, 16: 128}
"""Channels at each stride, for 32 at stride 32: half of what segmentation_models_pytorch takes, for one ordinary machine."""
_ASPP_WIDTH, _LOW_WIDTH, _RATES = 128, 32, (6, 12, 18)
_HEAT_WIDTH = 64
_LEADING = 2


def _convolved(before: int, after: int, *, dilation: int = 1, side: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, side, padding=dilation * (side // 2), dilation=dilation, bias=False),
        nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


def _separable(before: int, after: int, *, dilation: int = 1) -> nn.Sequential:
    """A convolution of each channel, then of each place (Chollet 2017, arXiv 1610.02357)."""
    return nn.Sequential(
        nn.Conv2d(before, before, 3, padding=dilation, dilation=dilation, groups=before, bias=False),
        *_convolved(before, after, side=1),
    )


def _enlarged(one: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(one, size=like.shape[-2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """From the coarsest map up, each joined by the trunk's map of the next finer stride (Ronneberger et al. 2015, arXiv 1505.04597)."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stride = strides[0]
        before, steps = channels[-1], []
        for stride, skip in reversed([*zip(strides, channels, strict=True)][:-1]):
            width = _UNET_WIDTHS[stride]
            steps.append(nn.Sequential(_convolved(before + skip, width), _convolved(width, width)))
            before = width
        self.steps = nn.ModuleList(steps)
        self.channels = before

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, C, h, w) at the finest map's stride."""
        found = maps[-1]
        for step, skip in zip(self.steps, reversed(maps[:-1]), strict=True):
            found = step(torch.cat([_enlarged(found, skip), skip], dim=1))
        return found


class DeepLabV3Plus(nn.Module):
    """Atrous spatial pyramid pooling on a deep map, then a small decoder with a map of stride 4 (Chen et al. 2018, arXiv 1802.02611).

    The branch of the whole picture's mean has no batch norm: it holds one value a picture, and a batch of one has no spread. Of a trunk
    that goes on to stride 32 in place of dilating, the deep map is that of stride 16 beside the enlarged one of 32.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stride, self.channels = strides[0], _ASPP_WIDTH
        deep = sum(channels[1:])
        self.low = _convolved(channels[0], _LOW_WIDTH, side=1)
        self.branches = nn.ModuleList(
            [_convolved(deep, _ASPP_WIDTH, side=1), *(_separable(deep, _ASPP_WIDTH, dilation=rate) for rate in _RATES)]
        )
        self.pooled = nn.Sequential(nn.Conv2d(deep, _ASPP_WIDTH, 1), nn.ReLU())
        self.joined = nn.Sequential(_convolved(_ASPP_WIDTH * (len(_RATES) + 2), _ASPP_WIDTH, side=1), nn.Dropout(0.1))
        self.refined = nn.Sequential(
            _separable(_ASPP_WIDTH + _LOW_WIDTH, _ASPP_WIDTH), _separable(_ASPP_WIDTH, _ASPP_WIDTH)
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, C, h, w) at stride 4."""
        low, deep = maps[0], maps[1]
        if len(maps) > 2:
            deep = torch.cat([deep, *(_enlarged(one, deep) for one in maps[2:])], dim=1)
        whole = self.pooled(deep.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *deep.shape[-2:])
        found = self.joined(torch.cat([*(branch(deep) for branch in self.branches), whole], dim=1))
        return self.refined(torch.cat([_enlarged(found, low), self.low(low)], dim=1))


class HeatMaps(nn.Module):
    """A feature pyramid, and two convolutions on its finest map: a light form of the simple baseline of Xiao et al. 2018 (arXiv 1804.06208)."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stride, self.channels = strides[0], _HEAT_WIDTH
        self.pyramid = FeaturePyramid(channels, _HEAT_WIDTH)
        self.refined = nn.Sequential(_convolved(_HEAT_WIDTH, _HEAT_WIDTH), _convolved(_HEAT_WIDTH, _HEAT_WIDTH))

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, C, h, w) at the finest map's stride."""
        return self.refined(self.pyramid(maps)[0])


@dataclass(frozen=True)
class Decoder:
    """A decoder by name, and what makes it. ``wanted`` are the strides of maps that it takes of those that a trunk has, in several ways: the
    first of which a trunk has the leading two is taken. ``dilated``: a trunk that can dilate (``output_stride`` of its config) does so from
    this stride on.
    """

    title: str
    make: Callable[[Sequence[int], Sequence[int]], nn.Module]
    wanted: tuple[tuple[int, ...], ...]
    dilated: int | None = None

    def stages(self, found: Sequence[Stage], name: str) -> tuple[Stage, ...]:
        """The stages that it takes. Raises :class:`ModelError` for a trunk that lacks what it cannot do without."""
        by_stride = {stage.stride: stage for stage in found}
        way = next((strides for strides in self.wanted if {*strides[:_LEADING]} <= by_stride.keys()), None)
        if way is None:
            needs = " or ".join(" and ".join(map(str, sorted(strides[:_LEADING]))) for strides in self.wanted)
            raise ModelError(
                f"{name} has maps of stride {', '.join(map(str, sorted(by_stride))) or 'none'}; {self.title} needs those of {needs}",
                "choose another backbone, such as scratch:mobilenet-v2 or scratch:resnet-18",
            )
        return tuple(by_stride[stride] for stride in sorted(way) if stride in by_stride)


DECODERS = {
    "unet": Decoder("U-Net", UNet, ((4, 8, 2, 16, 32),)),
    "deeplabv3plus": Decoder("DeepLabV3+", DeepLabV3Plus, ((4, 16, 32), (4, 8)), dilated=16),
    "heatmap": Decoder("heat maps", HeatMaps, ((4, 8, 16, 32),)),
}


def decoder_of(name: str) -> Decoder:
    """The decoder of a config. Raises :class:`ModelError` for one that there is not."""
    if name not in DECODERS:
        raise ModelError(f"config.json asks for the head {str(name)[:40]!r}", f"there are {', '.join(DECODERS)}")
    return DECODERS[name]
