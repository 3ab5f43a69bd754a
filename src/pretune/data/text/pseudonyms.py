"""Pseudonyms of personal data: the same value gets the same one, by a hash that takes a key. The same file works beside an exported model.

It needs nothing but Python's own library. What the key protects against, and what not: docs/decisions.md, D241.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from pathlib import Path

__all__ = ["KEY_BYTES", "KEY_FILE", "key_place", "name_of_key", "pseudonym", "read_key"]

KEY_FILE = "PRETUNE_PSEUDONYM_KEY"
"""What of the environment names the file with the key."""
KEY_BYTES = 32
_LETTERS = 8
_SPELLING = re.compile(r"[\s().-]+")


def key_place() -> Path:
    """Where the key lies: ``$PRETUNE_PSEUDONYM_KEY``, else ``~/.config/pretune/pseudonyms.key``."""
    told = os.environ.get(KEY_FILE)
    return Path(told) if told else Path.home() / ".config" / "pretune" / "pseudonyms.key"


def read_key(name: str = "") -> bytes:
    """The key, which its file holds as hexadecimal digits. ``name``: what it must be called, where a model learned with it.

    Raises :class:`ValueError` for a file that is not there or holds no such key.
    """
    place = key_place()
    try:
        key = bytes.fromhex(place.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise ValueError(f"the key {name} of the pseudonyms should lie in {place}, and there is no such file") from None
    except OSError as error:
        raise ValueError(f"the key of the pseudonyms in {place} cannot be read: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise ValueError(f"{place} holds no key of pseudonyms, which is {2 * KEY_BYTES} hexadecimal digits")
    if name not in ("", found := name_of_key(key)):
        raise ValueError(f"the pseudonyms were made with the key {name}, and {place} holds the key {found}")
    return key


def name_of_key(key: bytes) -> str:
    """What a key is called in records: it tells two keys apart, and nothing of either."""
    return hashlib.sha256(b"name of a key of pretune" + key).hexdigest()[:_LETTERS]


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """Eight letters for a value: the same for the same one, however it is spelled (case, blanks, dashes, brackets).

    HMAC-SHA256 (RFC 2104). Of 9,000 values two share their letters in one case of a hundred.
    """
    plain = value.strip().lower() if kind == "email" else _SPELLING.sub("", value.lower())
    return hmac.new(key, f"{kind} {plain}".encode(), hashlib.sha256).hexdigest()[:_LETTERS]
