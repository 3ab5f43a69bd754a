"""Maps of a picture from any trunk: one for each stride that detectors, segmenters and key points read.

A convolutional trunk shrinks a picture step by step; the last map before each step is its stage at that stride. A transformer has
one map, of which a simple pyramid is made (ViTDet: Li et al. 2022, arXiv 2203.16527, section 3). Which of the trunk's states the
stages are is measured once (:func:`find_stages`) and goes into the config, so that a model is built without running anything.
Shapes: B pictures, C channels of a map, H and W sides of a picture in pixels, h and w of a map.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pretune.backbones.adaptation.modes import evaluating
from pretune.errors import ModelError

__all__ = [
    "FeaturePyramid",
    "Stage",
    "StagedTrunk",
    "StatesRead",
    "find_stages",
    "resting_part",
    "stages_at",
    "stages_of_dicts",
]

_PROBE_PX = 256
_POSITIONS = "interpolate_pos_encoding"


@dataclass(frozen=True)
class Stage:
    """One map of a trunk: ``state`` is its place among the trunk's hidden states, ``stride`` the pixels of the picture from one of
    its cells to the next, ``channels`` its depth. ``scale``: the state is enlarged (2, 4: deconvolution) or made smaller (-2: pooling) to
    be it, 1 for one that is taken as it is. ``prefix``: states that are no cells of a grid (a class token) stand before them; -1 for states
    that are maps already.
    """

    state: int
    stride: int
    channels: int
    scale: int = 1
    prefix: int = -1

    def to_dict(self) -> dict[str, int]:
        """For a config."""
        return asdict(self)


def stages_of_dicts(told: Sequence[Mapping[str, int]]) -> tuple[Stage, ...]:
    """The stages that a config keeps. Raises :class:`ModelError` for what are none."""
    try:
        return tuple(Stage(**{name: int(value) for name, value in one.items()}) for one in told)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"config.json tells of stages that are none: {error}", "copy the model's folder again"
        ) from None


def find_stages(trunk: nn.Module) -> tuple[Stage, ...]:
    """Every stage that a trunk has, by rising stride: of each stride the deepest map. The trunk reads one grey picture for it.

    Raises :class:`ModelError` for a trunk that shows no maps of its inner states.
    """
    side = _probe_side(trunk)
    with evaluating(trunk), torch.no_grad():
        states = states_of(trunk, torch.zeros(1, 3, side, side, device=next(trunk.parameters()).device))
    found: dict[int, Stage] = {}
    for number, state in enumerate(states):
        if state.ndim == 4 and side % state.shape[-1] == 0:
            found[side // state.shape[-1]] = Stage(number, side // state.shape[-1], state.shape[1])
    if found:
        return tuple(found[stride] for stride in sorted(found))
    return tuple(_of_tokens(trunk, states, side))


def stages_at(stages: Sequence[Stage], strides: Sequence[int], name: str = "the trunk") -> tuple[Stage, ...]:
    """The stages of these strides. Raises :class:`ModelError` naming those that the trunk has not."""
    by_stride = {stage.stride: stage for stage in stages}
    if lacking := [stride for stride in strides if stride not in by_stride]:
        raise ModelError(
            f"{name} has maps of stride {', '.join(map(str, sorted(by_stride))) or 'none'}, and {', '.join(map(str, lacking))} is needed",
            "choose another backbone, such as scratch:mobilenet-v2 or scratch:resnet-18",
        )
    return tuple(by_stride[stride] for stride in strides)


def resting_part(trunk: nn.Module, stride: int) -> list[nn.Module]:
    """The modules that make the map of ``stride`` and those below it: what a trained trunk keeps where little data changes the rest.

    None where the trunk has no such map of its own.
    """
    stage = next((one for one in find_stages(trunk) if one.stride == stride and one.prefix < 0), None)
    if stage is None:
        return []
    called: list[tuple[nn.Module, Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, _, output: called.append((module, output)))
        for module in trunk.modules()
    ]
    side = _probe_side(trunk)
    try:
        with evaluating(trunk), torch.no_grad():
            states = states_of(trunk, torch.zeros(1, 3, side, side, device=next(trunk.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    last = max((place for place, (_, output) in enumerate(called) if output is states[stage.state]), default=-1)
    plain = [module for module, _ in called[: last + 1] if not any(module.children())]
    return [module for module in dict.fromkeys(plain) if any(True for _ in module.parameters())]


def _probe_side(trunk: nn.Module) -> int:
    """A picture that every trunk takes: a transformer's own size where it has learned positions for one size alone."""
    size = getattr(getattr(trunk, "config", None), "image_size", None)
    takes_any = not _is_transformer(trunk) or _POSITIONS in inspect.signature(trunk.forward).parameters
    return _PROBE_PX if takes_any or not isinstance(size, int) else size


