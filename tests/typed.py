"""Lines of a shell in which ``pretune`` is forked from a process that has the libraries loaded, as in :mod:`forked`: the rest of the
line is the shell's own, and each call has the streams, the folder and the variables that it would have.

What Python itself reads once when it starts (:data:`_READ_AT_START`) makes such a call a process from the beginning.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from clocks import HANG_SECONDS
from forked import preloaded

__all__ = ["Shell", "shell_in"]

_READ_AT_START = ("PYTHONHASHSEED", "PYTHONIOENCODING")
_STAND_IN = """#!{python} -IS
import json, os, socket, sys
if any(name in os.environ for name in {read_at_start!r}):
    os.execv({python!r}, [{python!r}, "-c", "import sys; from pretune.cli import main; sys.exit(main())", *sys.argv[1:]])
asked = socket.socket(socket.AF_UNIX)
asked.connect({place!r})
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(asked, [len(told).to_bytes(8, "big")], [0, 1, 2])
asked.sendall(told)
sys.exit(int(asked.recv(9) or 70))
"""


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
    """A shell in ``folder``; the stand-in for ``pretune`` lies in ``aside``."""
    place, stand_in = aside / "socket", aside / "bin" / "pretune"
    stand_in.parent.mkdir()
    stand_in.write_text(
        _STAND_IN.format(python=sys.executable, place=str(place), read_at_start=_READ_AT_START), encoding="utf-8"
    )
    stand_in.chmod(0o755)
    path = os.pathsep.join((str(stand_in.parent), str(Path(sys.executable).parent), os.environ["PATH"]))
    with socket.socket(socket.AF_UNIX) as calls:
        calls.bind(str(place))
        calls.listen()
        threading.Thread(target=_answer, args=(calls,), daemon=True).start()
        yield Shell(folder, {**os.environ, "PATH": path})
        calls.shutdown(socket.SHUT_RDWR)


def _answer(calls: socket.socket) -> None:
    """A process for each call, until nobody listens any more."""
    context = preloaded()
    with contextlib.suppress(OSError):
        while True:
            call, _ = calls.accept()
            with call:
                context.Process(target=_be_pretune, args=(call,)).start()
            multiprocessing.active_children()  # those that ended are waited for


def _be_pretune(call: socket.socket) -> None:
    """Take the streams, the folder and the variables of who calls; tell the exit code."""
    size, streams, _, _ = socket.recv_fds(call, 8, 3)
    words, folder, variables = json.loads(_received(call, int.from_bytes(size, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, open(number, "w" if number else "r", 1 if number == 2 else -1, "utf-8", closefd=False))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    from pretune.cli import main

    code = 70
    try:
        code = main(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        call.sendall(str(code).encode())


def _received(call: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += call.recv(size - len(found))
    return found
