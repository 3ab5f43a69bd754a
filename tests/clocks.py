"""A clock that tests move, and a count of work: no test is decided by how busy the machine is.

What must end is given a size at which the wrong way would never end; what must take few steps has its steps counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

import pytest

__all__ = ["HANG_SECONDS", "Clock", "clock_of", "steps_of"]

HANG_SECONDS = 600
"""Whoever waits for another process gives up then, shortly before pytest ends a test that hangs: no measure of speed."""


@dataclass
class Clock:
    """In place of the module ``time``: it stands still but for ``sleep``, and for ``tick`` seconds at each look."""

    now: float = 1000.0
    tick: float = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        self.now += self.tick
        return self.now

    perf_counter = time = monotonic

    def sleep(self, seconds: float) -> None:
        """Time goes by at once."""
        self.now += seconds


def clock_of(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType, tick: float = 0.0) -> Clock:
    """A clock for these modules, which look at it as ``time.monotonic()`` and the like."""
    clock = Clock(tick=tick)
    for module in modules:
        monkeypatch.setattr(module, "time", clock)
    return clock


def steps_of(action: Callable[[], Any]) -> int:
    """How many functions, of Python and of C, ``action`` calls in this thread: what a loop over rows makes large."""
    steps = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return steps
