"""The names inside archives, which often carry no mark of their encoding: one decision for all names of an archive."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["decode_names", "name_parts"]

_CHINESE_SHARE = 0.7


def decode_names(raw: Sequence[bytes], given: str | None, fallback: str) -> tuple[list[str], str | None]:
    """The names as text, and the encoding they were read in where some are not ASCII (None otherwise).

    UTF-8 where all are valid; else ``given`` (``--encoding``), where all are valid in it; else GB18030, the one that Windows
    writes in China, where the characters it gives are common ones; else ``fallback``, which must know every byte.
    """
    if all(name.isascii() for name in raw):
        return [name.decode("ascii") for name in raw], None
    for encoding in ("utf-8", *([given] if given else []), "gb18030"):
        try:
            names = [name.decode(encoding) for name in raw]
        except (UnicodeDecodeError, LookupError):
            continue
        if encoding != "gb18030" or encoding == given or _common_chinese(raw):
            return names, encoding
    return [name.decode(fallback, "replace") for name in raw], fallback


def _common_chinese(raw: Sequence[bytes]) -> bool:
    """Whether most characters beyond ASCII are in the first level of GB 2312: accented Latin letters never are."""
    beyond = [character.encode("gb18030") for name in raw for character in name.decode("gb18030") if character > "\x7f"]
    common = sum(len(pair) == 2 and 0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1 for pair in beyond)
    return common >= _CHINESE_SHARE * len(beyond)


def name_parts(name: str) -> tuple[str, ...] | None:
    """The folders and the file of a member's name, None for a name that leads out of the archive.

    ``./`` in front says nothing; programs of Windows write backslashes.
    """
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or ".." in parts or (parts and ":" in parts[0]) or "\0" in plain:
        return None
    return tuple(parts)
