"""Which language help is shown in: Chinese where the reader asks for it, else English as it stands in the code.

Texts are looked up as gettext does it, by what they say in English, and the environment is asked in gettext's order.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from pretune.errors import UsageError, did_you_mean

__all__ = ["CATALOGUE", "CHOICES", "Translate", "asked_language", "english", "of_reader", "translator"]

Translate = Callable[[str], str]
"""A text of help as the reader shall see it; what is filled in stands in braces, by name."""
CHOICES = ("en", "zh")
CATALOGUE = Path(__file__).with_name("zh.po")
_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
_NAMES = {"en": "en", "zh": "zh", "c": "en", "posix": "en"}
"""The language of a locale, by the first part of its name: ``zh_CN.UTF-8``, ``zh-Hans``, ``C``."""


def english(text: str) -> str:
    """The text as it stands in the code."""
    return text


@cache
def translator(language: str) -> Translate:
    """By text, the text in one of :data:`CHOICES`; English where the catalogue has none."""
    if language == "en":
        return english
    from pretune.interface.po import read_po

    texts = read_po(CATALOGUE.read_text(encoding="utf-8"))
    return lambda text: texts.get(text) or text


def asked_language(environment: Mapping[str, str]) -> str:
    """What ``PRETUNE_LANGUAGE`` says, else the first language that ``LANGUAGE`` or the locale names and that there is.

    As in GNU gettext, ``LANGUAGE`` is a list that counts before the locale, and is not looked at where that is plain ``C``.
    Raises :class:`UsageError` for a ``PRETUNE_LANGUAGE`` that there is not.
    """
    if own := environment.get("PRETUNE_LANGUAGE", ""):
        if _language_of(own) is None:
            raise UsageError(f"PRETUNE_LANGUAGE is {own!r}", did_you_mean(own, CHOICES))
        return _language_of(own) or "en"
    locale = next(filter(None, (environment.get(name) for name in _LOCALE)), "")
    listed = "" if locale in ("C", "POSIX") else environment.get("LANGUAGE", "")
    return next(filter(None, map(_language_of, (listed or locale).split(":"))), "en")


def _language_of(locale: str) -> str | None:
    return _NAMES.get(re.split(r"[_.@-]", locale.strip().lower())[0])


def of_reader() -> Translate:
    """The translation that whoever reads standard output asks for; English where their terminal has no letters for another."""
    language = asked_language(os.environ)
    try:
        "中文".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        language = "en"
    return translator(language)
