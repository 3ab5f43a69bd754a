"""How long a row of text a backbone takes, and the encoder that keeps to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from pretune.errors import CorruptFile, UsageError
from pretune.modalities.text.encoder import TextEncoder

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone
    from pretune.config import TextSettings

__all__ = ["encoder_for", "encoder_of", "max_length_of", "most_tokens", "position_offset"]

SANE_MAX_LENGTH = 1_000_000
FALLBACK_MAX_LENGTH = 512


def encoder_for(
    backbone: Backbone,
    settings: TextSettings,
    *,
    long_text: str | None = None,
    usual: int | None = None,
    slides_last: bool = False,
) -> TextEncoder:
    """Text to tokens within what the model takes and the settings ask for; ``long_text`` where that is not the settings' to say,
    ``usual`` the longest row where the settings tell none and the model takes more.

    Raises :class:`UsageError` for a longer row than the model takes.
    """
    most = most_tokens(backbone, settings.max_length)
    return TextEncoder(
        backbone.tokenizer,
        max_length=settings.max_length or min(most, usual or most),
        long_text=long_text or settings.long_text,
        segments=backbone.uses_segments,
        slides_last=slides_last,
    )


def most_tokens(backbone: Backbone, asked: int | None) -> int:
    """Tokens of the longest row: those that were asked for, else what the model takes. Raises :class:`UsageError` for more than that."""
    most = max_length_of(backbone)
    if asked is not None and asked > most:
        raise UsageError(
            f"--max-length is {asked}, {backbone.name} takes {most} tokens at most",
            f"give {most} or less, or --long-text windows",
        )
    return asked or most


def encoder_of(backbone: Backbone, about: Mapping[str, Any], *, slides_last: bool = False) -> TextEncoder:
    """The encoder of a trained model, from what its ``pretune.json`` says. Raises :class:`CorruptFile` for rows longer than it takes."""
    most = max_length_of(backbone)
    if about["max_length"] > most:
        raise CorruptFile(
            f"{(backbone.folder or Path()) / 'pretune.json'} says max_length {about['max_length']}, the model beside it takes {most} tokens at most",
            "bring the file back from a copy, or train again",
        )
    return TextEncoder(
        backbone.tokenizer,
        max_length=about["max_length"],
        long_text=about["long_text"],
        segments=backbone.uses_segments,
        slides_last=slides_last,
    )


def max_length_of(backbone: Backbone) -> int:
    """The longest row the model takes, in tokens, special tokens included."""
    limits = [FALLBACK_MAX_LENGTH] if not hasattr(backbone.config, "max_position_embeddings") else []
    told = backbone.tokenizer.model_max_length
    if told and 0 < told < SANE_MAX_LENGTH:
        limits = [told]
    positions = getattr(backbone.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - position_offset(backbone.skeleton))
    return min(limits) if limits else FALLBACK_MAX_LENGTH


def position_offset(model: nn.Module) -> int:
    """The position id of a row's first token: 0, or padding id + 1 for RoBERTa and its kin."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
