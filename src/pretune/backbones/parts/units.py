"""The parts of a model that can be taken out whole: attention heads, feed-forward neurons, channels of convolutions, units of LSTM cells.

A unit is a group of like parts, such as the heads of one layer. Its makers compute the parts, its readers take them in; no
other module sees them, so a part whose makers' rows and readers' columns are gone (or zero) is gone for the whole model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from pretune.backbones.detection.queries import num_queries
from pretune.backbones.own import MEL_RESNET, TACOTRON
from pretune.backbones.parts.wrapped import inner_config

__all__ = ["WRITERS", "Reader", "Unit", "base_of", "features_of", "keep_parts", "units_of", "weight_read"]

HEADS, FEED_FORWARD, CHANNELS, RECURRENT = "heads", "feed-forward", "channels", "recurrent units"


class Reader(NamedTuple):
    """A module with weights that reads (or makes) the parts, ``size`` features a part; what it reads beside them stands behind them."""

    module: Any
    size: int = 1


@dataclass(frozen=True)
class Unit:
    """``count`` parts of one ``kind``. ``name`` is a module's path below the encoder; ``owner`` holds the number of heads; ``gate`` is a module
    that gives the parts to all that read them, where readers take in other tensors made of them.
    """

    name: str
    kind: str
    count: int
    makers: tuple[Reader, ...]
    readers: tuple[Reader, ...]
    owner: nn.Module | None = None
    gate: nn.Module | None = None


class _Attention(NamedTuple):
    """Names in a layer of what projects to heads and of what reads them; ``owner`` computes with them."""

    owner: str
    projections: tuple[str, ...]
    output: str


_ATTENTION = (
    _Attention("attention.self", ("query", "key", "value"), "attention.output.dense"),  # BERT, RoBERTa, ELECTRA
    _Attention("attention", ("q_lin", "k_lin", "v_lin"), "attention.out_lin"),  # DistilBERT
    _Attention("attention", ("q_proj", "k_proj", "v_proj"), "attention.o_proj"),  # ViT
    _Attention("attention", ("q_proj", "k_proj", "v_proj"), "attention.out_proj"),  # wav2vec 2.0, HuBERT
    _Attention("self_attn", ("linear_q", "linear_k", "linear_v"), "self_attn.linear_out"),  # w2v-bert
)
_FEED_FORWARD = (
    (("intermediate.dense",), "output.dense"),
    (("ffn.lin1",), "ffn.lin2"),
    (("mlp.fc1",), "mlp.fc2"),
    (("feed_forward.intermediate_dense",), "feed_forward.output_dense"),
    (("ffn1.intermediate_dense",), "ffn1.output_dense"),
    (("ffn2.intermediate_dense",), "ffn2.output_dense"),
)
_OF_WRITERS = (
    (("fc1",), "fc2"),
    (("DenseReluDense.wi",), "DenseReluDense.wo"),
    (("mlp.c_fc",), "mlp.c_proj"),  # GPT-2
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),  # LLaMA: a neuron is its gate and what it lets through
)
"""Those of decoders, and of encoder-decoders on both sides."""
WRITERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("bart", "marian", "mbart", "pegasus"), ("encoder_ffn_dim", "decoder_ffn_dim")), "t5": ("d_ff",),
    "gpt2": ("n_inner",), "llama": ("intermediate_size",),
}  # fmt: skip
"""Decoders and encoder-decoders whose feed-forward layers are known, and what their configs call the width of these."""
_HEAD_COUNTS = ("num_attention_heads", "n_heads", "num_heads")
_HEAD_SIZES = ("attention_head_size", "head_dim", "head_size")
_RELATIVE = ("linear_pos", "pos_bias_u")


def units_of(model: nn.Module) -> list[Unit]:
    """The units of a model of a known architecture, lowest layer first; none for any other.

    Where a decoder or detector reads the trunk at several depths these are the parts inside its blocks alone, which it does not see.
    """
    base = base_of(model)
    is_inside = inner_config(getattr(model, "config", None)) is not None
    kind = getattr(getattr(base, "config", getattr(model, "config", None)), "model_type", "")
    if num_queries(getattr(model, "config", None)):
        return []
    if kind == "resnet":
        return list(_resnet_inside(base) if is_inside else _resnet(model, base))
    if kind == "mobilenet_v2":
        return list(_mobilenet(base))
    if kind == "timm_wrapper":
        has_parts = hasattr(base, "features") and hasattr(base, "pre_logits")
        return list(_vgg(base)) if has_parts and not is_inside else []
    if kind == MEL_RESNET:
        return list(_mel_resnet(base))
    if kind == TACOTRON:
        return list(_tacotron(base))
    if kind in WRITERS:
        return [unit for name, layer in base.named_modules() for unit in _feed_forward(name, layer, _OF_WRITERS)]
    return [unit for name, layer in base.named_modules() for unit in _transformer_layer(name, layer)]


def base_of(model: nn.Module) -> nn.Module:
    """The encoder below a head; names of units begin there, so that they are the same with and without the head."""
    return cast(nn.Module, getattr(model, "base_model", model))


def _at(module: nn.Module, path: str) -> Any:
    for step in path.split("."):
        module = getattr(module, step, None)  # type: ignore[assignment]
    return module


def _transformer_layer(name: str, layer: nn.Module) -> Iterator[Unit]:
    for told in _ATTENTION:
        owner, output = _at(layer, told.owner), _at(layer, told.output)
        projections = [_at(owner, one) for one in told.projections] if owner is not None else []
        if not _all_linear(output, *projections) or any(hasattr(owner, one) for one in _RELATIVE):
            continue
        size = next((getattr(owner, one) for one in _HEAD_SIZES if hasattr(owner, one)), None)
        if size:
            makers = tuple(Reader(one, size) for one in projections)
            count = output.in_features // size
            yield Unit(f"{name}.{told.owner}", HEADS, count, makers, (Reader(output, size),), owner)
            break
    yield from _feed_forward(name, layer, _FEED_FORWARD)


def _feed_forward(name: str, layer: nn.Module, known: Sequence[tuple[tuple[str, ...], str]]) -> Iterator[Unit]:
    for inner, outer in known:
        makers, reader = [_at(layer, one) for one in inner], _at(layer, outer)
        if not all(_is_linear(one) or _is_transposed(one) for one in (*makers, reader)):
            continue
        count = _weight_of(reader).shape[1]
        if all(_weight_of(maker).shape[0] == count for maker in makers):
            yield Unit(f"{name}.{inner[0]}", FEED_FORWARD, count, tuple(map(Reader, makers)), (Reader(reader),))


def _all_linear(*modules: Any) -> bool:
    return bool(modules) and all(map(_is_linear, modules))


def _is_linear(module: Any) -> bool:
    return type(module) is nn.Linear


def _is_transposed(module: Any) -> bool:
    """GPT-2's linear layers, whose weights are (features read, features made)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _weight_of(module: Any) -> torch.Tensor:
    """The weight with what is made along the first dimension and what is read along the second."""
    return module.weight.T if _is_transposed(module) else module.weight


