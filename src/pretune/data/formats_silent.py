"""Files whose names say nothing of what they hold (``TREC.train.all``, ``cooking``): texts and tables are told by their bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pretune.data.archive import Entry
from pretune.data.formats_place import SPLIT_BY_WORD

__all__ = ["holds_tokens", "is_silent_text"]

_SILENT = frozenset((*SPLIT_BY_WORD, "", "all", "data", "dat", "raw", "lines", "corpus", "labeled", "labelled", "full"))
_SPEAKING_NAMES = re.compile(
    r"makefile|dockerfile|gemfile|requirements|setup|manifest|todo|version|contributing|codeowners|checksums?"
    r"|.*(label|vocab|dict|class|index|list|names).*",
    re.IGNORECASE,
)
"""Names of files that are no rows: of programs, or that say what other files mean."""
_HEAD_BYTES = 2**13
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TAG = re.compile(r"O|[BIESLU]-\S+")


def is_silent_text(entry: Entry) -> bool:
    """Whether the suffix of a file says nothing (or there is none, or a number) and it begins as a text does."""
    name = PurePosixPath(entry.inner)
    suffix = name.suffix[1:].lower()
    if not (suffix in _SILENT or suffix.isdigit()) or _SPEAKING_NAMES.fullmatch(name.stem) or not entry.size:
        return False
    with entry.open() as stream:
        head = stream.read(_HEAD_BYTES)
    return bool(head.strip()) and (head.startswith(_WIDE) or _CONTROL.search(head) is None)


def holds_tokens(sample: Sequence[str]) -> bool:
    """Whether lines hold one token each, with its tag behind it (CoNLL): the same number of words a line, blank lines between."""
    lines = [line.split() for line in sample]
    filled = [line for line in lines if line]
    if len(filled) < 10 or len(filled) > 0.99 * len(lines):
        return False
    tags = sum(len(line) == len(filled[0]) and bool(_TAG.fullmatch(line[-1])) for line in filled)
    return len(filled[0]) >= 2 and tags >= 0.95 * len(filled)
