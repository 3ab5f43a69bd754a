"""SIGTERM, SIGHUP and Ctrl-C as a request to stop at the next safe point, where the state is saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

__all__ = ["StopRequest"]


_TERMINAL_GOES = getattr(signal, "SIGHUP", None) or getattr(signal, "SIGBREAK", None)
"""Windows has no SIGHUP: a window that is closed, or Ctrl-Break, comes as SIGBREAK."""
_SIGNALS = [number for number in (signal.SIGTERM, signal.SIGINT, _TERMINAL_GOES) if number is not None]


class StopRequest:
    """``with StopRequest() as stop: ... if stop.signal_number: save and leave``. A second Ctrl-C interrupts at once.

    Outside the main thread nothing is installed, as Python allows handlers there only.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.signal(number, self._note)
                if number == _TERMINAL_GOES and before is signal.SIG_IGN:  # nohup: the terminal may go
                    signal.signal(number, before)
                else:
                    self._before[number] = before
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal_number = number