def _conv(layer: Any) -> tuple[Reader, Reader]:
    """A convolution and the batch norm after it, as transformers names them."""
    return Reader(layer.convolution), Reader(layer.normalization)


def _resnet(model: nn.Module, base: Any) -> Iterator[Unit]:
    """The sums of each stage (one unit: all blocks of a stage add to them), and the channels inside each block.

    Without a convolution on its shortcut the first stage adds to the stem's own channels (He et al. 2016, figure 3).
    """
    name, makers, readers = "embedder", [*_conv(base.embedder.embedder)], []
    for place, stage in enumerate(base.encoder.stages):
        first = stage.layers[0]
        readers.append(_conv(first.layer[0])[0])
        if not isinstance(first.shortcut, nn.Identity):
            readers.append(_conv(first.shortcut)[0])
            yield _channels(name, makers, readers)
            name, makers, readers = f"encoder.stages.{place}", [*_conv(first.shortcut)], []
        for number, block in enumerate(stage.layers):
            inner = list(block.layer)
            for step, (one, other) in enumerate(itertools.pairwise(inner)):
                where = f"encoder.stages.{place}.layers.{number}.layer.{step}"
                yield _channels(where, _conv(one), [_conv(other)[0]])
            makers += _conv(inner[-1])
            if number:
                readers.append(_conv(inner[0])[0])
    classifier = [m for m in getattr(model, "classifier", nn.Identity()).modules() if isinstance(m, nn.Linear)]
    yield _channels(name, makers, [*readers, *map(Reader, classifier)])


def _resnet_inside(base: Any) -> Iterator[Unit]:
    """The channels inside each block of a ResNet."""
    for place, stage in enumerate(base.encoder.stages):
        for number, block in enumerate(stage.layers):
            for step, (one, other) in enumerate(itertools.pairwise(block.layer)):
                where = f"encoder.stages.{place}.layers.{number}.layer.{step}"
                yield _channels(where, _conv(one), [_conv(other)[0]])


def _mel_resnet(base: Any) -> Iterator[Unit]:
    """The channels between the two convolutions of each block."""
    for number, block in enumerate(base.layers):
        makers = [Reader(block.first), Reader(block.first_norm.norm)]
        yield _channels(f"layers.{number}", makers, [Reader(block.second)])


def _mobilenet(base: Any) -> Iterator[Unit]:
    """The expanded channels of each block: made, filtered one by one, and read (Sandler et al. 2018, table 1)."""
    for number, block in enumerate(base.layer):
        makers = [*_conv(block.expand_1x1), *_conv(block.conv_3x3)]
        yield _channels(f"layer.{number}", makers, [_conv(block.reduce_1x1)[0]])


