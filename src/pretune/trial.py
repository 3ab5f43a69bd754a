"""What has no bound that can be read off it is tried first: in a process of its own, which may take only so much time and memory.

What was tried is known by its content and remembered in the cache, so that it is tried once on a machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pretune.cache import get_or_create
from pretune.errors import DiskFull

try:
    import resource
except ImportError:  # Windows
    resource = None

__all__ = ["TrialFailed", "limit_this_process", "refuse", "same_package", "tried", "trust"]

_WAIT = 4
"""The clock runs so much longer than the processor's time: the machine may be busy."""

_ACCOUNT = Path("/proc/self/status")
_LOOK_SECONDS, _IMPORT_SECONDS, _IMPORT_MEGABYTES = 0.05, 10.0, 500.0
"""Where the system holds no process to limits (Windows; macOS for memory) it is looked at from outside, and what its imports take counts too."""

_TOO_LONG = "it takes longer than {:g} seconds for almost nothing"
_TOO_MUCH = "it takes too much memory for almost nothing"
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
        _run(module, arguments, seconds, megabytes)
        (folder / _MARK).touch()

    try:
        get_or_create("trials", key, _Mark, write)
    except (OSError, DiskFull):  # it cannot be remembered
        _run(module, arguments, seconds, megabytes)


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


def _run(module: str, arguments: Sequence[str], seconds: float, megabytes: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(seconds), str(megabytes), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **same_package(), "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            out, error = _waited_for(process, seconds, megabytes)
        except BaseException:
            process.kill()
            raise
    said = out.decode(errors="replace").strip().splitlines()
    if process.returncode == 0:
        return
    if process.returncode in _OUT_OF_TIME:
        raise TrialFailed(_TOO_LONG.format(seconds))
    if process.returncode < 0 or _ran_out(error):
        raise TrialFailed(_TOO_MUCH)
    last = error.decode(errors="replace").strip().splitlines() or [f"its trial ended with {process.returncode}"]
    raise TrialFailed(said[-1] if said else last[-1][:200])


_OUT_OF_TIME = [-getattr(signal, name) for name in ("SIGXCPU", "SIGKILL") if hasattr(signal, name)]


def _waited_for(process: subprocess.Popen[bytes], seconds: float, megabytes: float) -> tuple[bytes, bytes]:
    """What it wrote until it ended. Raises :class:`TrialFailed` where it does not end, or has to be stopped from here."""
    watched = resource is None or not _ACCOUNT.exists()
    until = time.monotonic() + _WAIT * seconds + watched * _IMPORT_SECONDS
    while True:
        try:
            left = max(0.0, until - time.monotonic())
            return process.communicate(timeout=min(left, _LOOK_SECONDS) if watched else left)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise TrialFailed(_TOO_LONG.format(seconds)) from None
        _look_at(process.pid, seconds + _IMPORT_SECONDS, megabytes + _IMPORT_MEGABYTES)


def _look_at(pid: int, seconds: float, megabytes: float) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):  # it has just ended
        process = psutil.Process(pid)
        if sum(process.cpu_times()[:2]) > seconds:
            raise TrialFailed(_TOO_LONG.format(seconds - _IMPORT_SECONDS))
        if process.memory_info().rss > megabytes * 2**20:
            raise TrialFailed(_TOO_MUCH)


def _ran_out(words: bytes) -> bool:
    return any(told in words.lower() for told in (b"memory", b"bad_alloc"))


def limit_this_process(seconds: float, megabytes: float) -> None:
    """In the process that tries: it may take so much time of the processor and so much memory on top of what it has now."""
    if resource is None:  # who asked for the trial looks
        return
    whole = max(1, round(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (_used_seconds() + whole, _used_seconds() + whole + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = _ACCOUNT.read_text(encoding="ascii", errors="replace").splitlines()
        held = int(next(line for line in lines if line.startswith("VmSize:")).split()[1]) * 1024
        limit = held + round(megabytes * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def refuse(why: str) -> int:
    """In the process that tries: say why what was tried is refused; the exit code that goes with it."""
    os.write(1, (why + "\n").encode())
    return 1


def _used_seconds() -> int:
    assert resource is not None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime)


def same_package() -> dict[str, str]:
    """The environment in which a process imports the pretune that starts it, installed or not."""
    places = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(places)}
