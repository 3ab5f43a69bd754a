"""An answer that is sent while it is written: a line of JSON for the text so far, and a last one for the whole record.

``{"text": "Well"}``, ``{"text": "Well, thank"}``, ..., ``{"row": {...}, "milliseconds": 12.3}``. What goes wrong after the first line comes as
``{"error": ..., "fix": ...}`` in place of the last. Who leaves, or waits longer than the limit, ends the writing at the next token; a
reader that is slow misses texts in between and none at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from pretune.serve.problems import Problem
from pretune.serve.worker import Job

__all__ = ["Streaming"]


class Streaming:
    """One row that is answered by ``write(row, told)`` in the worker's thread, as its :attr:`job`; made in the event loop."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        write: Callable[[Mapping[str, Any], Callable[[str], bool]], Mapping[str, Any]],
        seconds: float,
        since: Callable[[], float],
    ) -> None:
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._text, self._seconds, self._since = "", seconds, since
        self._until = time.monotonic() + seconds
        self.job = Job(rows, lambda row, wanted: write(row, lambda text: self._told(text, wanted)))

    def _told(self, text: str, is_wanted: Callable[[], bool]) -> bool:
        """In the worker's thread: the text so far; whether to go on."""
        self._text = text
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._news.set)
        return is_wanted() and time.monotonic() < self._until

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of the response. The job is given up where the response is."""
        answer = asyncio.wrap_future(self.job.future)
        answer.add_done_callback(lambda _: self._news.set())
        sent = ""
        try:
            while not answer.done():
                await asyncio.wait_for(self._news.wait(), max(0.0, self._until - time.monotonic()))
                self._news.clear()
                if self._text != sent and not answer.done():
                    sent = self._text
                    yield _line({"text": sent})
            yield _line({"row": answer.result(), "milliseconds": self._since()})
        except TimeoutError:
            yield _line(Problem(503, f"the answer was not whole within {self._seconds:g} seconds", "ask for a shorter one, or serve with a longer --timeout").to_dict())  # fmt: skip
        except Problem as problem:
            yield _line(problem.to_dict())
        finally:
            answer.cancel()
            self.job.future.cancel()


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
