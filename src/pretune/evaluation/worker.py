"""A process of its own that is asked one thing at a time: a line of JSON in, a line of JSON out.

What goes wrong inside is an answer too, and a process that dies or hangs raises :class:`WorkerLost` with its last words.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from pretune.trial import same_package

__all__ = ["Worker", "WorkerLost", "serve"]

_LAST_WORDS = 400


class WorkerLost(Exception):
    """A worker gave no answer; the message says why."""


class Worker:
    """``python -m MODULE ARGUMENTS`` as a worker. Use as a context manager: the process ends with the block."""

    def __init__(self, module: str, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],  # -P: files of the working folder are no modules
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
            env={**os.environ, **same_package(), **(environment or {})},
        )  # fmt: skip
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()  # Windows cannot wait for a pipe with a clock

    def ask(self, question: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """The answer. Raises :class:`WorkerLost` when there is none within ``seconds``, or one that says what went wrong."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerLost(self._end()) from None
        answer = json.loads(self._line(seconds))
        if "problem" in answer:
            raise WorkerLost(answer["problem"])
        return answer

    def _line(self, seconds: float) -> bytes:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise WorkerLost(f"it gave no answer within {seconds:.0f} seconds") from None
        if not line.endswith(b"\n"):
            raise WorkerLost(self._end())
        return line

    def _listen(self) -> None:
        """Each line, and at the end one that is none."""
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(b"")

    def _end(self) -> str:
        """How the process ended, in words."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "it closed its output without an answer"
        if code == -getattr(signal, "SIGKILL", 0) < 0:
            return "its process was killed (SIGKILL): memory may have run out"
        if code < 0:
            return f"its process was ended by signal {-code} ({signal.strsignal(-code)})"
        self._said.seek(0)
        words = self._said.read()[-4000:].decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}" + (f": {words[-1][:_LAST_WORDS]}" if words else "")

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(answers: Any) -> None:
    """The worker's side: ``answers[question["do"]](question)`` for each line of standard input, until it ends.

    Standard output belongs to the answers: what libraries print goes to standard error. A :class:`PretuneError`, and any
    other error, is answered as ``{"problem"}``.
    """
    from pretune.errors import PretuneError

    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = answers[question["do"]](question)
            except PretuneError as error:
                answer = {"problem": f"{error.problem}. {error.fix}".rstrip(". ") + "."}
            except Exception as error:  # whatever a model does is an answer, not the end of the others
                answer = {"problem": f"{type(error).__name__}: {str(error)[:_LAST_WORDS]}"}
            out.write(json.dumps(answer).encode() + b"\n")
