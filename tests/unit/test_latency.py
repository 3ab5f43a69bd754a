"""Latency: calls in turn, each busy for its time, the first not counted; batches that have their size."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from pretune.engine.devices import Device
from pretune.evaluation import latency
from pretune.tasks.predicting import answering


class Clock:
    """A clock that calls move: ``takes`` seconds each, in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.made = 0.0, []
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def call(self, name: str, *takes: float) -> Any:
        turn = itertools.chain(takes, itertools.repeat(takes[-1]))

        def call() -> None:
            self.now += next(turn)
            self.made.append(name)

        return call


def test_calls_are_made_in_turn_until_each_was_busy(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    found = latency.measure_latency({"quick": clock.call("quick", 0.01), "slow": clock.call("slow", 0.1)}, seconds=0.2)
    assert clock.made == ["quick", "slow"] * (len(clock.made) // 2)
    assert found["quick"].n == found["slow"].n == pytest.approx(20, abs=1)
    assert found["quick"].p50_ms == pytest.approx(10)
    assert found["slow"].p50_ms == pytest.approx(100)


def test_the_first_calls_are_not_counted_and_five_are_at_least(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    found = latency.measure_latency(
        {"one": clock.call("one", 9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 2.0)}, seconds=0.1, warmup=2
    )
    assert found["one"].to_dict() == {"n": 5, "p50_ms": 1000.0, "p95_ms": pytest.approx(1800.0)}


def test_each_size_is_measured_of_all(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    found = latency.latency_by_size(
        lambda size: {"a": clock.call("a", 0.001 * size), "b": clock.call("b", 0.002 * size)}, seconds=0.01
    )
    assert [found[name][key]["p50_ms"] for name in "ab" for key in ("latency_1", "latency_32")] == [
        1.0,
        32.0,
        2.0,
        64.0,
    ]


class Rows(tuple[int, ...]):
    """A batch that is its rows."""

    __slots__ = ()

    def to(self, _device: Any) -> Rows:
        return self


class Counting:
    """A task that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Rows] = []

    def collate(self, items: list[int]) -> Rows:
        return Rows(items)

    def predict(self, _model: Any, batch: Rows) -> None:
        self.asked.append(batch)


@pytest.mark.parametrize(("there", "size"), [(3, 32), (70, 32), (3, 1), (100, 1)])
def test_a_batch_has_its_size_whatever_there_is(there: int, size: int):
    task: Any = Counting()
    device = Device(torch.device("cpu"), "fp32", 1)
    call = answering(task, torch.nn.Identity(), list(range(there)), size, device)
    for _ in range(130 // size):
        call()
    assert {len(batch) for batch in task.asked} == {size}
    assert {row for batch in task.asked for row in batch} == set(range(min(there, 64)))
