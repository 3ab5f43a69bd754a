"""How long an explanation may take, and whether anybody still waits for it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from pretune.errors import CheckFailed

__all__ = ["OutOfTime", "Patience"]


class OutOfTime(CheckFailed):
    """An explanation took longer than it may, or nobody waits for it any more."""

    kind = "time"


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Patience:
    """``seconds`` from now on, as long as ``is_wanted`` says yes. The default has no end."""

    seconds: float = math.inf
    is_wanted: Callable[[], bool] = _always
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def spent(self) -> float:
        """Seconds that went by."""
        return time.monotonic() - self.began

    def allows(self, seconds: float) -> bool:
        """Would so many more seconds be in time?"""
        return self.spent + seconds <= self.seconds

    def check(self) -> None:
        """Raise :class:`OutOfTime` when the time is over or nobody waits."""
        if not self.is_wanted():
            raise OutOfTime("nobody waits for this explanation any more")
        if self.spent > self.seconds:
            raise OutOfTime(
                f"explaining this took longer than the {self.seconds:g} seconds that are allowed",
                "ask about a shorter text or clip, or serve with a larger --explain-seconds",
            )

    @contextlib.contextmanager
    def over(self, model: torch.nn.Module) -> Iterator[None]:
        """While this lasts, every layer of the model checks before it computes."""

        def check(_module: torch.nn.Module, _inputs: Any) -> None:
            self.check()

        layers = [layer for part in model.modules() if isinstance(part, torch.nn.ModuleList) for layer in part]
        handles = [part.register_forward_pre_hook(check) for part in (model, *layers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
