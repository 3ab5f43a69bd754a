"""How much of each unit a pruned model keeps, so that its config can say it wherever that is possible.

- Feed-forward neurons: ``intermediate_size``, the same in every layer.
- Heads of a ViT: ``num_attention_heads`` with ``head_dim``, the same in every layer. BERT, RoBERTa, ELECTRA, DistilBERT, wav2vec
  2.0 and HuBERT divide their width by the number of heads, so that their configs cannot say a missing one: which heads are
  gone is kept by name (:mod:`pretune.backbones.parts.removed`). Each layer keeps as many as any other all the same: to let layers
  share one number by what their heads are worth was no better (docs/decisions.md, D57).
- Tacotron: ``decoder_size``, the units of both cells of its decoder.
- Decoders and encoder-decoders: feed-forward neurons alone, of both sides. ResNet: the widths of its stages (inside a detector or segmenter: channels inside its blocks, by name: D215). MobileNetV2: how much its blocks expand. mel-resnet: ``inner_sizes``, the channels inside its blocks. VGG: ``mlp_ratio``, and channels by name.

A share of weights is meant. Where a part is both made and read by parts of its own kind (channels of ResNet and VGG, units of an LSTM) the
square root of the share is kept of each, as the weights between them are the product of both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from pretune.backbones.loading.library import quiet_transformers
from pretune.backbones.own import MEL_RESNET, TACOTRON
from pretune.backbones.parts.removed import REMOVED, removed_of, renamed
from pretune.backbones.parts.units import CHANNELS, FEED_FORWARD, HEADS, RECURRENT, WRITERS, Unit, keep_parts, units_of
from pretune.backbones.parts.wrapped import give_inner_config, inner_config
from pretune.errors import UsageError

__all__ = ["Plan", "Shares", "apply_plan", "choose_parts", "plan_of"]


class Shares(NamedTuple):
    """Shares to keep, in (0, 1]: of the heads, of the feed-forward neurons, and of the weights of convolutions."""

    heads: float
    feed_forward: float
    channels: float


class Plan(NamedTuple):
    """The config of the pruned model, and how many parts each unit keeps."""

    config: Any
    counts: Mapping[str, int]


def plan_of(model: nn.Module, config: Any, shares: Shares, *, first_counts: Mapping[str, int]) -> Plan:
    """The plan that leaves ``shares`` of what was there at first: ``config`` and ``first_counts`` are those of the model that
    pruning began with, ``model`` what is left of it now.

    Raises :class:`UsageError` for an architecture whose parts are not known.
    """
    units = units_of(model)
    if not units:
        raise UsageError(
            f"{(inner_config(config) or config).model_type} cannot be pruned{'' if inner_config(config) is None else ' inside a decoder or detector'}: which of its parts belong together is known for BERT, RoBERTa, ELECTRA, DistilBERT, ViT, wav2vec 2.0, HuBERT, w2v-bert, ResNet, MobileNetV2, VGG, T5, BART, Marian, Pegasus, GPT-2, LLaMA, Tacotron and mel-resnet",
            "pretune distill teaches a smaller model of another architecture what this one knows",
        )
    narrow = copy.deepcopy(config)
    trunk = inner_config(narrow)
    if trunk is None:
        _narrow(narrow, shares)
    elif trunk.model_type not in _INSIDE:
        _narrow(trunk, shares)
        give_inner_config(narrow, trunk)
    before, after = _sizes(model, config), _sizes(model, narrow)
    share_of = {
        HEADS: shares.heads,
        FEED_FORWARD: shares.feed_forward,
        CHANNELS: shares.channels**0.5,
        RECURRENT: shares.channels**0.5,
    }
    by_name = _BY_NAME.get(config.model_type, (HEADS,)) if trunk is None else _INSIDE.get(trunk.model_type, ())
    counts = {}
    for unit in units:
        counts[unit.name] = unit.count
        if after[unit.name] < before[unit.name]:
            counts[unit.name] = min(unit.count, after[unit.name])
        elif unit.kind in by_name:
            counts[unit.name] = min(unit.count, max(1, round(first_counts[unit.name] * share_of[unit.kind])))
    return Plan(narrow, counts)


_BY_NAME: Mapping[str, tuple[str, ...]] = {
    "vit": (),
    "resnet": (),
    "mobilenet_v2": (),
    "timm_wrapper": (CHANNELS,),
    MEL_RESNET: (),
}
"""The kinds of parts that are kept by name where the config does not say them; of all others the heads are."""
_INSIDE: Mapping[str, tuple[str, ...]] = {"resnet": (CHANNELS,)}
"""The same of trunks inside a decoder or detector: the widths of a ResNet's stages are read from outside, and stay."""