def _vgg(base: Any) -> Iterator[Unit]:
    """The channels of each convolution, and those between the two large layers at the end."""
    makers: list[Reader] = []
    name = ""
    for place, module in base.features.named_children():
        if isinstance(module, nn.Conv2d):
            if makers:
                yield _channels(name, makers, [Reader(module)])
            name, makers = f"features.{place}", []
        if isinstance(module, (nn.Conv2d, _BatchNorm)):
            makers.append(Reader(module))
    yield _channels(name, makers, [Reader(base.pre_logits.fc1)])
    yield _channels("pre_logits.fc1", [Reader(base.pre_logits.fc1)], [Reader(base.pre_logits.fc2)])


def _tacotron(base: Any) -> Iterator[Unit]:
    """The units of both cells of the decoder, each with its four gates and its place in the state (Wen et al. 2018, arXiv 1709.05027,
    section 3.2). Norms of the convolutions before and behind it run over channels, so that these cannot be taken out alone.
    """
    read_by = {"query_cell": (base.of_query, base.decoder_cell), "decoder_cell": (base.frames, base.stop)}
    for name, modules in read_by.items():
        cell, gate = getattr(base, name), getattr(base, name.replace("cell", "dropout"))
        yield Unit(name, RECURRENT, cell.hidden_size, (Reader(cell),), tuple(map(Reader, modules)), gate=gate)


def _channels(name: str, makers: Sequence[Reader], readers: Sequence[Reader]) -> Unit:
    return Unit(name, CHANNELS, makers[0].module.weight.shape[0], tuple(makers), tuple(readers))


def features_of(parts: Sequence[int], size: int) -> torch.Tensor:
    """The places of the features of parts, ``size`` each, int64."""
    starts = torch.as_tensor(list(parts), dtype=torch.int64) * size
    return (starts[:, None] + torch.arange(size)).reshape(-1)


def keep_parts(unit: Unit, kept: Sequence[int]) -> None:
    """Take all other parts out of the unit's modules, in place. The kept ones stay in the order given."""
    for module, size in unit.makers:
        _keep_made(module, features_of(kept, size))
    for module, size in unit.readers:
        _keep_read(module, features_of(kept, size), unit.count * size)
    if unit.owner is not None:
        for name in _HEAD_COUNTS:
            if hasattr(unit.owner, name):
                setattr(unit.owner, name, len(kept))
        if hasattr(unit.owner, "all_head_size"):
            unit.owner.__dict__["all_head_size"] = len(kept) * unit.makers[0].size


def weight_read(reader: Reader, count: int) -> torch.Tensor:
    """The weights by which ``count`` parts are read, (out, count * size, ...)."""
    module = reader.module
    weight = _weight_of(module) if _is_transposed(module) else getattr(module, _reads_by(module))
    return weight[:, : count * reader.size]


def _reads_by(module: Any) -> str:
    return "weight_ih" if isinstance(module, nn.LSTMCell) else "weight"


def _keep_made(module: Any, places: torch.Tensor) -> None:
    if isinstance(module, nn.LSTMCell):
        gates = torch.cat([places + gate * module.hidden_size for gate in range(4)])
        for name in ("weight_ih", "bias_ih", "bias_hh"):
            _replace(module, name, getattr(module, name)[gates])
        _replace(module, "weight_hh", module.weight_hh[gates][:, places])
        module.hidden_size = len(places)
        return
    if _is_transposed(module):
        _replace(module, "weight", module.weight[:, places])
        _replace(module, "bias", module.bias[places])
        module.nf = len(places)
        return
    for name in ("weight", "bias"):
        if getattr(module, name) is not None:
            _replace(module, name, getattr(module, name)[places])
    if isinstance(module, _BatchNorm):
        module.running_mean, module.running_var = module.running_mean[places], module.running_var[places]  # type: ignore[index]
        module.num_features = len(places)
    elif isinstance(module, _ConvNd):
        if module.groups > 1:  # depthwise: a channel is filtered by itself
            module.groups = module.in_channels = len(places)
        module.out_channels = len(places)
    else:
        module.out_features = len(places)


def _keep_read(module: Any, places: torch.Tensor, read: int) -> None:
    """``read`` features were the parts'; those behind them stay."""
    if _is_transposed(module):
        _replace(module, "weight", module.weight[places])
        module.nx = len(places)
        return
    name = _reads_by(module)
    weight = getattr(module, name)
    kept = torch.cat([places, torch.arange(read, weight.shape[1])])
    _replace(module, name, weight[:, kept])
    sizes = "in_channels" if isinstance(module, _ConvNd) else "input_size" if isinstance(module, nn.LSTMCell) else "in_features"  # fmt: skip
    setattr(module, sizes, len(kept))


def _replace(module: nn.Module, name: str, values: torch.Tensor) -> None:
    before = getattr(module, name)
    setattr(module, name, nn.Parameter(values.detach().clone(), requires_grad=before.requires_grad))
