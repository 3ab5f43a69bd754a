"""What a text model is made for, by its config: to fill in, to go on writing, to answer with another text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["encoder_class", "fills_in", "goes_on", "reads_whole"]

_BOTH_WAYS = ("xlnet",)
"""Models of transformers' list of causal ones that see both sides of a token."""


def fills_in(config: PreTrainedConfig) -> bool:
    """Does transformers have a masked language model of this type?"""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_encoder_decoder


def goes_on(config: PreTrainedConfig) -> bool:
    """Is it a decoder alone, which tells each token from those before it?"""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    told = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and config.model_type not in _BOTH_WAYS
    return told and not config.is_encoder_decoder and not fills_in(config)


def reads_whole(config: PreTrainedConfig) -> bool:
    """Is a text best read by the mean of its tokens, as no place of it stands for the whole?

    XLNet's own head reads the last position, which is padding in a batch that is padded behind; T5's raises for texts that
    hold its end mark twice.
    """
    return config.model_type in _BOTH_WAYS or encoder_class(config) is not None


def encoder_class(config: PreTrainedConfig) -> Any:
    """Transformers' class of the encoder alone of an encoder-decoder; None for other models, and where it has none."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_TEXT_ENCODING_MAPPING,
    )

    # Not by is_encoder_decoder, which an encoder alone no more says of itself when it is saved.
    is_both = config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None) if is_both else None
