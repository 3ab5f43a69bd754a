"""Tables of conversations, found by looking: messages and sharegpt, alpaca's instructions, a question and its answer.

Their columns become three: ``turns`` (all that stands before the last answer), ``text`` (the same as one text, by which rows are told
apart, split and compared) and ``target`` (the answer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from pretune.data.columns.looks import look_at
from pretune.data.columns.names import is_label_name, plain_name
from pretune.data.columns.roles import ANSWER_ROLES
from pretune.data.dialogue.turns import (
    ASSISTANT,
    SYSTEM,
    USER,
    Turn,
    Unusable,
    conversation_of,
    holds_turns,
    text_in,
    without_answer,
)
from pretune.data.formats.base import ABSENT, Chunk, Table

__all__ = ["TURN_COLUMNS", "conversation_cells", "join_turns", "sound_turns"]

TURN_COLUMNS = ("text", "target", "turns")
_MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "对话")
_INSTRUCTION, _MORE = ("instruction", "指令"), ("input", "context", "输入")
_OUTPUT = ("output", "response", "answer", "completion", "输出", "回答")
_PAIRS = (
    ("question", "answer"), ("question", "response"), ("prompt", "response"), ("prompt", "completion"), ("prompt", "answer"),
    ("query", "response"), ("query", "answer"), ("user", "assistant"), ("问题", "答案"), ("问题", "回答"), ("问", "答"),
)  # fmt: skip
_PASSAGES = ("context", "passage", "paragraph", "document", "sentence", "choices", "options", "answer_start", "上下文")
_SEEN, _FEW = 200, 6

Reader = Callable[[Mapping[str, Any]], "list[Turn] | Unusable"]
"""From the cells of a row by column to its turns."""


def join_turns(table: Table, told: Mapping[str, str]) -> Table:
    """The table with the three columns of a conversation in place of its own, where it holds such; others as they are, and where a
    person ``told`` which column is the text or an answer.
    """
    if not table.named or table.roles or any(told.get(role) for role in ("text", "text_pair", *ANSWER_ROLES)):
        return table
    named = {plain_name(column): column for column in reversed(table.columns)}
    if not {*_MESSAGES, *_INSTRUCTION, *(question for question, _ in _PAIRS)} & named.keys():
        return table
    first = next(table.chunks, None)
    if first is None:
        return table
    table = replace(table, chunks=chain([first], table.chunks))
    found = _messages(named, first) or _instructions(named, first) or _questions(named, first)
    if found is None:
        return table
    format_name, used, read = found
    return _joined(table, format_name, used, read)


def _joined(table: Table, format_name: str, used: Sequence[str], read: Reader) -> Table:
    def chunks() -> Iterator[Chunk]:
        for chunk in table.chunks:
            columns = {column: chunk.column(column) for column in used}
            rows = [read({column: cells[place] for column, cells in columns.items()}) for place in range(len(chunk.numbers))]  # fmt: skip
            made = conversation_cells(rows)
            yield Chunk(chunk.numbers, lambda name, made=made, chunk=chunk: made[name] if name in made else chunk.column(name))  # fmt: skip

    rest = (column for column in table.columns if column not in (*used, *TURN_COLUMNS))
    return replace(
        table, columns=(*TURN_COLUMNS, *rest), chunks=chunks(), roles={name: name for name in TURN_COLUMNS},
        facts={**table.facts, "conversations": format_name},
    )  # fmt: skip


def conversation_cells(rows: Sequence[list[Turn] | Unusable]) -> dict[str, list[Any]]:
    """The cells of :data:`TURN_COLUMNS` of these conversations; of one that cannot be used each is what says why."""
    cells: dict[str, list[Any]] = {name: [] for name in TURN_COLUMNS}
    for row in rows:
        if isinstance(row, Unusable):
            values: tuple[Any, ...] = (row, None, row)
        else:
            before, answer = without_answer(row)
            values = ("\n".join(turn["content"] for turn in before), answer, before)
        for name, value in zip(TURN_COLUMNS, values, strict=True):
            cells[name].append(value)
    return cells


def sound_turns(chunk: Chunk, column: str, counts: dict[str, int]) -> Chunk:
    """The rows of a chunk that are conversations; the others are counted by what is wrong with them."""
    keep = []
    for place, cell in enumerate(chunk.column(column)):
        if isinstance(cell, Unusable):
            counts[cell.count] = counts.get(cell.count, 0) + 1
        else:
            keep.append(place)
    if len(keep) == len(chunk.numbers):
        return chunk

    def column_of(name: str) -> list[Any]:
        values = chunk.column(name)
        return [values[place] for place in keep]

    return Chunk([chunk.numbers[place] for place in keep], column_of)


def _messages(named: Mapping[str, str], first: Chunk) -> tuple[str, tuple[str, ...], Reader] | None:
    """A column of turns, with a column ``system`` beside it where there is one."""
    for name in _MESSAGES:
        if name not in named:
            continue
        cells = [cell for cell in first.column(named[name])[:_SEEN] if cell is not None and cell is not ABSENT]
        for is_named in (True, False):
            if cells and 2 * sum(holds_turns(cell, named=is_named) for cell in cells) > len(cells):
                system = named.get("system")
                used = (named[name], *(() if system is None else (system,)))
                return ("messages" if is_named else "turns"), used, _of_messages(named[name], system)
    return None


def _of_messages(column: str, system: str | None) -> Reader:
    def read(row: Mapping[str, Any]) -> list[Turn] | Unusable:
        cell = row[column]
        found = conversation_of(None if cell is ABSENT else cell)
        if isinstance(found, Unusable) or system is None or found[0]["role"] == SYSTEM:
            return found
        said = _text(row, system)
        return found if isinstance(said, Unusable) or not said.strip() else [{"role": SYSTEM, "content": said}, *found]

    return read


def _text(row: Mapping[str, Any], column: str | None) -> str | Unusable:
    """A cell's text, "" where there is none."""
    cell = None if column is None else row[column]
    try:
        return "" if cell is ABSENT else text_in(cell)
    except TypeError as error:
        return Unusable("no text", f"has {error} where the text of {column} is needed")


