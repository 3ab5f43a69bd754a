"""Named sizes of text models that start from fresh weights: ``scratch:bert-mini``, ``scratch:gpt-micro``; encoder-decoders are in :mod:`pretune.backbones.presets.seq2seq`.

Sizes: Turc et al. 2019 (arXiv 1908.08962), table 1 and the released models; the feed-forward layer is four times as
wide as the hidden one. RoBERTa (Liu et al. 2019, arXiv 1907.11692) takes the same sizes with byte-level BPE. So do models that
write: GPT-2 (Radford et al. 2019, section 2.3), Llama (Touvron et al. 2023, arXiv 2302.13971, section 2.2: its gated feed-forward
layer is 8/3 as wide) and XLNet (Yang et al. 2019, arXiv 1906.08237); nano and micro are minGPT's sizes for processors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.backbones.presets.audio import AUDIO_PRESETS
from pretune.backbones.presets.image import IMAGE_PRESETS
from pretune.backbones.presets.seq2seq import SEQ2SEQ_PRESETS, seq2seq_config
from pretune.errors import ModelError, did_you_mean
from pretune.modalities import Modality

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.modalities.text.template import FastTokenizer

__all__ = [
    "SCRATCH",
    "Family",
    "Size",
    "preset_config",
    "preset_modality",
    "preset_names",
    "preset_tokenizer",
]

SCRATCH = "scratch:"


class Size(NamedTuple):
    """Layers, width and attention heads of an encoder."""

    layers: int
    hidden: int
    heads: int


SIZES = {
    "tiny": Size(2, 128, 2),
    "micro": Size(4, 128, 4),
    "mini": Size(4, 256, 4),
    "small": Size(4, 512, 8),
    "medium": Size(8, 512, 8),
    "base": Size(12, 768, 12),
}
WRITING_SIZES = {"nano": Size(3, 48, 3), **SIZES}


class Family(NamedTuple):
    """What the sizes of one architecture share.

    ``model_type`` is the name in transformers, ``tokenizer`` the kind that is trained for it, ``max_length`` the longest
    row in tokens (None: positions have no end), ``position_offset`` says whether positions are counted from the padding id + 1
    (RoBERTa). ``inner`` is the config's name for the width of the feed-forward layer, ``gated`` says whether that layer is gated;
    ``head`` is its name for the width of an attention head, where it has to be told.
    """

    model_type: str
    tokenizer: str
    max_length: int | None
    position_offset: bool = False
    extras: tuple[tuple[str, Any], ...] = ()
    sizes: Mapping[str, Size] = SIZES
    inner: str = "intermediate_size"
    gated: bool = False
    head: str = ""


FAMILIES = {
    "bert": Family("bert", "wordpiece", 512),
    "roberta": Family("roberta", "bpe", 512, position_offset=True, extras=(("type_vocab_size", 1),)),
    "gpt": Family("gpt2", "bpe", 512, sizes=WRITING_SIZES, inner="n_inner"),
    "llama": Family("llama", "bpe", 512, extras=(("tie_word_embeddings", True),), sizes=WRITING_SIZES, gated=True),
    "xlnet": Family("xlnet", "bpe", None, sizes=WRITING_SIZES, inner="d_inner", head="d_head"),
}


def preset_names() -> list[str]:
    """Every name ``scratch:<preset>`` takes, without the prefix: ``bert-tiny``, ``vit-tiny``, ``resnet-18``, ``wav2vec2-tiny``, ..."""
    return [*_text_presets(), *SEQ2SEQ_PRESETS, *IMAGE_PRESETS, *AUDIO_PRESETS]


def preset_modality(preset: str) -> Modality:
    """What a preset reads. Raises :class:`ModelError` naming the nearest preset for an unknown one."""
    if preset in IMAGE_PRESETS:
        return Modality.IMAGE
    if preset in AUDIO_PRESETS:
        return Modality.AUDIO
    if preset not in SEQ2SEQ_PRESETS:
        _parts(preset)
    return Modality.TEXT


def _text_presets() -> list[str]:
    return [f"{name}-{size}" for name, family in FAMILIES.items() for size in family.sizes]


def _parts(preset: str) -> tuple[Family, Size]:
    family, _, size = preset.rpartition("-")
    if family not in FAMILIES or size not in FAMILIES[family].sizes:
        raise ModelError(f'"{SCRATCH}{preset}" is not a preset', did_you_mean(preset, preset_names()))
    return FAMILIES[family], FAMILIES[family].sizes[size]


def preset_tokenizer(preset: str) -> str:
    """The kind of tokenizer that is trained for a preset of text. Raises :class:`ModelError` naming the nearest one."""
    return "bpe" if preset in SEQ2SEQ_PRESETS else _parts(preset)[0].tokenizer


def preset_config(preset: str, tokenizer: FastTokenizer) -> PreTrainedConfig:
    """The transformers config of a preset for a tokenizer: its vocabulary size and special ids, dropout 0.1.

    Raises :class:`ModelError` for an unknown preset.
    """
    if preset in SEQ2SEQ_PRESETS:
        return seq2seq_config(preset, tokenizer)
    from transformers import AutoConfig

    family, size = _parts(preset)
    pad_id = tokenizer.pad_token_id or 0
    limits = {} if family.max_length is None else {
        "max_position_embeddings": family.max_length + (pad_id + 1 if family.position_offset else 0)
    }  # fmt: skip
    return AutoConfig.for_model(
        family.model_type,
        vocab_size=len(tokenizer),
        num_hidden_layers=size.layers,
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        pad_token_id=pad_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        **{family.inner: _inner_size(family, size)},
        **({family.head: size.hidden // size.heads} if family.head else {}),
        **limits,
        **dict(family.extras),
    )


_GATED_MULTIPLE = 32


def _inner_size(family: Family, size: Size) -> int:
    """Four times the width; 8/3 of it where the layer is gated, which has a third matrix, up to the next multiple of 32."""
    return -(-8 * size.hidden // (3 * _GATED_MULTIPLE)) * _GATED_MULTIPLE if family.gated else 4 * size.hidden
