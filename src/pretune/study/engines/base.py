"""What the scheduler of steps asks of the place where they are done, and the options that choose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pretune.options import Settings, option

__all__ = ["Engine", "EngineSettings", "Hear", "Message", "Work"]

Message = Mapping[str, Any]
"""What a step says, with one key that tells what it is: ``note``, ``warn``, ``outcome``, ``error``; ``ended`` is the last."""
Hear = Callable[[Message], None]


@dataclass(frozen=True, kw_only=True)
class EngineSettings(Settings):
    """How many steps are done at a time, and where."""

    engine: str = option(
        "processes",
        "where steps are done: processes of this machine, or ray: tasks over the Ray cluster of RAY_ADDRESS or of this machine, else a Ray of their own; data, models and --out lie where every node sees them under the same path",
        choices=("processes", "ray"),
        not_in_identity=True,
    )
    jobs: int | None = option(
        None,
        "steps at a time that do not wait for each other, each in a process with its share of the processors; default: 1, with --engine ray as many as the cluster has processors (or GPUs)",
        low=1,
        high=10_000,
        not_in_identity=True,
    )


class Work(Protocol):
    """A step that was begun."""

    def ask_to_leave(self) -> None:
        """Ask it to save its state and end. It may have ended already."""
        ...

    def wait(self, seconds: float) -> bool:
        """Has it ended, at last after so many seconds?"""
        ...

    def kill(self) -> None:
        """End it at once, and wait for that."""
        ...


class Engine(Protocol):
    """Begins steps. Whoever hears gets each of a step's messages, in a thread of the engine, and ``ended`` last."""

    jobs: int
    """Steps at a time."""
    threads: int
    """Processors for each of them."""
    lives: int
    """How often a step is begun whose process is lost."""

    def start(self, order: Message, hear: Hear) -> Work:
        """Begin a step: a verb and its settings."""
        ...

    def close(self) -> None:
        """Nothing runs any more."""
        ...