def _instructions(named: Mapping[str, str], first: Chunk) -> tuple[str, tuple[str, ...], Reader] | None:
    """Alpaca's columns: an instruction, perhaps what it is about, and the answer; system and history (pairs) as LLaMA-Factory has them."""
    instruction, more, output = (
        next((named[name] for name in names if name in named), None) for names in (_INSTRUCTION, _MORE, _OUTPUT)
    )
    if instruction is None or (more is None and output is None):
        return None
    if output is not None and not _are_texts(first, output):
        return None
    used = (instruction, more, output, named.get("system"), named.get("history"))
    names = tuple(column for column in used if column is not None)
    return "alpaca", names, _of_instructions(*used)


def _of_instructions(
    instruction: str, more: str | None, output: str | None, system: str | None, history: str | None
) -> Reader:
    def read(row: Mapping[str, Any]) -> list[Turn] | Unusable:
        texts = [_text(row, column) for column in (instruction, more, output, system)]
        if bad := next((text for text in texts if isinstance(text, Unusable)), None):
            return bad
        asked, about, answer, told = map(str, texts)
        turns: list[Any] = [{"role": SYSTEM, "content": told}] if told.strip() else []
        past = None if history is None else row[history]
        for pair in past if isinstance(past, list) else ():
            both = pair if isinstance(pair, (list, tuple)) else (pair,)
            turns += [{"role": role, "content": text} for role, text in zip((USER, ASSISTANT), both, strict=False)]
        turns.append({"role": USER, "content": "\n\n".join(part for part in (asked, about) if part.strip())})
        return conversation_of([*turns, *([{"role": ASSISTANT, "content": answer}] if answer.strip() else [])])

    return read


def _questions(named: Mapping[str, str], first: Chunk) -> tuple[str, tuple[str, ...], Reader] | None:
    """A column of questions and one of answers, where neither a passage nor a label stands beside them."""
    pair = next((pair for pair in _PAIRS if named.keys() >= {*pair}), None)
    if pair is None or {*_PASSAGES} & named.keys() or any(is_label_name(name) for name in named.keys() - {*pair}):
        return None
    question, answer = (named[name] for name in pair)
    if not _are_texts(first, question) or not _are_texts(first, answer):
        return None
    return "questions", (question, answer), _of_instructions(question, None, answer, None, None)


def _are_texts(first: Chunk, column: str) -> bool:
    """Are the cells texts that differ, and no classes?"""
    cells = [cell for cell in first.column(column)[:_SEEN] if cell not in (None, ABSENT, "")]
    look = look_at("", cells)
    return look.is_text and (not look.is_class or look.rows < _FEW)
