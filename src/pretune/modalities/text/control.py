"""What a person writes is text: strings such as ``[SEP]``, ``</s>`` or ``<|im_start|>`` in it never become control tokens.

Control tokens are put around a row by its template alone. Three things hold this. The backend of a tokenizer looks for
none in a text (``encode_special_tokens``: they are *encoded*, as what they are spelled with). A vocabulary whose model would
find them by itself (a Unigram of SentencePiece holds ``</s>`` among the words, as probable as can be) gets one more rule,
which cuts such a string after its first character. And what is saved says both (``split_special_tokens``, the rule), so that
transformers and tokenizers alone read a text alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pretune.errors import ModelError
from pretune.modalities.text.template import plain_backend

if TYPE_CHECKING:
    from pretune.modalities.text.template import FastTokenizer

__all__ = ["control_tokens", "keep_text_plain"]

_CARRIED = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "chat_template",
)


def control_tokens(tokenizer: FastTokenizer) -> dict[int, str]:
    """The control tokens of a tokenizer by id: its special tokens without the unknown one, which any text may hold, and without
    single characters, which are letters of texts in a second role (CLIP may pad by "!").
    """
    ids = [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]
    names = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    return {i: name for i, name in names if len(name) > 1}


def keep_text_plain(tokenizer: FastTokenizer) -> FastTokenizer:
    """The tokenizer, such that no text makes control tokens, now and after it was saved and loaded: the same, or where its own
    class would forget the rule, one of transformers' general class. Raises :class:`ModelError` where that cannot be had.
    """
    if _made_by_texts(tokenizer):
        tokenizer = _with_rule(tokenizer)
        if still := _made_by_texts(tokenizer):
            raise ModelError(
                f"the tokenizer takes {', '.join(still[:3])} in a text for control tokens, and cannot be kept from it",
                "choose a model with another tokenizer",
            )
    tokenizer.split_special_tokens = True
    tokenizer.init_kwargs["split_special_tokens"] = True  # save_pretrained writes these
    return tokenizer


def _made_by_texts(tokenizer: FastTokenizer) -> list[str]:
    """The control tokens that come out where texts spell them: alone, between spaces, inside a word."""
    control = control_tokens(tokenizer)
    texts = [text for name in control.values() for text in (name, f"a {name} a", f"a{name}a")]
    encodings = plain_backend(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    made = {i for one in encodings for i in one.ids}
    return [name for i, name in control.items() if i in made]


def _with_rule(tokenizer: FastTokenizer) -> FastTokenizer:
    """With a rule after all others of the backend: what spells a control token is cut after its first character."""
    from tokenizers import Regex, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend, told = plain_backend(tokenizer), _roles(tokenizer)
    names = sorted({*control_tokens(tokenizer).values(), told.get("unk_token") or ""} - {""})
    spelled = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names if len(name) > 1)
    rule = pre_tokenizers.Split(Regex(spelled), "merged_with_previous")
    before: list[Any] = [] if backend.pre_tokenizer is None else [backend.pre_tokenizer]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*before, rule])  # type: ignore[assignment]
    options = {name: getattr(tokenizer, name) for name in _CARRIED if getattr(tokenizer, name, None) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options, **told)  # type: ignore[return-value]


def _roles(tokenizer: Any) -> dict[str, Any]:
    """The tokens that have a role, by their roles' names, and the others that are special."""
    held = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    extra = [str(token) for token in getattr(tokenizer, "extra_special_tokens", None) or ()]
    return {**held, "extra_special_tokens": extra, "pad_token_type_id": tokenizer.pad_token_type_id}
