"""Steps as actors of a Ray cluster: the one that runs, or one of this machine alone for as long as the steps take."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pretune
from pretune.errors import RunError, UsageError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder
from pretune.study.engines.base import Hear, Message
from pretune.study.engines.node import StepActor

__all__ = ["RayCluster", "import_ray", "join"]

_PASSED_ON = ("PYTHONPATH", "PRETUNE_CACHE", "PRETUNE_PSEUDONYM_KEY", "HF_HUB_OFFLINE")
_CONNECT_SECONDS = 10.0
_STORE_BYTES = 100 * 2**20
"""Of a cluster of our own: only lines of text go through it."""


def import_ray() -> ModuleType:
    """The library without its telemetry. Raises :class:`UsageError` where it is not installed.

    A cluster of this machine alone takes orders from whoever knows a word that is drawn here: Ray listens to the network. It reads the
    word when it is imported, and keeps it.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do by itself; else it warns
    # Beside other work a step gets what it would get as a process of --jobs.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "ray" not in sys.modules and "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"--engine ray cannot be used here: {error}", "pip install 'pretune[ray]', or leave --engine out"
        ) from None
    return ray


class RayCluster:
    """Steps over the nodes of a Ray cluster. One whose node or process is lost is begun again, on whichever node is free."""

    lives = 4

    def __init__(self, run: RunFolder, steps: int, jobs: int | None, say: Say) -> None:
        """For at most ``steps`` at a time, whose folders lie in that of ``run``. Raises :class:`RunError` where no cluster answers."""
        self._ray = import_ray()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            with _sigterm_kept():
                join(self._ray)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        of_nodes = [int(node.get("CPU", 0)) for node in nodes]
        processors, gpus = sum(of_nodes), sum(int(node.get("GPU", 0)) for node in nodes)
        self.jobs = jobs or max(1, min(steps, gpus or processors))
        self.threads = max(1, min(processors // self.jobs, max(of_nodes)))
        self._actor = self._ray.remote(
            num_cpus=self.threads if self.jobs * self.threads <= processors else _share(processors, self.jobs),
            num_gpus=1 if 0 < self.jobs <= gpus else _share(gpus, self.jobs),
            max_restarts=0, max_task_retries=0, max_concurrency=2, scheduling_strategy="SPREAD",
        )(StepActor)  # fmt: skip
        self._place = {
            "folder": str(Path.cwd()), "run": str(run.path), "started": run.record["started"], "version": pretune.__version__,
            "environment": {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        }  # fmt: skip
        say.note(
            f"== Ray: {len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}, {processors} processors{f', {gpus} GPUs' if gpus else ''}; {self.jobs} steps at a time"
        )

    def start(self, order: Message, hear: Hear) -> _RayWork:
        """Begin a step: a verb and its settings."""
        return _RayWork(self._ray, self._actor.remote(), json.dumps({**order, "place": self._place}), hear)

    def close(self) -> None:
        """Nothing runs any more."""
        if self._is_ours:
            self._ray.shutdown()


def _share(whole: int, parts: int) -> float:
    return int(whole / parts * 10_000) / 10_000  # Ray counts in ten-thousandths


class _RayWork:
    """A step on some node, and the thread that hears it."""

    def __init__(self, ray: ModuleType, actor: Any, order: str, hear: Hear) -> None:
        self._ray, self._actor, self._hear = ray, actor, hear
        self._is_begun = False
        self._thread = threading.Thread(target=self._listen, args=(order,), daemon=True)
        self._thread.start()

    def _listen(self, order: str) -> None:
        try:
            for reference in self._actor.messages.options(num_returns="streaming").remote(order):
                message = json.loads(self._ray.get(reference))
                self._is_begun |= "begun" in message
                self._hear(message)
        except self._ray.exceptions.RayError as error:
            self._hear(_ended_by(error))
        finally:
            self._ray.kill(self._actor)

    def ask_to_leave(self) -> None:
        """One that waits for processors has nothing to save."""
        if self._is_begun:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._actor.leave.remote()
        else:
            self._ray.kill(self._actor)

    def wait(self, seconds: float) -> bool:
        """Has it ended, at last after so many seconds?"""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._ray.kill(self._actor)
        self._thread.join()


def _ended_by(error: Exception) -> Message:
    """What an error of Ray means: a process that was lost, or one that could not do its work from the start."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "creation task" not in lines[0] and "ray::" not in lines[0]:
        return {"ended": {"exit_code": None}}
    fix = "every node needs the same versions of Python, Ray and pretune: pip install 'pretune[ray]'"
    return {"error": {"problem": f"a node cannot do it: {lines[-1]}", "fix": fix, "exit_code": 2}}


def join(ray: ModuleType) -> None:
    """Be part of the cluster that RAY_ADDRESS names, else of a new one of this machine. Raises :class:`RunError` where none answers."""
    address = os.environ.get("RAY_ADDRESS", "local")
    if address.startswith("ray://"):
        raise UsageError(
            f"RAY_ADDRESS is {address}, a client's",
            "give the command on a machine of the cluster, with RAY_ADDRESS=auto",
        )
    _refuse_silence(address)
    own: dict[str, Any] = {
        "num_cpus": os.cpu_count(), "include_dashboard": False, "object_store_memory": _STORE_BYTES,
    }  # fmt: skip
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **(own if address == "local" else {}))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address == "local":
            raise
        raise _not_joined(address, error) from None


def _refuse_silence(address: str) -> None:
    """Raise :class:`RunError` where nothing listens: Ray would ask again for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _not_joined(address, error) from None


def _not_joined(address: str, error: Exception) -> RunError:
    return RunError(
        f"no Ray cluster could be joined at RAY_ADDRESS={address}: {(str(error).splitlines() or [type(error).__name__])[0]}",
        "ray status says whether it runs; without RAY_ADDRESS this machine alone is used",
    )


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray puts a handler of its own in place of the program's."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
