"""Files whose names say nothing of what they hold (``TREC.train.all``, ``cooking``): texts and tables are told by their bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.places.place import SPLIT_BY_SUFFIX, SPLIT_BY_WORD

__all__ = ["is_silent_text"]

_SILENT = frozenset(
    (
        *SPLIT_BY_WORD,
        *SPLIT_BY_SUFFIX,
        "",
        "all",
        "data",
        "dat",
        "raw",
        "lines",
        "corpus",
        "labeled",
        "labelled",
        "full",
    )
)
_SPEAKING_NAMES = re.compile(
    r"makefile|dockerfile|gemfile|requirements|setup|manifest|todo|version|contributing|codeowners|checksums?"
    r"|.*(label|vocab|dict|class|index|list|names).*",
    re.IGNORECASE,
)
"""Names of files that are no rows: of programs, or that say what other files mean."""
_HEAD_BYTES = 2**13
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_silent_text(entry: Entry) -> bool:
    """Whether the suffix of a file says nothing (or there is none, or a number) and it begins as a text does."""
    name = PurePosixPath(entry.inner)
    suffix = name.suffix[1:].lower()
    if not (suffix in _SILENT or suffix.isdigit()) or _SPEAKING_NAMES.fullmatch(name.stem) or not entry.size:
        return False
    with entry.open() as stream:
        head = stream.read(_HEAD_BYTES)
    return bool(head.strip()) and (head.startswith(_WIDE) or _CONTROL.search(head) is None)
