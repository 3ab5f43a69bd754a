"""How long calls take, measured in turn so that they share the machine's noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Latency", "crowded", "latency_by_size", "measure_latency"]

_FEWEST = 5
_SIZES = (1, 32)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a call over ``n`` calls: median and 95th percentile."""

    n: int
    p50_ms: float
    p95_ms: float

    def to_dict(self) -> dict[str, float | int]:
        """JSON values, rounded to a microsecond."""
        return {"n": self.n, "p50_ms": round(self.p50_ms, 3), "p95_ms": round(self.p95_ms, 3)}


def measure_latency(
    calls: Mapping[str, Callable[[], None]], *, seconds: float = 3.0, warmup: int = 3
) -> dict[str, Latency]:
    """The latency of each call. One call of each is made in turn until each was busy for ``seconds``, five times at least;
    what others do on the machine meanwhile falls on all of them alike. The first ``warmup`` rounds are not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    rounds = 0
    while rounds < warmup + _FEWEST or any(sum(times) < seconds for times in taken.values()):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if rounds >= warmup:
                taken[name].append(time.perf_counter() - began)
        rounds += 1
    return {name: _summary(times) for name, times in taken.items()}


def latency_by_size(
    calls_of: Callable[[int], Mapping[str, Callable[[], None]]], *, seconds: float = 3.0
) -> dict[str, dict[str, Any]]:
    """Of each name in what ``calls_of`` gives for batches of so many rows: ``latency_1`` and ``latency_32``, as JSON values."""
    found: dict[str, dict[str, Any]] = {}
    for size in _SIZES:
        for name, latency in measure_latency(calls_of(size), seconds=seconds).items():
            found.setdefault(name, {})[f"latency_{size}"] = latency.to_dict()
    return found


def crowded(others_busy: float, processors: int) -> list[str]:
    """The sentence that times need which were taken while other processes kept so many processors busy; none for 0."""
    if not others_busy:
        return []
    return [
        f"Other processes kept {others_busy:.1f} of this machine's {processors} processors busy meanwhile: "
        "these are times of a busy machine."
    ]


def _summary(seconds: list[float]) -> Latency:
    ms = np.array(seconds) * 1000
    return Latency(len(ms), float(np.median(ms)), float(np.percentile(ms, 95)))
