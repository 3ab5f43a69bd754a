"""Texts cleaned: HTML, Unicode, white space, stop words. The same file cleans in pretune and beside an exported model.

It needs nothing but Python's own library. Every repair is text in, text out.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from html.entities import html5

__all__ = [
    "CONTROL",
    "INVISIBLE",
    "REDACTING",
    "STEPS",
    "cleaner",
    "collapse_whitespace",
    "has_html",
    "normalise_unicode",
    "remove_stopwords",
    "stopword_pattern",
    "strip_html",
]

STEPS = ("html", "unicode", "whitespace", "stopwords", "redact", "pseudonym")
"""The order in which texts are cleaned, whatever order the steps are asked for in."""
REDACTING = ("redact", "pseudonym")
"""Those that take personal data out."""

CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
INVISIBLE = (
    r"[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"  # not the joiners that emoji, Persian and Hindi need
)

_BLOCKS = (
    "address article aside blockquote body br center dd div dl dt figure footer form h1 h2 h3 h4 h5 h6 head header hr html li main nav ol "
    "option p pre section select table tbody td tfoot th thead title tr ul"
)
_INLINE = (
    "a abbr acronym b big button cite code del em embed font i iframe img input ins kbd label link mark meta object q s samp script small "
    "span strike strong style sub sup svg tt u var video"
)
# Only the names of HTML count as tags, so "a <b and c> d" and "x < y" lose nothing but a known tag. What stands between a
# tag's name and its end holds no other bracket: however long it is, each character is looked at once.
_TAG = re.compile(
    rf"</?({'|'.join(sorted((_BLOCKS + ' ' + _INLINE).split(), key=len, reverse=True))})(?:[\s/][^<>]*)?>",
    re.IGNORECASE,
)
_BLOCK_NAMES = frozenset(_BLOCKS.split())
_OPENED = re.compile(r"<!--|<!doctype(?=[\s>])[^<>]*>|<(?P<name>script|style)(?:[\s/][^<>]*)?>", re.IGNORECASE)
_CLOSED = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style")} | {"": re.compile("-->")}
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

# A C1 control character is a cp1252 character read as latin-1; the WHATWG Encoding Standard reads latin-1 as cp1252 for this.
_C1 = {code: bytes([code]).decode("cp1252", "ignore") or None for code in range(0x80, 0xA0)}
_REMOVED = re.compile(f"{CONTROL}|{INVISIBLE}|[\\ud800-\\udfff]")

_CHINESE_STOPWORDS = (
    "呢", "吗", "吧", "啊", "呀", "嘛", "哦", "以及", "并且", "而且", "因此", "所以", "因为", "如果", "虽然", "或者", "就是", "其中", "关于",
)  # fmt: skip
_CHINESE_DE = r"(?<!目)(?<!标)的(?![确士哥])"


def cleaner(
    steps: Iterable[str], *, english: Sequence[str] = (), redact: Callable[[str], str] | None = None
) -> Callable[[str], str]:
    """A function that does ``steps`` in their order. ``english``: the stop words; ``redact`` takes personal data out, in either way.

    Raises :class:`ValueError` for a step that is not known or lacks what it needs.
    """
    asked = list(steps)
    known: dict[str, Callable[[str], str] | None] = {
        "html": strip_html,
        "unicode": normalise_unicode,
        "whitespace": collapse_whitespace,
        "stopwords": None,
        "redact": redact,
        "pseudonym": redact,
    }
    if "stopwords" in asked:
        pattern = stopword_pattern(english)
        known["stopwords"] = lambda text: remove_stopwords(text, pattern)
    if unusable := [step for step in asked if known.get(step) is None]:
        raise ValueError(f"texts cannot be cleaned by {unusable[0]}")
    repairs = [known[step] for step in STEPS if step in asked]

    def clean(text: str) -> str:
        for repair in repairs:
            assert repair is not None, "checked above"
            text = repair(text)
        return text

    return clean


def has_html(text: str) -> bool:
    """Does the text hold HTML tags, comments or character entities."""
    if "<" in text and (_TAG.search(text) or next(_dropped(text), None)):
        return True
    return "&" in text and any(_is_entity(match[0]) for match in _ENTITY.finditer(text))


def _is_entity(word: str) -> bool:
    return word[1] == "#" or word[1:] in html5


def strip_html(text: str) -> str:
    """The text without tags, comments, scripts and styles, however long, and with entities as characters.

    A tag of a block leaves a space. Escaped tags ("&lt;b&gt;") become visible text, they are not stripped in turn.
    """
    if "<" in text:
        text = _TAG.sub(lambda match: " " if match[1].lower() in _BLOCK_NAMES else "", _without_dropped(text))
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]) if _is_entity(match[0]) else match[0], text)
    return text


def _without_dropped(text: str) -> str:
    parts, place = [], 0
    for start, stop in _dropped(text):
        parts += [text[place:start], " "]
        place = stop
    return "".join([*parts, text[place:]])


def _dropped(text: str) -> Iterator[tuple[int, int]]:
    """Where comments, document types, scripts and styles stand. One that never ends is none, and no later one of its kind ends."""
    place, endless = 0, set[str]()
    while opened := _OPENED.search(text, place):
        place = opened.end()
        if opened[0][:2] == "<!" and opened[0] != "<!--":
            yield opened.span()
            continue
        kind = (opened["name"] or "").lower()
        closed = None if kind in endless else _CLOSED[kind].search(text, place)
        if closed is None:
            endless.add(kind)
            continue
        place = closed.end()
        yield opened.start(), place


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


def stopword_pattern(english: Sequence[str]) -> re.Pattern[str]:
    """What finds these English words, and Chinese particles."""
    words = "|".join(map(re.escape, sorted(english, key=lambda word: (-len(word), word))))
    first = rf"(?<![\w'])(?:{words})(?![\w'])\s?|" if words else ""
    return re.compile(f"{first}{_CHINESE_DE}|{'|'.join(_CHINESE_STOPWORDS)}", re.IGNORECASE)


def remove_stopwords(text: str, pattern: re.Pattern[str]) -> str:
    """The text without the words that ``pattern`` finds (:func:`stopword_pattern`).

    It helps bags of words; models that read word order, as every transformer does, are mostly hurt by it.
    """
    return pattern.sub("", text).strip()
