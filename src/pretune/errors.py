"""The errors pretune raises, each with what was given, what is allowed and what to do next.

Every error a person can cause is a :class:`PretuneError`; the command line prints it in one or a few lines and exits
with its ``exit_code``. Anything else that escapes is a defect of pretune and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckFailed",
    "CorruptFile",
    "DataError",
    "DiskFull",
    "FolderBusy",
    "Interrupted",
    "ModelError",
    "NonFiniteUpdate",
    "PretuneError",
    "PretuneWarning",
    "RunError",
    "UsageError",
    "did_you_mean",
]


class PretuneError(ValueError):
    """Base of all errors meant for people.

    ``problem`` says what was found, ``fix`` what to do about it (a command or a flag wherever there is one).
    """

    exit_code = 2
    kind = "error"

    def __init__(self, problem: str, fix: str = "") -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(f"{problem}\n  {fix}" if fix else problem)

    def to_dict(self) -> dict[str, object]:
        """The error as ``--json`` prints it."""
        return {"error": type(self).__name__, "problem": self.problem, "fix": self.fix, "exit_code": self.exit_code}


class PretuneWarning(UserWarning):
    """What must not be missed, where a program called: the command line prints it as ``warning: ...``."""


class UsageError(PretuneError):
    """A setting or argument that cannot be used."""

    kind = "usage"


class DataError(PretuneError):
    """The data cannot be read, or not as asked."""

    kind = "data"


class ModelError(PretuneError):
    """The backbone cannot be loaded, or not for this task."""

    kind = "model"


class RunError(PretuneError):
    """The run folder is locked, of another run, or not what the verb needs."""

    kind = "run"


class FolderBusy(RunError):
    """Another process writes the run folder."""


class CorruptFile(PretuneError):
    """A file of a run folder does not match the checksum written with it."""

    kind = "corrupt"


class CheckFailed(PretuneError):
    """Nothing was used wrongly, but a check did not pass."""

    exit_code = 1
    kind = "check"


class NonFiniteUpdate(CheckFailed):
    """An update with NaN or infinity was refused before it touched a weight.

    ``step`` is the update (counted from 1) and ``row_ids`` the rows of its batch.
    """

    kind = "non-finite"

    def __init__(self, problem: str, fix: str = "", *, step: int, row_ids: tuple[str, ...]) -> None:
        super().__init__(problem, fix)
        self.step = step
        self.row_ids = row_ids


class DiskFull(CheckFailed):
    """A file could not be written for want of space; what was there before is untouched."""

    kind = "disk"


class Interrupted(PretuneError):
    """SIGTERM, SIGHUP or Ctrl-C arrived; the state was saved. ``exit_code`` is 128 + the signal's number."""

    kind = "stopped"

    def __init__(self, problem: str, fix: str, signal_number: int) -> None:
        super().__init__(problem, fix)
        self.exit_code = 128 + signal_number


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A sentence that names the allowed words, the nearest one first when there is a near one."""
    words = sorted(set(allowed))
    near = difflib.get_close_matches(given, words, n=1, cutoff=0.6)
    guess = f'did you mean "{near[0]}"? ' if near else ""
    return f"{guess}allowed: {', '.join(words)}"
