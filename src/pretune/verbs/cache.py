"""``pretune cache``: what is kept between runs, and how it is made less."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pretune.cache import KINDS, Entry, clean, entries, limit_bytes
from pretune.errors import UsageError
from pretune.files import cache_dir
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.report.words import bytes_text, duration_text
from pretune.wording import counted

__all__ = ["CacheSettings", "cache"]

_DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class CacheSettings(Settings):
    """Settings of ``pretune cache``."""

    verb: ClassVar[str] = "cache"

    clear: bool = option(False, "remove every entry that no running process reads")
    older_than: float | None = option(None, "remove entries that were not used for so many days", low=0.0)
    keep: float | None = option(None, "remove entries, unused for longest first, until so many GB are left", low=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clear and (self.older_than, self.keep) != (None, None):
            raise UsageError("--clear removes all, --older-than and --keep a part", "give one or the other")

    @property
    def removes(self) -> bool:
        """Was anything asked to go?"""
        return self.clear or self.older_than is not None or self.keep is not None


@verb(CacheSettings)
def cache(settings: CacheSettings, *, say: Say) -> Outcome:
    """Show what is kept to save work (data as read, decoded pictures, outputs of frozen layers), and remove what is not needed.

    The folder is $PRETUNE_CACHE, or ~/.cache/pretune. All in it is made again when it is wanted. It holds at most
    $PRETUNE_CACHE_GB (20): when something new is kept, entries unused for longest go. What a running process reads stays.

    Examples::

        pretune cache
        pretune cache --older-than 30
        pretune cache --keep 5
        pretune cache --clear
    """
    limit = limit_bytes()
    removed = _removed(settings) if settings.removes else []
    left = entries()
    facts = {
        "place": str(cache_dir()),
        "bytes": _size(left),
        "limit_bytes": limit,
        "entries": len(left),
        "in_use": sum(entry.in_use for entry in left),
        "kinds": {kind: _of_kind(found) for kind, found in _by_kind(left).items()},
        "removed": {"entries": len(removed), "bytes": _size(removed)} if settings.removes else None,
    }
    return Outcome(text="\n".join(_lines(facts)), facts=facts)


def _removed(settings: CacheSettings) -> list[Entry]:
    if settings.clear:
        return clean(before=math.inf)
    before = -math.inf if settings.older_than is None else time.time() - settings.older_than * _DAY
    return clean(keep_bytes=math.inf if settings.keep is None else settings.keep * 1e9, before=before)


def _size(found: Sequence[Entry]) -> int:
    return sum(entry.bytes for entry in found)


def _by_kind(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    kinds = {kind: [entry for entry in found if entry.kind == kind] for kind in KINDS}
    return {kind: entries for kind, entries in kinds.items() if entries}


def _of_kind(found: Sequence[Entry]) -> dict[str, Any]:
    return {
        "entries": len(found),
        "bytes": _size(found),
        "in_use": sum(entry.in_use for entry in found),
        "last_used": max(entry.used for entry in found),
    }


def _lines(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    if facts["removed"]:
        what = counted(facts["removed"]["entries"], "entry", "entries")
        lines += [f"removed {what}, {bytes_text(facts['removed']['bytes'])}"]
    what = counted(facts["entries"], "entry", "entries")
    limit = f"at most {bytes_text(facts['limit_bytes'])}: PRETUNE_CACHE_GB changes that"
    lines += [f"{facts['place']}: {what}, {bytes_text(facts['bytes'])} ({limit})"]
    lines += [_kind_line(kind, found) for kind, found in facts["kinds"].items()]
    if facts["in_use"]:
        lines += [f"{counted(facts['in_use'], 'entry', 'entries')} in use by running processes: they stay"]
    return lines


def _kind_line(kind: str, found: Mapping[str, Any]) -> str:
    ago = duration_text(max(0.0, time.time() - found["last_used"]))
    if time.time() - found["last_used"] >= _DAY:
        ago = counted(int((time.time() - found["last_used"]) // _DAY), "day")
    return f"  {kind:<9} {found['entries']:>5,}  {bytes_text(found['bytes']):>9}  last used {ago} ago  ({KINDS[kind]})"
