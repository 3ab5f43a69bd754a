"""What can be wrong with the characters of a text, and the repairs: HTML, Unicode, white space, stop words.

Every repair is text in, text out. Mojibake is found and told but never guessed back.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache
from html.entities import html5

__all__ = [
    "TROUBLES",
    "collapse_whitespace",
    "control_words",
    "encoding_troubles",
    "has_html",
    "normalise_unicode",
    "remove_stopwords",
    "strip_html",
]

_BLOCKS = (
    "address article aside blockquote body br center dd div dl dt figure footer form h1 h2 h3 h4 h5 h6 head header hr html li main nav ol "
    "option p pre section select table tbody td tfoot th thead title tr ul"
)
_INLINE = (
    "a abbr acronym b big button cite code del em embed font i iframe img input ins kbd label link mark meta object q s samp script small "
    "span strike strong style sub sup svg tt u var video"
)
# Only the names of HTML count as tags, so "a <b and c> d" and "x < y" lose nothing but a known tag.
_TAG = re.compile(
    rf"</?({'|'.join(sorted((_BLOCKS + ' ' + _INLINE).split(), key=len, reverse=True))})(?:\s[^<>]{{0,2000}})?\s{{0,9}}/?>",
    re.IGNORECASE,
)
_DROPPED = re.compile(
    r"<!--.{0,100000}?-->|<!doctype[^<>]{0,500}>|<(script|style)\b[^<>]{0,2000}>.{0,100000}?</\1\s{0,9}>",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BLOCK_NAMES = frozenset(_BLOCKS.split())

# Bytes 80-BF of UTF-8 as latin-1 or cp1252 shows them.
_TRAIL = "\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
_MOJIBAKE = (
    rf"[\u00c2\u00c3][\u0080-\u00bf]|\u00c3[{_TRAIL}]"  # an accented letter: "Ã©"
    rf"|\u00e2\u20ac[{_TRAIL}]|\u00e2\u0080[\u0080-\u00bf]"  # a dash or curly quote: "â€™"
    r"|\u00f0\u0178|\u00ef\u00bb\u00bf"  # an emoji, a byte order mark
    r"|\u951f\u65a4\u62f7|\u70eb\u70eb\u70eb|\u5c6f\u5c6f\u5c6f"  # broken GBK round trips
    r"|[\u00a1-\u00ff]{8}"  # GBK read as latin-1
)
# What tokenizers write around texts and between turns of a conversation; case counts.
_CONTROL_WORDS = re.compile(
    r"\[(?:CLS|SEP|MASK|PAD|UNK|BOS|EOS|/?INST|unused\d{1,4})\]"
    r"|</?s>|<(?:pad|unk|mask|bos|eos|sep|cls|eod|eop|extra_id_\d{1,4}|unused\d{1,4}|(?:start|end)_of_turn)>|<</?SYS>>"
    r"|<[|\uff5c][^\s<>|\uff5c]{1,40}[|\uff5c]>"
)
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
_INVISIBLE = (
    r"[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"  # not the joiners that emoji, Persian and Hindi need
)
_SURROGATE = r"[\ud800-\udfff]|\\ud[89a-f][0-9a-f]{2}"
TROUBLES = ("replacement_character", "mojibake", "control_character", "invisible_character", "surrogate")
"""Kinds of encoding trouble."""

_PATTERNS = {
    "replacement_character": re.compile("\ufffd"),
    "mojibake": re.compile(_MOJIBAKE),
    "control_character": re.compile(_CONTROL),
    "invisible_character": re.compile(_INVISIBLE),
    "surrogate": re.compile(_SURROGATE, re.IGNORECASE),
}
# One set of characters without which there is no trouble: a single fast search is all that most texts cost.
_SUSPECT = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00a1-\u00ff\u200b\u2060\u202a-\u202e\u2066-\u2069"
    r"\u5c6f\u70eb\u951f\ud800-\udfff\ufeff\ufffd\\]"
)
# A C1 control character is a cp1252 character read as latin-1; the WHATWG Encoding Standard reads latin-1 as cp1252 for this.
_C1 = {code: bytes([code]).decode("cp1252", "ignore") or None for code in range(0x80, 0xA0)}
_REMOVED = re.compile(f"{_CONTROL}|{_INVISIBLE}|[\\ud800-\\udfff]")

# Words whose loss turns a meaning round ("not good") are kept, although they stand in the usual English list.
_NEGATIONS = frozenset(
    [
        "no",
        "nor",
        "not",
        "never",
        "none",
        "nobody",
        "nothing",
        "nowhere",
        "neither",
        "cannot",
        "cant",
        "without",
        "against",
    ]
)
_CHINESE_STOPWORDS = (
    "呢",
    "吗",
    "吧",
    "啊",
    "呀",
    "嘛",
    "哦",
    "以及",
    "并且",
    "而且",
    "因此",
    "所以",
    "因为",
    "如果",
    "虽然",
    "或者",
    "就是",
    "其中",
    "关于",
)
_CHINESE_DE = r"(?<!目)(?<!标)的(?![确士哥])"


def encoding_troubles(text: str) -> tuple[str, ...]:
    """Which of ``TROUBLES`` the text shows."""
    if not _SUSPECT.search(text):
        return ()
    return tuple(kind for kind, pattern in _PATTERNS.items() if pattern.search(text))


def control_words(text: str) -> list[str]:
    """The words of a text that tokenizers know as control tokens (``[SEP]``, ``</s>``, ``<|im_start|>``), each once."""
    return list(dict.fromkeys(_CONTROL_WORDS.findall(text))) if "[" in text or "<" in text else []


def has_html(text: str) -> bool:
    """Does the text hold HTML tags, comments or character entities."""
    if "<" in text and (_TAG.search(text) or _DROPPED.search(text)):
        return True
    return "&" in text and any(_is_entity(match[0]) for match in _ENTITY.finditer(text))


def _is_entity(word: str) -> bool:
    return word[1] == "#" or word[1:] in html5


def strip_html(text: str) -> str:
    """The text without tags, comments, scripts and styles, and with entities as characters.

    A tag of a block leaves a space. Escaped tags ("&lt;b&gt;") become visible text, they are not stripped in turn.
    """
    if "<" in text:
        text = _DROPPED.sub(" ", text)
        text = _TAG.sub(lambda match: " " if match[1].lower() in _BLOCK_NAMES else "", text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]) if _is_entity(match[0]) else match[0], text)
    return text


def normalise_unicode(text: str) -> str:
    """NFC, without control characters (those that separate become a space), invisible characters and surrogates.

    Characters 80 to 9F become the curly quotes and dashes they were before cp1252 was read as latin-1.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _REMOVED.sub(lambda match: " " if match[0].isspace() else "", text.translate(_C1))
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def collapse_whitespace(text: str) -> str:
    """Runs of white space (also the wide space of Chinese text) as one space, none at the ends."""
    return " ".join(text.split())


@cache
def _stopwords() -> re.Pattern[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    english = "|".join(sorted(ENGLISH_STOP_WORDS - _NEGATIONS, key=lambda word: (-len(word), word)))
    return re.compile(
        rf"(?<![\w'])(?:{english})(?![\w'])\s?|{_CHINESE_DE}|{'|'.join(_CHINESE_STOPWORDS)}", re.IGNORECASE
    )


def remove_stopwords(text: str) -> str:
    """The text without frequent English words (scikit-learn's list, negations kept) and Chinese particles.

    It helps bags of words; models that read word order, as every transformer does, are mostly hurt by it.
    """
    return _stopwords().sub("", text).strip()
