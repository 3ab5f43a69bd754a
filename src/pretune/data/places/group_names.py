"""Groups that stand in the names of files: clips of one recording, photos of one animal. Found by a person's expression
(``--group-from``), and guessed, so that a person can be warned of what a split tears apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pretune.data.formats.base import ABSENT, Chunk, Options
from pretune.errors import DataError, UsageError

if TYPE_CHECKING:
    from pretune.data.columns.roles import Roles

__all__ = ["GroupNames", "GroupTally", "check_groups_asked", "parse_group_from"]


def check_groups_asked(asked: Mapping[str, str], options: Options) -> None:
    """Raise :class:`UsageError` for an expression that is none, or one beside a column of groups."""
    if options.group_from is None:
        return
    parse_group_from(options.group_from)
    if asked.get("group"):
        raise UsageError(f"--group is {asked['group']!r} and --group-from {options.group_from!r}", "give one of them")


def parse_group_from(given: str) -> re.Pattern[str]:
    """The expression of ``--group-from``. Raises :class:`UsageError` for one that is none."""
    try:
        return re.compile(given)
    except re.error as error:
        raise UsageError(
            f"--group-from {given!r} is no regular expression: {error}",
            r"such as --group-from '^[^_]+' or --group-from '(\d+)-\d+\.wav$'",
        ) from None


class GroupNames:
    """The group of each row, by the name of its file; of texts in a table, by their id."""

    def __init__(self, given: str, roles: Roles, table: str) -> None:
        """Raises :class:`DataError` where rows have no names."""
        self._pattern, self._in_path = parse_group_from(given), "/" in given
        column = roles.media[1] if roles.media is not None else roles.id
        if column is None:
            raise DataError(
                f"--group-from {given!r}: the rows of {table} are not files and have no ids",
                "name a column with --group NAME",
            )
        self._column = column
        self.found = Counter[str]()
        self.example = ""

    def __call__(self, chunk: Chunk) -> list[str | None]:
        """What the expression finds in each name (its first group, if it has one); None where it finds nothing."""
        names = [_name_of(cell) for cell in chunk.column(self._column)]
        groups = [self._group(name) for name in names]
        self.found.update(group for group in groups if group is not None)
        self.example = self.example or names[0]
        return groups

    def _group(self, name: str) -> str | None:
        match = self._pattern.search(name if self._in_path else PurePosixPath(name).name)
        if match is None:
            return None
        return (match[1] if match.re.groups else match[0]) or None


def _name_of(cell: Any) -> str:
    """The name of a file: of an entry, of one held as bytes and path, or as a table has it."""
    if isinstance(cell, Mapping):
        cell = cell.get("path")
    return (
        ""
        if cell is None or cell is ABSENT or isinstance(cell, bytes)
        else str(getattr(cell, "name", cell)).replace("\\", "/")
    )


class GroupTally:
    """What the names of a whole reading gave."""

    def __init__(self) -> None:
        self.found, self.example = Counter[str](), ""

    def update(self, names: GroupNames | None) -> None:
        """Count the groups of one more table."""
        if names is not None:
            self.found.update(names.found)
            self.example = self.example or names.example

    def notes(self, given: str | None) -> list[str]:
        """A sentence on the groups. Raises :class:`DataError` where the expression finds nothing at all."""
        if given is None or not self.example:
            return []
        if not self.found:
            raise DataError(
                f"--group-from {given!r} finds nothing in the names of the files, such as {self.example[-80:]!r}",
                "it is searched for in the file's name without its folders; with a / in it, in the whole path",
            )
        (group, rows), *_ = self.found.most_common(1)
        return [f"--group-from finds {len(self.found)} groups in the names; the largest is {group!r} ({rows} rows)."]
