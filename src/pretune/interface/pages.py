"""What ``-h`` and ``--help`` show of a verb: which options, and lines that fit a terminal."""

from __future__ import annotations

import dataclasses
import re
import shutil
from typing import Any

from pretune.config import DataSettings
from pretune.interface.declare import is_required
from pretune.interface.language import Translate, english
from pretune.interface.wrapping import filled
from pretune.options import Settings, flag_of, name_of, value_type

__all__ = ["PLACES", "WIDTH", "flowed", "is_common", "metavar_of", "usage_of", "width"]

WIDTH = 80
PLACES = ("A", "B", "BACKBONE", "FILE", "FOLDER", "RECIPE", "RUN")
"""What options are called that take a path, as text or in Python as a ``Path``."""
_FEW = 14
"""A verb with no more options than these shows all of them."""
_COMMON = frozenset(
    {
        "data", "column", "task", "objective", "adapt", "epochs", "minutes", "batch_size", "learning_rate", "augment", "split", "method",
        "ratio", "student", "unlabelled", "vocabulary", "arms", "budgets", "tasks", "prompt", "row", "label", "seeds", "resamples", "port",
        "strict", "chat", "out", "overwrite", "dry_run", "rows", "by", "filled", "simulate",
    }
)  # fmt: skip
"""What most people give; the rest is on the whole page."""
_NOT_HERE = (DataSettings.__dataclass_fields__["unlabelled"],)
"""Declared for every verb that reads data, and common only where a verb declares its own."""


_COMMAND = re.compile(r"(?:pretune|python|curl|echo|cat|[A-Z_]+=\S+) ")
_WORD = r"""(?:[^\s"']|"[^"]*"|'[^']*')+"""
_PIECE = re.compile(rf"--?[a-zA-Z]\S*(?: (?!-){_WORD})?|{_WORD}")
"""A word of a command, or an option with its value."""


def is_common(cls: type[Settings], spec: dataclasses.Field[Any]) -> bool:
    """Does ``-h`` show it? Places and what is required always."""
    few = len(dataclasses.fields(cls)) <= _FEW
    return (
        few
        or is_required(spec)
        or bool(spec.metadata.get("positional"))
        or (spec.name in _COMMON and spec not in _NOT_HERE)
    )


def metavar_of(spec: dataclasses.Field[Any]) -> str:
    """What stands for the value of an option."""
    if spec.metadata.get("metavar"):
        return spec.metadata["metavar"]
    if spec.metadata.get("positional"):
        return name_of(spec)
    return "WORD" if "str" in str(spec.type) else "NUMBER"


def usage_of(cls: type[Settings]) -> str:
    """The line of usage: places and what must be given, the rest as ``[options]``."""
    words = ["pretune", cls.verb]
    for spec in sorted(dataclasses.fields(cls), key=lambda spec: not spec.metadata.get("positional")):
        if spec.metadata.get("positional"):
            name = metavar_of(spec) + (" ..." if value_type(cls, spec.name)[1] else "")
            words.append(name if is_required(spec) else f"[{name}]")
        elif is_required(spec) or (spec.name == "data" and issubclass(cls, DataSettings)):
            words.append(f"{flag_of(spec.name)} {metavar_of(spec)}")
    return " ".join([*words, "[options]"])


def width() -> int:
    """Columns to fill: those of the terminal, 80 at most."""
    return max(40, min(WIDTH, shutil.get_terminal_size().columns))


def flowed(text: str, columns: int, translate: Translate = english) -> str:
    """Paragraphs filled to so many columns; what is indented is code: kept, a long command going on after a backslash."""
    parts = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(
        _code(part, columns) if part.startswith(" ") else filled(translate(" ".join(part.split())), columns)
        for part in parts
        if part
    )


def _code(part: str, columns: int) -> str:
    return "\n".join(_continued(line, columns) for line in part.split("\n"))


def _continued(line: str, columns: int) -> str:
    """A line of a shell as several, broken between its words."""
    if len(line) <= columns or not _COMMAND.match(line.strip()):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    lines, current = [], ""
    for word in _PIECE.findall(line):
        if current and len(indent) + len(current) + len(word) + 3 > columns:
            lines.append(f"{indent}{current} \\")
            indent, current = f"{indent}    " if len(lines) == 1 else indent, word
        else:
            current = f"{current} {word}".lstrip()
    return "\n".join([*lines, f"{indent}{current}"])
