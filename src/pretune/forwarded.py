"""What a person may forward (pages, model cards, passports) tells nothing of the machine it was made on.

A place that was named by its whole path, or from a folder above, is shown by its last part; a path as it was given below the
folder of work stays. Whole paths, which make a run again, stay in ``run.json`` and the other records of a run's folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["Places", "has_secrets", "places_in", "shown_place", "without_secrets"]

_NAMING = frozenset(
    {"a", "b", "command", "commands", "data", "out", "parents", "place", "run", "runs", "seed_runs", "settings", "steps"}
)  # fmt: skip
"""Keys of records below which places are named."""
_PATTERNS = frozenset({"group_from"})
"""Settings whose text may look like a path and is none."""
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+://)(?P<user>[^\s/?#@]*@)?(?P<rest>[^\s?'\"]*)(?P<query>\?[^\s'\"]*)?"
)
_SECRET = re.compile(r"[?&;][^=&;]*(sig|token|secret|passw|pwd|credential|key|auth)[^=&;]*=", re.I)
"""A question in an address by whose words something is given to nobody else: a signature of S3, Google or Azure, a key, a token."""
_NO_PART = r"(?![\w-])"


def shown_place(place: str) -> str:
    """A place as others may read it: as it was given below the folder of work, otherwise its last part."""
    return _last_part(place) if _is_told(place) else without_secrets(place)


def without_secrets(text: str) -> str:
    """The text, without passwords and signatures of the addresses in it."""
    return _ADDRESS.sub(_bare, text)


def has_secrets(text: str) -> bool:
    """Is it an address with a password or a signature in it?"""
    match = _ADDRESS.fullmatch(text)
    return match is not None and _bare(match) != text


def _bare(match: re.Match[str]) -> str:
    query, user = match["query"] or "", match["user"] or ""
    if not match["scheme"].startswith("abfs") or ":" in user:  # Azure writes CONTAINER@ACCOUNT
        user = "...@" if user else ""
    query = "?..." if _SECRET.search(query) else query
    return f"{match['scheme']}{user}{match['rest']}{query}"


def _last_part(place: str) -> str:
    pure = PureWindowsPath(place) if PureWindowsPath(place).drive else PurePosixPath(place.rstrip("/\\"))
    return "." if pure.name in ("", "..", "~") else pure.name


def _is_told(place: str) -> bool:
    """Does it say where it lies on this machine?"""
    if PureWindowsPath(place).drive:
        return PureWindowsPath(place).is_absolute()
    return place.startswith(("/", "~", "../")) and place.strip("/") != ""


class Places:
    """Places of this machine, each with what is shown in its stead."""

    def __init__(self, places: Iterator[str]) -> None:
        self._shown = {place.rstrip("/"): shown_place(place) for place in places}
        home = str(Path.home())
        if home != "/":
            self._shown.setdefault(home, "~")
        longest_first = sorted(self._shown, key=lambda place: (-len(place), place))
        self._found = re.compile(rf"(?<![\w./~-])(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'}){_NO_PART}")

    def shown(self, value: Any) -> Any:
        """The same JSON value with its texts as others may read them."""
        if isinstance(value, str):
            return self._found.sub(lambda found: self._shown[found[0]], value)
        if isinstance(value, Mapping):
            return {key: self.shown(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.shown(item) for item in value]
        return value


def places_in(*records: Any) -> Places:
    """The places that these records (``run.json``, ``data.json``, ...) name where they name places."""
    return Places(place for record in records for place in _named(record, within=False))


def _named(value: Any, *, within: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _PATTERNS:
                yield from _named(item, within=within or key in _NAMING)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item, within=within)
    elif within and isinstance(value, str):
        yield from filter(_is_told, {value, *_parts(value)})


def _parts(text: str) -> Iterator[str]:
    """What may be a place in a command or in an option as text: ``data=/home/me/news.csv,column=label=kind``."""
    if "/" not in text and "\\" not in text:
        return
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for word in words:
        yield word
        for part in word.split(","):
            yield from part.split("=")
