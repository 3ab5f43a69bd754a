"""Turns of a conversation as people write them, in one shape: an optional system turn, then user and assistant by turns.

Also used by exported models (no library at all). What cannot be a conversation is not mended: it is an :class:`Unusable`, which says why, and is counted where rows are read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ASSISTANT", "SYSTEM", "TURNS_FIX", "USER", "Turn", "Unusable", "conversation_of", "holds_turns", "text_in", "unusable_in", "without_answer"]  # fmt: skip

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
_CALLED = {
    **dict.fromkeys(("user", "human", "prompter", "customer", "question", "用户"), USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai", "agent", "answer", "助手"), ASSISTANT),
    **dict.fromkeys(("system", "developer", "instruction", "系统"), SYSTEM),
}
_ROLE_KEYS, _TEXT_KEYS = ("role", "from", "speaker"), ("content", "value", "text")
_COUNT = "turns: "
_MOST_SHOWN = 40

TURNS_FIX = "a conversation is an optional turn of the system, then user and assistant by turns, none of them empty"

Turn = dict[str, str]
"""``{"role": "system" | "user" | "assistant", "content": ...}``."""


@dataclass(frozen=True)
class Unusable:
    """A cell that is no conversation. ``reason`` is what it is counted under, ``why`` what this row has."""

    reason: str
    why: str

    @property
    def count(self) -> str:
        """The name of its count."""
        return f"{_COUNT}{self.reason}"


class _Bad(Exception):
    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.found = Unusable(reason, why)


def text_in(value: Any) -> str:
    """A turn's text as UTF-8 can hold it: a string, or the texts of a list of parts; "" for nothing. Raises TypeError for anything else."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(part, Mapping) for part in value):
        if not {*_TEXT_KEYS}.issuperset(part.get("type", "text") for part in value):
            raise TypeError("a part that is no text")
        value = "\n".join(str(part.get("text", "")) for part in value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"a {type(value).__name__}")
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def listed(cell: Any) -> list[Any] | None:
    """The turns of a cell as they are written: a list, one written as JSON, or lists side by side ({"role": [...], "content": [...]})."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError, RecursionError):
            cell = json.loads(cell)
    if isinstance(cell, Mapping) and len(lists := [key for key in cell if isinstance(cell[key], list)]) > 1:
        return [dict(zip(lists, values, strict=False)) for values in zip(*(cell[key] for key in lists), strict=False)]
    return list(cell) if isinstance(cell, (list, tuple)) else None


def holds_turns(cell: Any, *, named: bool = True) -> bool:
    """Does a cell hold turns? ``named``: each with a role; else texts by turns."""
    turns = listed(cell)
    if not turns:
        return False
    if not named:
        return all(isinstance(turn, str) for turn in turns)
    return all(isinstance(turn, Mapping) and _key(turn, _ROLE_KEYS) and _key(turn, _TEXT_KEYS) for turn in turns)


def _key(turn: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in turn), None)


def conversation_of(cell: Any) -> list[Turn] | Unusable:
    """The turns of a cell: messages with roles, or texts by turns, of which the first is the user's."""
    turns = listed(cell)
    if turns is None:
        said = "nothing" if cell is None else f"{str(cell)[:_MOST_SHOWN]!r}"
        return Unusable("no list", f"has {said} where a list of turns is needed")
    try:
        read = [_turn(turn, place) for place, turn in enumerate(turns)]
        _check_order(read)
    except _Bad as error:
        return error.found
    return read


def _turn(turn: Any, place: int) -> Turn:
    where = f"turn {place + 1}"
    if isinstance(turn, Mapping):
        role_key, text_key = _key(turn, _ROLE_KEYS), _key(turn, _TEXT_KEYS)
        if role_key is None or text_key is None:
            raise _Bad("no role", f"has no role or no content in {where}")
        told = str(turn[role_key]).strip()
        role, content = _CALLED.get(told.casefold()), turn[text_key]
        if role is None:
            raise _Bad(f"unknown role {told[:_MOST_SHOWN]!r}", f"has the role {told[:_MOST_SHOWN]!r} in {where}, and user, assistant and system are known")  # fmt: skip
    else:
        role, content = (USER, ASSISTANT)[place % 2], turn
    try:
        text = text_in(content)
    except TypeError as error:
        raise _Bad("no text", f"has {error} where the text of {where} ({role}) is needed") from None
    if not text.strip():
        raise _Bad("empty turn", f"has nothing in {where} ({role})")
    return {"role": role, "content": text}


def _check_order(turns: Sequence[Turn]) -> None:
    roles = [turn["role"] for turn in turns]
    spoken = roles[1:] if roles[:1] == [SYSTEM] else roles
    if not spoken:
        raise _Bad("nobody asks", "has no turn of the user")
    if SYSTEM in spoken:
        raise _Bad("system turn inside", "has a system turn that is not the first")
    if spoken[0] == ASSISTANT:
        raise _Bad("begins with an answer", "begins with a turn of the assistant, and answers are learned from what they answer")  # fmt: skip
    for place, (before, role) in enumerate(itertools.pairwise(spoken)):
        if before == role:
            raise _Bad("two turns of one role", f"has two turns of {role} one after the other (turns {len(roles) - len(spoken) + place + 1} and the next)")  # fmt: skip


def without_answer(turns: Sequence[Turn]) -> tuple[list[Turn], str | None]:
    """What is to be answered, and the answer where the last turn is one."""
    if turns[-1]["role"] == ASSISTANT:
        return list(turns[:-1]), turns[-1]["content"]
    return list(turns), None


def unusable_in(counts: Mapping[str, int]) -> dict[str, int]:
    """Rows that are no conversations, by what is wrong with them."""
    return {name.removeprefix(_COUNT): count for name, count in counts.items() if name.startswith(_COUNT) and count}
