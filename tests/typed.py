"""Lines of a shell in which ``pretune`` is forked from a process that has the libraries loaded, as in :mod:`forked`: the rest of the
line is the shell's own, and each call has the streams, the folder and the variables that it would have.

What Python itself reads once when it starts (:data:`_READ_AT_START`) makes such a call a process from the beginning.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from clocks import HANG_SECONDS
from forked import preloaded

__all__ = ["Shell", "hasten", "python_in", "shell_in"]

_READ_AT_START = ("PYTHONHASHSEED", "PYTHONIOENCODING")
_STAND_IN = """#!{python} -IS
import json, os, socket, sys
if any(name in os.environ for name in {read_at_start!r}):
    os.execv({python!r}, [{python!r}, *{command!r}, *sys.argv[1:]])
asked = socket.socket(socket.AF_UNIX)
asked.connect({place!r})
told = json.dumps([{command!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(asked, [len(told).to_bytes(8, "big")], [0, 1, 2])
asked.sendall(told)
sys.exit(int(asked.recv(9) or 70))
"""


_COMMAND = ["-c", "import sys; from pretune.cli import main; sys.exit(main())"]


class Shell:
    """Types lines in ``folder``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def type(self, line: str) -> str:
        """What it prints, errors after the rest."""
        told = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, capture_output=True, timeout=HANG_SECONDS, env=self.environment, check=False
        )  # fmt: skip
        return (told.stdout + told.stderr).decode("utf-8", "replace")


@contextlib.contextmanager
def shell_in(folder: Path, aside: Path) -> Iterator[Shell]:
    """A shell in ``folder``; the stand-in for ``pretune`` lies in ``aside``. Its calls are hastened, but for those that are processes
    from the beginning.
    """
    (aside / "trials").mkdir()
    with python_in(aside / "trials") as python, _stand_in(aside, "pretune", _COMMAND, python) as stand_in:
        path = os.pathsep.join((str(stand_in.parent), str(Path(sys.executable).parent), os.environ["PATH"]))
        yield Shell(folder, {**os.environ, "PATH": path})


@contextlib.contextmanager
def python_in(aside: Path) -> Iterator[Path]:
    """A stand-in for ``python`` that takes ``[-P] -m MODULE ARGUMENTS``."""
    with _stand_in(aside, "python", []) as stand_in:
        yield stand_in


def hasten(python: Path, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Trials and workers are forked by the stand-in ``python``, and latencies are measured for a moment."""
    from pretune import trial
    from pretune.evaluation import latency, worker
    from pretune.verbs.benchmark import fleet

    measure, by_size = latency.measure_latency, latency.latency_by_size
    for module in (trial, worker):
        put(module, "sys", SimpleNamespace(executable=str(python)))
    put(latency, "measure_latency", lambda calls, **_: measure(calls, seconds=0.01, warmup=0))

    def once(calls_of: Callable[[int], Any], **_: Any) -> dict[str, Any]:
        """What is only told needs one call of each, however long a call takes; what chooses by it needs five."""
        with mock.patch.multiple(latency, _FEWEST=1, _PARTS=1):
            return by_size(calls_of)

    put(latency, "latency_by_size", once)
    for name, few in {"ROUNDS": 2, "WARMUP": 1, "_TRIED": 1, "_FEWEST_CALLS": 1}.items():
        put(fleet, name, few)


@contextlib.contextmanager
def _stand_in(aside: Path, name: str, command: list[str], hastened: Path | None = None) -> Iterator[Path]:
    """A program whose calls become forked processes. ``command`` is what Python is to be called with before its own words."""
    place, stand_in = aside / "socket", aside / "bin" / name
    stand_in.parent.mkdir()
    told = {"python": sys.executable, "place": str(place), "read_at_start": _READ_AT_START, "command": command}
    stand_in.write_text(_STAND_IN.format(**told), encoding="utf-8")
    stand_in.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as calls:
        calls.bind(str(place))
        calls.listen()
        threading.Thread(target=_answer, args=(calls, hastened), daemon=True).start()
        yield stand_in
        calls.shutdown(socket.SHUT_RDWR)


def _answer(calls: socket.socket, hastened: Path | None) -> None:
    """A process for each call, until nobody listens any more."""
    context = preloaded()
    with contextlib.suppress(OSError):
        while True:
            call, _ = calls.accept()
            with call:
                context.Process(target=_be_called, args=(call, hastened)).start()
            multiprocessing.active_children()  # those that ended are waited for


def _be_called(call: socket.socket, hastened: Path | None) -> None:
    """Take the streams, the folder and the variables of who calls; tell the exit code."""
    size, streams, _, _ = socket.recv_fds(call, 8, 3)
    command, words, folder, variables = json.loads(_received(call, int.from_bytes(size, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, open(number, "w" if number else "r", 1 if number == 2 else -1, "utf-8", closefd=False))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    code = 70
    try:
        if hastened is not None:
            hasten(hastened)
        code = _run(command, words)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        call.sendall(str(code).encode())


def _run(command: list[str], words: list[str]) -> int:
    """``pretune WORDS``, or where there is no command ``python [-P] -m MODULE ARGUMENTS``."""
    if command:
        from pretune.cli import main

        return main(words)
    mode, *words = words[words[0] == "-P" :]
    assert mode == "-m", mode
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    return 0


def _received(call: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += call.recv(size - len(found))
    return found
