"""What has no bound that can be read off it is tried first: in a process of its own, which may take only so much time and memory.

What was tried is known by its content and remembered in the cache, so that it is tried once on a machine.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pretune.cache import get_or_create
from pretune.errors import DiskFull

__all__ = ["TrialFailed", "limit_this_process", "refuse", "same_package", "tried", "trust"]

_WAIT = 4
"""The clock runs so much longer than the processor's time: the machine may be busy."""

_MARK = "tried"


class TrialFailed(Exception):
    """It took too much time or memory, or its trial refused it; the message says which."""


def tried(module: str, arguments: Sequence[str], *, name: str, seconds: float, megabytes: float) -> None:
    """Run ``python -m MODULE ARGUMENTS`` within these limits, unless what has this ``name`` (a hash of its content) was tried before.

    The module calls :func:`limit_this_process` first, and ends with :func:`refuse` where it refuses.
    Raises :class:`TrialFailed`.
    """
    key = f"{module}:{name}:{seconds}:{megabytes}"

    def write(folder: Path) -> None:
        _run(module, [str(seconds), str(megabytes), *arguments], seconds)
        (folder / _MARK).touch()

    try:
        get_or_create("trials", key, _Mark, write)
    except (OSError, DiskFull):  # it cannot be remembered
        _run(module, [str(seconds), str(megabytes), *arguments], seconds)


def trust(module: str, *, name: str, seconds: float, megabytes: float) -> None:
    """Remember what this process has just made itself as tried."""
    with contextlib.suppress(OSError, DiskFull):
        get_or_create(
            "trials", f"{module}:{name}:{seconds}:{megabytes}", _Mark, lambda folder: (folder / _MARK).touch()
        )


class _Mark:
    """That it was tried."""

    def __init__(self, folder: Path) -> None:
        (folder / _MARK).stat()


def _run(module: str, arguments: Sequence[str], seconds: float) -> None:
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=_WAIT * seconds, env={**os.environ, **same_package(), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TrialFailed(f"it takes longer than {seconds:g} seconds for almost nothing") from None
    said = ended.stdout.decode(errors="replace").strip().splitlines()
    if ended.returncode == 0:
        return
    if ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise TrialFailed(f"it takes longer than {seconds:g} seconds for almost nothing")
    if ended.returncode < 0 or _ran_out(ended.stderr):
        raise TrialFailed("it takes too much memory for almost nothing")
    last = ended.stderr.decode(errors="replace").strip().splitlines() or [f"its trial ended with {ended.returncode}"]
    raise TrialFailed(said[-1] if said else last[-1][:200])


def _ran_out(words: bytes) -> bool:
    return any(told in words.lower() for told in (b"memory", b"bad_alloc"))


def limit_this_process(seconds: float, megabytes: float) -> None:
    """In the process that tries: it may take so much time of the processor and so much memory on top of what it has now."""
    whole = max(1, round(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (_used_seconds() + whole, _used_seconds() + whole + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        held = int(next(line for line in lines if line.startswith("VmSize:")).split()[1]) * 1024
        limit = held + round(megabytes * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def refuse(why: str) -> int:
    """In the process that tries: say why what was tried is refused; the exit code that goes with it."""
    os.write(1, (why + "\n").encode())
    return 1


def _used_seconds() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime)


def same_package() -> dict[str, str]:
    """The environment in which a process imports the pretune that starts it, installed or not."""
    places = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(places)}
