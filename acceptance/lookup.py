"""One field of a command's JSON, by a path: ``scores.accuracy``, ``variants[name=small].latency.1.all.p50_ms``."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["NotThere", "look_up"]

_PART = re.compile(r"\[([^\]]+)\]|([^.\[\]]+)")


class NotThere(Exception):
    """The JSON has no such field; the message says what stands where it was looked for."""


def look_up(found: Any, path: str) -> Any:
    """The field at ``path``: names and positions joined by dots; ``[a=b&c=d]`` is the one element of a list with these values.

    ``#`` at the end is the number of elements. Raises :class:`NotThere`.
    """
    for choice, name in _PART.findall(path):
        found = _chosen(found, choice, path) if choice else _named(found, name, path)
    return found


def _named(found: Any, name: str, path: str) -> Any:
    if name == "#" and isinstance(found, (list, dict)):
        return len(found)
    if isinstance(found, dict) and name in found:
        return found[name]
    if isinstance(found, list) and name.isdigit() and int(name) < len(found):
        return found[int(name)]
    there = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
    raise NotThere(f"{path}: no {name!r} in {there}")


def _chosen(found: Any, choice: str, path: str) -> Any:
    wanted = dict(pair.split("=", 1) for pair in choice.split("&"))
    same = [
        one for one in found if isinstance(one, dict) and all(str(one.get(key)) == value for key, value in wanted.items())
    ]  # fmt: skip
    if len(same) != 1:
        raise NotThere(f"{path}: {len(same)} elements have {choice}")
    return same[0]
