"""What the columns of a table hold, and the one place that advises which of them to name."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.data.formats.base import ABSENT, Chunk
from pretune.data.media.kinds import MEDIA_SUFFIXES

__all__ = ["Look", "advised_label", "column_flag", "label_advice", "listed", "look_at", "names_files", "sampled"]

_SAMPLE_ROWS = 2_000
_SHORT = 60
_FILE = re.compile(r"[^\n\t<>|*?\"]{1,400}\.[A-Za-z][A-Za-z0-9]{1,4}")
_ADDRESS = re.compile(r"[^\s@]@[^\s@/\\]+\Z")
_FILE_SHARE, _MOST_SUFFIXES, _TRIED_FILES = 0.6, 8, 50


@dataclass(frozen=True)
class Look:
    """What a sampled column holds: ``rows`` filled cells of ``distinct`` values, ``common`` the first few, commonest first."""

    column: str
    rows: int
    distinct: int
    mean_length: float
    is_class: bool
    is_text: bool
    is_number: bool
    common: tuple[str, ...]

    @property
    def values(self) -> str:
        """Values that it holds: ``java, python and 3 more values`` or ``"def f(x): ..."``."""
        if not self.rows:
            return "empty"
        if not self.is_class:
            return f'"{_short(self.common[0], 40)}"'
        values = [_short(value, 20) for value in self.common[:4]]
        more = f" and {self.distinct - len(values)} more values" if self.distinct > len(values) else ""
        return f"{', '.join(values)}{more}"

    @property
    def shown(self) -> str:
        """The column with values that it holds: ``2 (java, python)``."""
        return f"{self.column} ({self.values})"


def _short(value: str, most: int) -> str:
    plain = " ".join(value.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def sampled(sample: Sequence[Chunk], column: str) -> list[Any]:
    """The first cells of a column."""
    values: list[Any] = []
    for chunk in sample:
        values += chunk.column(column)[: _SAMPLE_ROWS - len(values)]
    return values


def look_at(column: str, values: Sequence[Any]) -> Look:
    """A look at some cells of a column."""
    texts = [str(value) for value in values if value is not None and value is not ABSENT and value != ""]
    counts = Counter(texts)
    mean = sum(map(len, texts)) / max(1, len(texts))
    short = bool(texts) and max(map(len, texts)) <= _SHORT and mean <= 30
    is_class = short and len(counts) <= max(2, min(300, len(texts) // 3)) and len(counts) < len(texts)
    plain = all(value is None or value is ABSENT or isinstance(value, str) for value in values)
    is_number = sum(text.replace(".", "", 1).isdigit() for text in texts) > 0.9 * len(texts)
    common = tuple(sorted(counts, key=lambda text: -counts[text])[:5]) if is_class else tuple(texts[:5])
    return Look(
        column, len(texts), len(counts), mean, is_class, plain and not is_number and bool(texts), is_number, common
    )


def column_flag(role: str, column: str) -> str:
    """What to type: ``--column label=stars``, quoted where the shell asks for it."""
    return f"--column {shlex.quote(f'{role}={column}')}"


def listed(looks: Sequence[Look]) -> str:
    """The columns with values that they hold."""
    return ", ".join(look.shown for look in looks) or "no columns left"


def advised_label(looks: Sequence[Look]) -> Look | None:
    """The most label-like column: its values recur; words before numbers, few values before many. None where none does."""
    classes = [look for look in looks if look.is_class and look.distinct > 1]
    return min(classes, key=lambda look: (look.is_number, look.distinct, -look.rows), default=None)


def label_advice(looks: Sequence[Look]) -> str:
    """What to type about the label, the most label-like column first. The same words wherever a label is asked for."""
    best = advised_label(looks)
    if best is None:
        return f"no column repeats its values as labels do: {listed(looks)}; name one: --column label=NAME (or --column label= for none)"
    others = [look for look in looks if look.is_class and look.distinct > 1 and look is not best]
    further = f"; it may also be {listed(others[:5])}" if others else ""
    return f"name it: {column_flag('label', best.column)} ({best.values}){further} (or --column label= for none)"


def _ends_in_address(text: str) -> bool:
    """Is the last word an e-mail address, and no picture for a sharper screen (``icon@2x.png``)?"""
    return _ADDRESS.search(text) is not None and not text.casefold().endswith(MEDIA_SUFFIXES)


def names_files(values: Sequence[Any], folder: Path | None = None) -> list[str]:
    """Some cells of a column whose cells are names of files, as their suffixes tell, or as such files lie in ``folder``; []
    where they are not.
    """
    filled = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    if folder is not None:
        tried = filled[:_TRIED_FILES]
        there = [name for name in tried if os.path.isfile(folder / name)]  # noqa: PTH113 - Path's raises for long names
        if there and len(there) >= _FILE_SHARE * len(tried):
            return there[:3]
    names = [value for value in filled if _FILE.fullmatch(value) and not _ends_in_address(value)]
    suffixes = {name.rpartition(".")[2].casefold() for name in names}
    return names[:3] if names and len(names) >= _FILE_SHARE * len(filled) and len(suffixes) <= _MOST_SUFFIXES else []