def _is_transformer(trunk: nn.Module) -> bool:
    return hasattr(getattr(trunk, "config", None), "num_attention_heads")


def states_of(trunk: nn.Module, pixels_B3HW: torch.Tensor) -> Sequence[torch.Tensor]:
    """The hidden states of a trunk, the last one among them. Raises :class:`ModelError` for one that shows none."""
    named: dict[str, Any] = {"output_hidden_states": True}
    if _POSITIONS in inspect.signature(trunk.forward).parameters:
        named[_POSITIONS] = True
    try:
        output = trunk(pixel_values=pixels_B3HW, **named)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{type(trunk).__name__} shows no inner states: {error}", _OTHER) from None
    states = getattr(output, "hidden_states", None)
    if not states:
        raise ModelError(f"{type(trunk).__name__} shows no inner states", _OTHER)
    return states


_OTHER = "choose another backbone, such as scratch:mobilenet-v2, scratch:resnet-18 or a ViT"


def _of_tokens(trunk: nn.Module, states: Sequence[torch.Tensor], side: int) -> Iterator[Stage]:
    """A simple pyramid of the last state of a transformer: from a quarter to eight times its patches' side."""
    last = states[-1]
    told = getattr(trunk.config, "patch_size", None)
    patch = told if isinstance(told, int) else side
    cells = (side // patch) ** 2 if isinstance(told, int) else 0
    prefix = last.shape[1] - cells if last.ndim == 3 else -1
    if not cells or not 0 <= prefix < 16 or side % patch:
        raise ModelError(f"the inner states of {type(trunk).__name__} are no maps", _OTHER)
    for scale in (4, 2, 1, -2, -4, -8):
        stride = patch // scale if scale > 0 else patch * -scale
        if scale < 0 or patch % scale == 0:
            yield Stage(len(states) - 1, stride, last.shape[2], scale, prefix)


class StatesRead(nn.Module):
    """The states of a trunk that its stages are made of, as they are: a module without weights, so that what it gives of a resting trunk can be
    kept.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.numbers = tuple(dict.fromkeys(stage.state for stage in stages))

    def forward(self, trunk: nn.Module, pixels_B3HW: torch.Tensor) -> list[torch.Tensor]:
        """Each state once."""
        states = states_of(trunk, pixels_B3HW)
        return [states[number] for number in self.numbers]


class StagedTrunk(nn.Module):
    """A trunk that gives the maps of ``stages``; ``channels`` and ``strides`` are theirs, in order.

    It holds no trunk but is given one at each call, so that the trunk's weights stay where a :class:`PreTrainedModel` with this as a part
    keeps them. What it has of its own are the deconvolutions of a transformer's pyramid.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.channels = [stage.channels for stage in self.stages]
        self.strides = [stage.stride for stage in self.stages]
        self.read = StatesRead(self.stages)
        self.rescale = nn.ModuleList(_rescaling(stage) for stage in self.stages)

    def forward(self, trunk: nn.Module, pixels_B3HW: torch.Tensor) -> list[torch.Tensor]:
        """The maps (B, C, h, w), one a stage."""
        states = dict(zip(self.read.numbers, self.read(trunk, pixels_B3HW), strict=True))
        return [
            rescale(_as_map(states[stage.state], stage, pixels_B3HW))
            for stage, rescale in zip(self.stages, self.rescale, strict=True)
        ]


def _as_map(state: torch.Tensor, stage: Stage, pixels_B3HW: torch.Tensor) -> torch.Tensor:
    """Tokens (B, T, C) as the grid they stand for, (B, C, h, w); a map stays as it is."""
    if stage.prefix < 0:
        return state
    patch = stage.stride * stage.scale if stage.scale > 0 else stage.stride // -stage.scale
    height, width = (side // patch for side in pixels_B3HW.shape[-2:])
    return state[:, stage.prefix :].transpose(1, 2).reshape(len(state), -1, height, width)


def _rescaling(stage: Stage) -> nn.Module:
    if stage.scale == 1:
        return nn.Identity()
    if stage.scale < 0:
        return nn.MaxPool2d(-stage.scale)
    steps: list[nn.Module] = []
    for step in range(stage.scale.bit_length() - 1):
        norm: list[nn.Module] = [nn.GroupNorm(1, stage.channels), nn.GELU()] if step else []
        steps += [*norm, nn.ConvTranspose2d(stage.channels, stage.channels, 2, stride=2)]
    return nn.Sequential(*steps)


class FeaturePyramid(nn.Module):
    """Maps of ``width`` channels each, every one told what the coarser ones know (FPN: Lin et al. 2017, arXiv 1612.03144);
    torchvision's.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        self.width = width
        self.pyramid = FeaturePyramidNetwork(list(channels), width)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(B, width, h, w) of each map (B, C, h, w), finest first."""
        named = OrderedDict((str(number), one) for number, one in enumerate(maps))
        return list(self.pyramid(named).values())