def _sizes(model: nn.Module, config: Any) -> dict[str, int]:
    """What a config makes of each unit: the model's own class is asked, without weights."""
    with quiet_transformers(), torch.device("meta"):
        return {unit.name: unit.count for unit in units_of(cast(Any, type(model))(copy.deepcopy(config)))}


def _narrow(config: Any, shares: Shares) -> None:
    """Let the config say ``shares`` as far as it can, in place."""
    kind = config.model_type
    if kind == "resnet":
        share = shares.channels**0.5
        config.embedding_size = _rounded(config.embedding_size, share)
        config.hidden_sizes = [_rounded(size, share) for size in config.hidden_sizes]
    elif kind == TACOTRON:
        config.decoder_size = _rounded(config.decoder_size, shares.channels**0.5)
    elif kind == MEL_RESNET:
        config.inner_sizes = [_rounded(size, shares.channels) for size in config.inner_sizes]
    elif kind == "mobilenet_v2":
        config.expand_ratio = round(config.expand_ratio * shares.channels, 4)
    elif kind == "timm_wrapper":
        told = config.model_args or {}
        config.model_args = {**told, "mlp_ratio": round(told.get("mlp_ratio", 1.0) * shares.channels, 4)}
    else:
        usual = ("hidden_dim",) if kind == "distilbert" else ("intermediate_size",)
        for name in WRITERS.get(kind, usual):
            size = getattr(config, name) or _USUAL_WIDTH * config.hidden_size  # GPT-2 leaves the usual one unsaid
            setattr(config, name, _rounded(size, shares.feed_forward))
    if kind == "vit":
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        config.head_dim, config.num_attention_heads = size, max(1, round(config.num_attention_heads * shares.heads))


_WIDE, _STEP = 64, 8
_USUAL_WIDTH = 4


def _rounded(size: int, share: float) -> int:
    """A width in steps that processors like: of 8 from 64 on (of 32 where a bottleneck takes a quarter of it), else of 2."""
    if share >= 1.0:
        return size
    step = 4 * _STEP if size >= 4 * _WIDE else _STEP if size >= _WIDE else 2
    return min(size, max(step, round(size * share / step) * step))


def choose_parts(units: Sequence[Unit], plan: Plan, scores: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """The parts that stay, by unit, in their order: those with the highest scores, of equal ones the first."""
    return {
        unit.name: sorted(np.argsort(-scores[unit.name], kind="stable")[: plan.counts[unit.name]].tolist())
        for unit in units
    }


def apply_plan(model: nn.Module, plan: Plan, kept: Mapping[str, list[int]]) -> None:
    """Take all parts but ``kept`` out of the model, in place, and give it the config that says so."""
    own: Any = model.config
    config: Any = copy.deepcopy(plan.config)
    # No config of a folder says it, and it decides how padding is masked.
    config._attn_implementation = own._attn_implementation
    sizes, before = _sizes(model, config), removed_of(own)
    removed: dict[str, list[int]] = {}
    for unit in units_of(model):
        gone = renamed(before, unit, kept[unit.name])
        keep_parts(unit, kept[unit.name])
        if sizes[unit.name] > len(kept[unit.name]):
            removed[unit.name] = gone
    if removed:
        setattr(config, REMOVED, removed)
    for module in model.modules():
        if not hasattr(module, "save_pretrained"):
            continue
        if module.config is own:
            module.config = config
        elif (trunk := inner_config(config)) is not None:
            module.config = trunk
        elif config.model_type not in WRITERS:
            module.config = config
        for name in WRITERS.get(config.model_type, ()):  # each side of a T5 has a config of its own
            setattr(module.config, name, getattr(config, name))
