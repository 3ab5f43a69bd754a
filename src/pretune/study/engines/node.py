"""What runs on a node of a Ray cluster: an actor that holds one step's process, hands on what it says and asks it to leave.

An actor dies with the process that made it. Then the step's standard input ends, and it stops as by SIGTERM with its state saved.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pretune
from pretune.files import read_json
from pretune.study.engines.process import WorkerProcess

__all__ = ["StepActor"]

_LAST_BYTES = 2000


class StepActor:
    """One step. Words go from and to it as JSON."""

    def __init__(self) -> None:
        self._process: WorkerProcess | None = None
        self._is_to_leave = False

    def messages(self, order_text: str) -> Iterator[str]:
        """Do the step of ``order``, and say what it says; its end last, with the last lines of its errors."""
        order = json.loads(order_text)
        if refusal := _refusal(order["place"]):
            yield json.dumps({"error": refusal})
            return
        place = order.pop("place")
        with tempfile.TemporaryFile() as errors:
            self._process = WorkerProcess(
                order, folder=Path(place["folder"]), environment=place["environment"], errors=errors
            )
            yield json.dumps({"begun": platform.node()})
            if self._is_to_leave:
                self._process.ask_to_leave()
            for message in self._process.messages():
                if "ended" in message:
                    message["ended"].update(node=platform.node(), errors=_last_of(errors))
                yield json.dumps(message)

    def leave(self) -> None:
        """Ask the step to save its state and end."""
        self._is_to_leave = True
        if self._process is not None:
            self._process.ask_to_leave()


def _refusal(place: dict[str, Any]) -> dict[str, Any] | None:
    """Why nothing can be done here: this node has another pretune, or sees other folders than the asker."""
    node, run = platform.node(), Path(place["run"])
    if pretune.__version__ != place["version"]:
        problem = f"node {node} has pretune {pretune.__version__}, this one is {place['version']}"
        return {"problem": problem, "fix": "install the same version on every node", "exit_code": 2}
    path = Path(place["folder"], run, "run.json")
    try:
        started = read_json(path).get("started")
    except (OSError, ValueError):
        started = None
    if started == place["started"]:
        return None
    fix = "with --engine ray, the folder of the command, data, models and --out lie in a folder that every node shares"
    return {"problem": f"node {node} does not see {path.parent}", "fix": fix, "exit_code": 2}


def _last_of(errors: Any) -> str:
    errors.seek(max(0, errors.seek(0, 2) - _LAST_BYTES))
    return errors.read().decode("utf-8", errors="replace").strip()
