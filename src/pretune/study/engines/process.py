"""A step's process, told what to do and heard; and the engine that has such processes on this machine alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pretune.study.engines.base import Hear, Message

__all__ = ["Processes", "WorkerProcess"]

_MODULE = "pretune.study.worker"
_NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""What Windows has in place of a session; 0 elsewhere."""


class WorkerProcess:
    """``python -m pretune.study.worker`` at work on ``order``. Its errors (stderr) go to ``errors``, default: where ours go."""

    def __init__(
        self, order: Message, *, folder: Path | None = None, environment: Mapping[str, str] | None = None, errors: IO[bytes] | None = None
    ) -> None:  # fmt: skip
        threads = order["settings"].get("threads") or order["threads"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8",
            cwd=folder, env={**os.environ, **(environment or {}), "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True, creationflags=_NEW_GROUP,  # a signal from the keyboard comes to the asker alone, which passes it on
        )  # fmt: skip
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died already, which its end will tell
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it says, one by one as it is said; its end last."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(json.JSONDecodeError):  # what a library prints is no word of the step
                message = json.loads(line)
                if isinstance(message, dict):
                    yield message
        yield {"ended": {"exit_code": self._process.wait()}}

    def ask_to_leave(self) -> None:
        """Windows ends a process at once where others send a signal; there the end of its input tells a step that nobody waits for it."""
        if _NEW_GROUP and self._process.stdin is not None:
            self._process.stdin.close()
        else:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Has it ended, at last after so many seconds?"""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Nobody writes to it any more."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


class Processes:
    """Steps as processes of this machine. One that is lost is not begun again: where memory ran out, it would again."""

    lives = 1

    def __init__(self, jobs: int) -> None:
        self.jobs, self.threads = jobs, max(1, (os.cpu_count() or 1) // jobs)
        self._begun: list[WorkerProcess] = []

    def start(self, order: Message, hear: Hear) -> WorkerProcess:
        """Begin a step: a verb and its settings."""
        process = WorkerProcess(order)
        self._begun.append(process)
        threading.Thread(target=_listen, args=(process, hear), daemon=True).start()
        return process

    def close(self) -> None:
        """Nothing runs any more."""
        for process in self._begun:
            process.close()


def _listen(process: WorkerProcess, hear: Hear) -> None:
    for message in process.messages():
        hear(message)
