"""Named sizes of encoder-decoders that start from fresh weights: ``scratch:seq2seq-tiny``, ``scratch:t5-mini``.

``seq2seq`` is Pegasus' form of the Transformer (Zhang et al. 2020, arXiv 1912.08777): norms before the blocks, sinusoids as positions,
one table for the tokens of both sides and the output. Its sizes go up to Vaswani et al. 2017 (arXiv 1706.03762, table 3, base). ``t5``
(Raffel et al. 2020, arXiv 1910.10683) has relative positions; its sizes are those of BERT's miniatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from pretune.modalities.text.template import FastTokenizer

__all__ = ["SENTINELS", "SEQ2SEQ_PRESETS", "num_sentinels", "seq2seq_config"]

MAX_LENGTH = 512
SENTINELS = 100
"""Marks of hidden spans in T5's vocabulary: ``<extra_id_0>`` to ``<extra_id_99>``."""


class _Size(NamedTuple):
    """Layers on each side, width, attention heads, width of the feed-forward layer, dropout."""

    layers: int
    hidden: int
    heads: int
    inner: int
    dropout: float = 0.1


SEQ2SEQ_PRESETS: Mapping[str, _Size] = {
    "seq2seq-tiny": _Size(3, 256, 4, 512),
    "seq2seq-small": _Size(4, 384, 6, 1024),
    "seq2seq-base": _Size(6, 512, 8, 2048),
    "t5-tiny": _Size(2, 128, 2, 512),
    "t5-micro": _Size(4, 128, 4, 512),
    "t5-mini": _Size(4, 256, 4, 1024),
    "t5-small": _Size(6, 512, 8, 2048),
}


def num_sentinels(preset: str) -> int:
    """How many marks of hidden spans the tokenizer of a preset has."""
    return SENTINELS if preset.startswith("t5-") else 0


def seq2seq_config(preset: str, tokenizer: FastTokenizer) -> PreTrainedConfig:
    """The transformers config of a preset for a tokenizer: its vocabulary size and special ids, all that is generated from told.

    Raises :class:`ModelError` for a tokenizer that does not say how a text ends.
    """
    size = SEQ2SEQ_PRESETS[preset]
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer has no end or padding token, and scratch:{preset} writes texts, which end",
            "leave --tokenizer out, or give the folder of an encoder-decoder",
        )
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    return _t5(size, ids) if preset.startswith("t5-") else _pegasus(size, ids)


def _pegasus(size: _Size, ids: Mapping[str, Any]) -> PreTrainedConfig:
    from transformers import PegasusConfig

    return PegasusConfig(
        **ids,
        d_model=size.hidden,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.inner,
        decoder_ffn_dim=size.inner,
        activation_function="relu",
        dropout=size.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        max_position_embeddings=MAX_LENGTH,
        forced_eos_token_id=None,
    )


def _t5(size: _Size, ids: Mapping[str, Any]) -> PreTrainedConfig:
    from transformers import T5Config

    return T5Config(
        **ids,
        d_model=size.hidden,
        num_layers=size.layers,
        num_decoder_layers=size.layers,
        num_heads=size.heads,
        d_kv=size.hidden // size.heads,
        d_ff=size.inner,
        dropout_rate=size.dropout,
        feed_forward_proj="relu",
    )
