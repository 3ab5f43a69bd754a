"""Train a tokenizer on a person's own texts, in any script."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["train_tokenizer"]


def train_tokenizer(
    texts: Iterable[str], *, kind: str, vocab_size: int | None = None, lowercase: bool | None = None
) -> PreTrainedTokenizerBase:
    """Placeholder until the next commit."""
    raise NotImplementedError
