"""A run as its page shows it: what its files say, without the places of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pretune.forwarded import places_in
from pretune.runfolder import RunFolder

__all__ = ["ShownRun", "shown_run"]


@dataclass(frozen=True)
class ShownRun(RunFolder):
    """A :class:`RunFolder` for reading. Parents are found by what the run itself tells, not by what is shown of it."""

    def _checked(self, name: str) -> Any:
        value = super()._checked(name)
        record = value if name == "run.json" else RunFolder(self.path).record
        return places_in(record, value).shown(value)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The whole lines, as others may read them."""
        return places_in(RunFolder(self.path).record).shown(super().read_lines(name))


def shown_run(run: RunFolder) -> ShownRun:
    """The run, to be read for a page."""
    return ShownRun(run.path)
