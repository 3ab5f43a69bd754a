"""Which tokens begin a word, for masking whole words."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from pretune.modalities.text.template import FastTokenizer

__all__ = ["whole_words", "word_starts"]

UNSPACED = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# A token of byte-level BPE may hold only the first bytes of a character: from this lead byte on nearly all are unspaced.
UNSPACED_LEAD_BYTE = 0xE3


def word_starts(tokenizer: FastTokenizer) -> np.ndarray:
    """For each token id, whether a word begins with it: bool (vocabulary,).

    WordPiece: tokens without ``##``. SentencePiece and byte-level BPE: tokens that begin with a space mark, with
    punctuation, or with a character of a script written without spaces. Special tokens stand alone.
    """
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    kind = type(tokenizer.backend_tokenizer.model).__name__
    if kind == "WordPiece":
        starts = np.array([not token.startswith("##") for token in tokens])
    elif "\u0120" in "".join(tokens) or "\u0100" in tokens:
        starts = np.array([_byte_start(token) for token in tokens])
    else:
        starts = np.array([token.startswith("\u2581") or _text_start(token) for token in tokens])
    starts[tokenizer.all_special_ids] = True
    return starts


def whole_words(input_ids: np.ndarray, starts: np.ndarray, special_ids: np.ndarray) -> np.ndarray:
    """The word each token belongs to, counted from 0 along the row: int64, same shape as ``input_ids`` (..., T).

    ``starts`` is of :func:`word_starts`. What follows one of ``special_ids`` begins a word too.
    """
    special = np.isin(input_ids, special_ids)
    begins = starts[input_ids] | special
    begins[..., 1:] |= special[..., :-1]
    return np.cumsum(begins, axis=-1) - begins[..., :1]


def _text_start(text: str) -> bool:
    return not text or unicodedata.category(text[0])[0] not in "LMN" or UNSPACED.match(text) is not None


def _byte_start(token: str) -> bool:
    """Whether a token of byte-level BPE begins a word; a token that begins inside a character does not."""
    values = bytes(BYTE_OF.get(character, 0) for character in token)
    if not values or values[0] < 0x80:
        return _text_start(values[:1].decode("ascii"))
    if values[0] < 0xC0:
        return False
    first = values[: 2 + (values[0] >= 0xE0) + (values[0] >= 0xF0)].decode("utf-8", errors="replace")[0]
    return values[0] >= UNSPACED_LEAD_BYTE if first == "\ufffd" else _text_start(first)


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-in of each byte in byte-level BPE (Radford et al. 2019): visible bytes stand for themselves."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


BYTE_OF = _byte_alphabet()
