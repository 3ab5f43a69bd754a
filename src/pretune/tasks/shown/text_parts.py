"""The words of a text as parts that can be taken out of it.

Shapes: T tokens, N words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretune.data.text.scripts import code_points, unspaced_mask
from pretune.modalities.text.encoder import TextEncoder, TextPiece, TokenPlace
from pretune.modalities.text.template import FastTokenizer
from pretune.tasks.shown.parts import Parts
from pretune.types import Encoded, Example

__all__ = ["blank_token", "cut_note", "shown_tokens", "text_parts", "words_of"]


def text_parts(encoder: TextEncoder, example: Example) -> Parts:
    """The words of the text (and of its pair) that the model sees; signs of scripts without spaces are parts of their own."""
    texts = [example.inputs[key] for key in ("text", "text_pair") if example.inputs.get(key) is not None]
    located = encoder.locate(*texts)
    piece, tokens = located[0]
    words_T = words_of(tokens, texts)
    spans = _spans(tokens, words_T)
    blank_id, blank = blank_token(encoder.tokenizer)

    def without(taken_N: np.ndarray) -> Encoded:
        is_taken_T = (words_T >= 0) & np.append(taken_N, False)[words_T]
        arrays = {"input_ids": np.where(is_taken_T, np.int32(blank_id), piece.input_ids)}
        if piece.segment_ids is not None:
            arrays["segment_ids"] = piece.segment_ids
        return Encoded(example.id, arrays, len(piece.input_ids))

    return Parts(
        without(np.zeros(len(spans), dtype=bool)), len(spans), without, blank, words_T,
        names=tuple(texts[side][start:stop].strip() or "␣" for side, start, stop in spans), spans=tuple(spans),
        notes=cut_note(encoder, located, texts),
    )  # fmt: skip


def words_of(tokens: Sequence[TokenPlace | None], texts: Sequence[str]) -> np.ndarray:
    """The word (from 0) of each token, -1 for special tokens: int (T,).

    Tokens of one word of the tokenizer belong together, and those that share a character; signs of scripts without spaces
    stand alone, as some tokenizers take a whole sentence of them for a word.
    """
    words_T = np.full(len(tokens), -1)
    before: TokenPlace | None = None
    count = 0
    for index, token in enumerate(tokens):
        if token is not None:
            count += before is None or not _together(before, token, texts)
            words_T[index] = count - 1
        before = token
    return words_T


def _together(before: TokenPlace, token: TokenPlace, texts: Sequence[str]) -> bool:
    if before.side != token.side:
        return False
    if token.start < before.stop:
        return True
    if token.word is None or token.word != before.word or token.start > before.stop:
        return False
    signs = texts[token.side][before.start : token.stop]
    return not unspaced_mask(code_points(signs)).any()


def _spans(tokens: Sequence[TokenPlace | None], words_T: np.ndarray) -> list[tuple[int, int, int]]:
    spans: list[tuple[int, int, int]] = []
    for token, word in zip(tokens, words_T.tolist(), strict=True):
        if token is None:
            continue
        if word == len(spans):
            spans.append((token.side, token.start, token.stop))
        else:
            side, start, stop = spans[word]
            spans[word] = (side, min(start, token.start), max(stop, token.stop))
    return spans


def shown_tokens(
    piece: TextPiece, tokens: Sequence[TokenPlace | None], texts: Sequence[str], tokenizer: FastTokenizer
) -> tuple[str, ...]:
    """Each token as its characters in the text, with ``##`` before what goes on a word; special tokens by their names."""
    names = tokenizer.convert_ids_to_tokens(piece.input_ids.tolist())
    words_T = words_of(tokens, texts)
    shown = []
    for index, (token, name) in enumerate(zip(tokens, names, strict=True)):
        own = "" if token is None else texts[token.side][token.start : token.stop].strip()
        goes_on = index > 0 and words_T[index] >= 0 and words_T[index] == words_T[index - 1]
        shown.append(("##" if goes_on and own else "") + (own or name))
    return tuple(shown)


def blank_token(tokenizer: FastTokenizer) -> tuple[int, str]:
    """The id of what stands for a word that was taken out, and what it is."""
    if tokenizer.mask_token_id is not None:
        return tokenizer.mask_token_id, "the mask token"
    if tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id, "the padding token"
    return (tokenizer.unk_token_id or 0), "the unknown token"


def cut_note(
    encoder: TextEncoder, located: Sequence[tuple[TextPiece, list[TokenPlace | None]]], texts: Sequence[str]
) -> tuple[str, ...]:
    """What of the text is not in the first piece, in a sentence; nothing where all of it is."""
    whole = sum(len(ids) for ids in encoder.tokens_of(texts))
    kept = sum(token is not None for token in located[0][1])
    if kept == whole:
        return ()
    what = {"head-tail": "its start and its end", "windows": f"the first of {len(located)} windows"}
    seen = what.get(encoder.long_text, "its start")
    return (f"The text is longer than the model takes: explained are {kept} of {whole} tokens, {seen}.",)
