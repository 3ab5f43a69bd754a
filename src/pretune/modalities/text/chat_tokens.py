"""A rendered conversation as token ids; also used by exported models (tokenizers alone).

What people type is text: where it spells a control token, the texts are cut apart from the marks around them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ChatTokens", "Parts", "Turns", "fitted_prompt", "parts_by_gaps", "shorter"]

Turns: TypeAlias = Sequence[Mapping[str, str]]
Parts: TypeAlias = Sequence[tuple[str, int]]
"""A rendered conversation: each text, and the turn whose text it is (-1: the template's own)."""

OUTSIDE = ""
"""In place of a role: what stands before the first turn, and behind the last."""


class ChatTokens:
    """Parts to ids, by the tokenizer of this ``tokenizer.json``. ``marks`` are its control tokens with their ids."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        told = {
            **told,
            "post_processor": None,
            "truncation": None,
            "padding": None,
        }  # a processor would cut the spaces off places
        self.marks = {one["content"]: one["id"] for one in told["added_tokens"] if one["special"]}
        self.spelled = re.compile("|".join(map(re.escape, sorted(self.marks, key=len, reverse=True))) or "(?!)")
        self.whole, self._apart = _tokenizer(told), _tokenizer(told)
        self._apart.encode_special_tokens = True

    def tokens(self, parts: Parts) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of the whole, and the place of each."""
        if not any(owner >= 0 and self.spelled.search(text) for text, owner in parts):
            one = self.whole.encode("".join(text for text, _ in parts), add_special_tokens=False)
            return list(one.ids), list(one.offsets)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for text, at, mark in self._runs(parts):
            if mark is not None:
                ids.append(mark)
                spans.append((at, at + len(text)))
            elif text:
                one = self._apart.encode(text, add_special_tokens=False)
                ids += one.ids
                spans += [(at + start, at + stop) for start, stop in one.offsets]
        return ids, spans

    def _runs(self, parts: Parts) -> list[tuple[str, int, int | None]]:
        """The whole as texts and marks of the template, each with its place; texts between two marks are one."""
        runs: list[tuple[str, int, int | None]] = []
        held, held_at, at = "", 0, 0
        for text, owner in parts:
            done = 0
            for found in self.spelled.finditer(text) if owner < 0 else ():
                runs += [(held + text[done : found.start()], held_at, None), (found[0], at + found.start(), self.marks[found[0]])]  # fmt: skip
                done = found.end()
                held, held_at = "", at + done
            held += text[done:]
            at += len(text)
        return [*runs, (held, held_at, None)]


def _tokenizer(told: Mapping[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(told))


def parts_by_gaps(turns: Turns, gaps: Mapping[str, Mapping[str, str]], change: Callable[[str], str]) -> Parts:
    """A conversation that is to be answered, rendered without its template: ``gaps`` are the template's own texts by the role of the turn
    before and of the one behind. Raises :class:`ValueError` for roles that it does not know.
    """
    before, parts = OUTSIDE, []
    for place, turn in enumerate(turns):
        parts += [(_gap(gaps, before, turn["role"]), -1), (change(turn["content"]), place)]
        before = turn["role"]
    return [*parts, (_gap(gaps, before, OUTSIDE), -1)]


def _gap(gaps: Mapping[str, Mapping[str, str]], before: str, behind: str) -> str:
    if behind not in gaps.get(before, {}):
        where = f"behind one of {before}" if before else "as the first"
        raise ValueError(f"has a turn of {behind} {where}, which the chat template of the model does not take")
    return gaps[before][behind]


def shorter(turns: Turns, *, tail: int) -> list[Turns]:
    """The conversation without its first exchange, its first two, ..., at last without the system's turn; the last ``tail`` turns stay."""
    system = [turn for turn in turns[:1] if turn["role"] == "system"]
    spoken = list(turns[len(system) :])
    found: list[Turns] = [[*system, *spoken[at:]] for at in range(2, len(spoken) - tail + 1, 2)]
    return [*found, spoken[-tail:]] if system else found


def fitted_prompt(
    turns: Turns, cut: Callable[[Turns], Sequence[int]], most: int, room: int
) -> tuple[Sequence[int], int]:
    """The ids that ``cut`` makes of a conversation with ``room`` for so many tokens behind them in a context of ``most``, and how many of its
    turns are left out for that. The last turn alone may still leave none.
    """
    room = max(1, min(room, most // 4))
    ids, before = cut(turns), len(turns)
    for fewer in shorter(turns, tail=1):
        if len(ids) + room <= most:
            break
        turns, ids = fewer, cut(fewer)
    return ids, before - len(turns)
