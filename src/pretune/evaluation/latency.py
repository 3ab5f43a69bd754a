"""How long calls take, measured in turn so that they share the machine's noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Latency", "crowded", "latency_by_size", "measure_latency"]

_FEWEST = 5
_LONGEST = 4
_SIZES = (1, 32)
_PARTS = 5
_CLEARLY = 0.9


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a call over ``n`` calls: median and 95th percentile; ``parts_ms`` are the medians of successive fifths of them."""

    n: int
    p50_ms: float
    p95_ms: float
    parts_ms: tuple[float, ...] = ()

    def is_clearly_under(self, other: Latency) -> bool:
        """By a tenth and in every fifth of the time in which both were measured in turn: what is less than that, the next
        measurement may turn round.
        """
        pairs = list(zip(self.parts_ms, other.parts_ms, strict=True))
        return bool(pairs) and all(own < _CLEARLY * others for own, others in pairs)

    def to_dict(self) -> dict[str, float | int]:
        """JSON values, rounded to a microsecond."""
        return {"n": self.n, "p50_ms": round(self.p50_ms, 3), "p95_ms": round(self.p95_ms, 3)}


def measure_latency(
    calls: Mapping[str, Callable[[], None]], *, seconds: float = 3.0, warmup: int = 3
) -> dict[str, Latency]:
    """The latency of each call. One call of each is made in turn until each was busy for ``seconds``, or one of them for four times
    as long, five times at least; what others do on the machine meanwhile falls on all of them alike. The first ``warmup`` rounds
    are not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    rounds = 0
    busy = dict.fromkeys(calls, 0.0)
    while rounds < warmup + _FEWEST or (min(busy.values()) < seconds and max(busy.values()) < _LONGEST * seconds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if rounds >= warmup:
                taken[name].append(time.perf_counter() - began)
                busy[name] += taken[name][-1]
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
    parts = tuple(float(np.median(part)) for part in np.array_split(ms, _PARTS))
    return Latency(len(ms), float(np.median(ms)), float(np.percentile(ms, 95)), parts)
