"""Chatterbot's corpus files: YAML with a list ``conversations``, each a list of texts by turns.

Every scalar is read as the text it is written as ("Yes" is no truth value, "42" no number), and nothing else is made of a file:
no objects, no aliases (a few of them can stand for gigabytes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pretune.data.archives.streams import Entry
from pretune.data.dialogue.columns import TURN_COLUMNS, conversation_cells
from pretune.data.dialogue.turns import Turn, Unusable, conversation_of
from pretune.data.formats.base import Chunk, Table
from pretune.data.text.encodings import open_text
from pretune.errors import DataError

__all__ = ["CHAT_SUFFIXES", "chat_table", "is_chat"]

CHAT_SUFFIXES = (".yml", ".yaml")
_MOST_BYTES, _HEAD_BYTES, _ROWS = 64 * 2**20, 8192, 2_000
_LIST = re.compile(rb"^(?:\xef\xbb\xbf)?conversations\s*:\s*(?:#.*)?\r?$", re.MULTILINE)


def is_chat(entry: Entry) -> bool:
    """Is a YAML file one of conversations, by its first lines?"""
    if entry.suffix not in CHAT_SUFFIXES:
        return False
    with entry.open() as stream:
        return _LIST.search(stream.read(_HEAD_BYTES)) is not None


def chat_table(entry: Entry, encoding: str) -> Table:
    """The conversations of a file. Raises :class:`DataError` for one that is none."""
    if entry.size > _MOST_BYTES:
        raise DataError(f"{entry.name} has more than {_MOST_BYTES // 2**20} MiB of YAML", "write it as JSON lines of messages")  # fmt: skip
    with open_text(entry.open(), encoding) as text:
        document = _loaded(text.read(), entry.name)
    told = document.get("conversations") if isinstance(document, Mapping) else None
    if not isinstance(told, list) or not told:
        raise DataError(f"{entry.name} has no list of conversations", "chatterbot reads `conversations:`, each a list of texts by turns")  # fmt: skip
    rows, cut = zip(*map(_conversation, told), strict=True)
    notes = [f"{entry.name}: {sum(cut)} of {len(told)} conversations end in a turn that nobody answers, which was left out."] if any(cut) else []  # fmt: skip

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(rows), _ROWS):
            cells = conversation_cells(rows[start : start + _ROWS])
            numbers = range(start + 1, start + 1 + len(cells["text"]))
            yield Chunk(numbers, lambda name, cells=cells: cells[name])

    facts = {"format": "chatterbot YAML", "conversations": "turns"}
    return Table(TURN_COLUMNS, True, chunks(), facts, roles={name: name for name in TURN_COLUMNS}, notes=notes)


def _conversation(cell: Any) -> tuple[list[Turn] | Unusable, bool]:
    """The turns of a conversation, and whether a last one without an answer was left out."""
    if isinstance(cell, list):
        cell = [_text(turn) for turn in cell]
    found = conversation_of(cell)
    if isinstance(found, Unusable):
        return found, False
    if len(found) < 2:
        return Unusable("no answer", "has one turn alone"), False
    return (found[:-1], True) if len(found) % 2 else (found, False)


def _text(turn: Any) -> Any:
    """A text with a colon is a mapping to YAML, and was written as a text."""
    if isinstance(turn, Mapping) and all(isinstance(value, str) for value in turn.values()):
        return "\n".join(f"{key}: {value}" for key, value in turn.items())
    return turn


def _loaded(text: str, name: str) -> Any:
    import yaml

    class Plain(yaml.BaseLoader):
        """Texts, lists and mappings alone."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise DataError(f"{name} has a YAML alias (*name)", "write the text out")
            return super().compose_node(parent, index)

    try:
        return Plain(text).get_single_data()
    except yaml.YAMLError as error:
        raise DataError(f"{name} is no YAML: {' '.join(str(error).split())[:200]}", "mend the file") from None
    except RecursionError:
        raise DataError(f"{name} is nested too deeply", "conversations are lists of lists of texts") from None
