"""Splits made by content: a row's side depends on what it says, never on where it stands."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import datasets

__all__ = ["content_keys"]

_CHUNK_ROWS = 10_000


def content_key(text: str, text_pair: str | None = None) -> int:
    """64-bit hash of the normalised text (and pair): NFKC, case folded, runs of white space as one space."""
    words = _normal(text)
    if text_pair is not None:
        words += b"\x00" + _normal(text_pair)
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")


def _normal(text: str) -> bytes:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")


def content_keys(dataset: datasets.Dataset) -> np.ndarray:
    """(N,) uint64: rows of equal normalised content have equal keys."""
    keys_N = np.empty(len(dataset), dtype=np.uint64)
    pairs = "text_pair" in dataset.column_names
    for start in range(0, len(dataset), _CHUNK_ROWS):
        rows = dataset[start : start + _CHUNK_ROWS]
        firsts, seconds = rows["text"], rows["text_pair"] if pairs else [None] * len(rows["text"])
        keys_N[start : start + len(firsts)] = [content_key(*both) for both in zip(firsts, seconds, strict=True)]
    return keys_N
