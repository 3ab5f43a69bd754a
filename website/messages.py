"""Every error and what to do about it, read off the code: the page that people search when a message stops them."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from pretune import errors

__all__ = ["Message", "messages_in", "messages_page"]

_KINDS = {
    name: (kind.__doc__ or "").split("\n")[0].rstrip(".")
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PretuneError)
}
_GAP = "…"


class Message(NamedTuple):
    """``problem`` and ``remedy`` as they are written, with ``…`` for what is filled in; ``kind`` is the class of the error."""

    kind: str
    problem: str
    remedy: str


def messages_in(source: Path) -> list[Message]:
    """The errors that the code below ``source`` can raise with a text of its own, each once, in the order of their words."""
    found = {
        message
        for path in sorted(source.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (message := _message_of(node)) is not None
    }
    return sorted(found, key=lambda message: (message.problem.lstrip(f"{_GAP} -").casefold(), message))


def _message_of(call: ast.Call) -> Message | None:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in _KINDS or len(call.args) < 2:
        return None
    problem, remedy = (_text(part) for part in call.args[:2])
    return Message(name, problem, remedy) if problem.strip(f"{_GAP} ") else None


def _text(node: ast.expr) -> str:
    """A string as it is written; what stands in braces, and all that is no string, is a gap."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return _GAP


def messages_page(source: Path) -> str:
    """A table for each kind of error."""
    by_kind: dict[str, list[Message]] = defaultdict(list)
    for message in messages_in(source):
        by_kind[message.kind].append(message)
    parts = [
        "# Messages, and what to do\n",
        "Every error says what was given, what is allowed and what to type next. Here they stand together, to be searched: "
        f"`{_GAP}` is what your own message has in that place. A message that is not here, or a traceback, is a defect.\n",
    ]
    for kind, messages in sorted(by_kind.items()):
        rows = [f"| {_cell(one.problem)} | {_cell(one.remedy)} |" for one in messages]
        parts.append(f"## {kind}\n\n{_KINDS[kind]}.\n\n| message | what to do |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return plain.replace("*", r"\*").replace("_", r"\_").replace("[", r"\[")
