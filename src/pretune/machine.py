"""What the machine says of this process, and of the others on it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Neighbours", "free_memory_bytes", "out_of_memory", "peak_memory_bytes"]

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
)
_AT_WORK = ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc")
"""What a processor does that is work, in psutil's words: of Linux and macOS, and the last two of Windows."""
_ROOM = 0.5
"""Processors that others may use beside all threads of this process before that is told: every machine has a little to do."""


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far.

    ``getrusage`` is asked only where Linux's own account is missing: it counts what the parent held when it began this process.
    """
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory_bytes() -> int:
    """What this process may still take: the least of what the machine has free, what its group may have and its own limit."""
    import psutil

    found = [psutil.virtual_memory().available]
    with contextlib.suppress(OSError, ValueError):  # no group with a limit
        group = Path("/sys/fs/cgroup")
        found.append(
            int((group / "memory.max").read_text("ascii")) - int((group / "memory.current").read_text("ascii"))
        )
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(found))


def out_of_memory(error: BaseException | None) -> bool:
    """Is it what Python, torch, NumPy, Arrow or the system say when memory is out? Asked of the error and of what it came from."""
    while error is not None:
        said = str(error).lower()
        if (
            isinstance(error, MemoryError)
            or type(error).__name__ in ("OutOfMemoryError", "ArrowMemoryError")
            or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
            or any(words in said for words in _OUT_OF_MEMORY)
        ):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


class _Account(NamedTuple):
    """Seconds: of the clock, of all processors at work, and of those at work for this process and its ended children."""

    clock: float
    all: float
    own: float


class Neighbours:
    """How many processors other processes keep busy, from when this object was made.

    The whole machine's account less this process's own; where the system keeps none nothing is known.
    """

    def __init__(self) -> None:
        self._first = _account()
        self.processors = os.cpu_count() or 1

    @property
    def seconds(self) -> float:
        """How long the others have been watched; 0 where nothing is known."""
        return time.monotonic() - self._first.clock if self._first else 0.0

    def busy(self) -> float:
        """Processors at work for others, on average; 0 where nothing is known."""
        last = _account()
        if not self._first or not last or last.clock <= self._first.clock:
            return 0.0
        passed, worked, own = (b - a for a, b in zip(self._first, last, strict=True))
        return min(max(0.0, (worked - own) / passed), float(self.processors))

    def in_the_way(self, threads: int) -> float:
        """:meth:`busy`, where it leaves too little room for so many threads of this process; otherwise 0."""
        busy = self.busy()
        return busy if busy + threads > self.processors + _ROOM else 0.0


def _account() -> _Account | None:
    import psutil

    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        spent = psutil.cpu_times()
        worked = sum(getattr(spent, name, 0.0) for name in _AT_WORK)
        return _Account(time.monotonic(), worked, sum(os.times()[:4]))
    return None
