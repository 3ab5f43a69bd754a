"""What goes wrong with a request, as a status and two plain sentences. No traceback ever leaves the service."""

from __future__ import annotations

from typing import Any

from pretune.data.media.base import BrokenMedia
from pretune.errors import ModelError, PretuneError
from pretune.explain.patience import OutOfTime

__all__ = ["Gone", "Problem", "problem_of"]


class Problem(Exception):
    """An answer other than 200. ``error`` says what was found, ``fix`` what to do; ``retry_seconds`` when to come again;
    ``unread``: the client is still sending.
    """

    def __init__(
        self, status: int, error: str, fix: str, *, retry_seconds: int | None = None, unread: bool = False
    ) -> None:
        super().__init__(error)
        self.status, self.error, self.fix, self.retry_seconds, self.unread = status, error, fix, retry_seconds, unread

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": self.error, "fix": self.fix}

    def headers(self) -> dict[str, str]:
        """When to come again; and that the connection ends, where the rest of the body was not read."""
        found = {} if self.retry_seconds is None else {"Retry-After": str(self.retry_seconds)}
        return {**found, "Connection": "close"} if self.status in (408, 413) else found


class Gone(Exception):
    """The client left before it was answered."""


def problem_of(error: Exception, where: str = "") -> Problem:
    """What an error of reading or answering a row is for the client; ``where`` names the row.

    An error that nobody foresaw tells its kind alone: its message may hold what other people sent.
    """
    before = f"{where}: " if where else ""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BrokenMedia):
        if error.reason in ("too_large", "too_long"):
            return Problem(413, error.problem, "send a smaller or shorter one")
        return Problem(422, error.problem, "send a file that other programs can open")
    if isinstance(error, OutOfTime):
        return Problem(503, f"{before}{error.problem}", error.fix)
    if isinstance(error, ModelError):
        return Problem(500, f"{before}{error.problem}", "the person who serves the model has to mend it")
    if isinstance(error, PretuneError):
        return Problem(422, f"{before}{error.problem}", error.fix)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return Problem(
            503, f"{before}there is not enough memory for this", "send fewer or smaller rows", retry_seconds=5
        )
    return Problem(
        500,
        f"{before}this is a defect in pretune, not in what you sent: {type(error).__name__}",
        "the person who serves the model finds more on the terminal",
    )
