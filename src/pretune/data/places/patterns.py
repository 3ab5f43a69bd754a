"""Patterns of paths, as a shell expands them."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from pretune.data.remote.addresses import is_address
from pretune.errors import DataError

__all__ = ["expanded"]

_MARKS = frozenset("*?[")


def expanded(given: str) -> list[str]:
    """The paths that a pattern matches (``news/*.csv``, ``**`` for any folders), in order; what is no pattern, or is there
    under this name, is itself, and an address the copy of what lies there. Raises :class:`DataError` where nothing matches.
    """
    if is_address(given):
        from pretune.data.remote.copies import copied

        return copied(given)
    if not _MARKS & set(given) or os.path.lexists(Path(given).expanduser()):
        return [given]
    found = sorted(glob.glob(str(Path(given).expanduser()), recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if found:
        return found
    folder = Path(given).expanduser().parent
    names = sorted(path.name for path in folder.iterdir())[:20] if folder.is_dir() else []
    raise DataError(
        f"no file matches {given!r}", f"in {folder}: {', '.join(names) or 'nothing'}" if folder.is_dir() else f"{folder} is no folder"
    )  # fmt: skip
