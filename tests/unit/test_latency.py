"""Latency: calls in turn, each busy for its time, the first not counted; batches that have their size."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.compress.int8_graph import Recipe
from pretune.engine.devices import Device
from pretune.evaluation import latency
from pretune.tasks.predicting import answering
from pretune.verbs.quantize.trials import Trial, chosen_among


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
    found = latency.measure_latency({"quick": clock.call("quick", 0.01), "slow": clock.call("slow", 0.03)}, seconds=0.2)
    assert clock.made == ["quick", "slow"] * (len(clock.made) // 2)
    assert found["quick"].n == found["slow"].n == pytest.approx(20, abs=1)
    assert found["quick"].p50_ms == pytest.approx(10)
    assert found["slow"].p50_ms == pytest.approx(30)


def test_what_is_far_slower_ends_the_turns_after_four_times_as_long(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    found = latency.measure_latency({"quick": clock.call("quick", 0.01), "slow": clock.call("slow", 1.0)}, seconds=2.0)
    assert found["quick"].n == found["slow"].n == pytest.approx(8, abs=1), "in place of 200"


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


def trials_at(ratio: float, noise: float, rng: np.random.Generator, calls: int = 40) -> list[Trial]:
    """Two ways to round that lose nothing, timed in turn: the second takes ``ratio`` of the first's time."""
    times = [base * rng.normal(1.0, noise, calls) / 1000 for base in (1.0, ratio)]
    recipes = (Recipe("dynamic"), Recipe("static", calibration="minmax"))
    return [
        Trial(recipe, Path(), score=0.9, lost=0.0, latency=latency._summary(taken.tolist()))
        for recipe, taken in zip(recipes, times, strict=True)
    ]


@pytest.mark.parametrize(("ratio", "chosen"), [(1.0, "dynamic"), (1.1, "dynamic"), (0.97, "dynamic"), (0.7, "static"), (0.5, "static")])  # fmt: skip
def test_a_choice_by_time_is_the_same_each_time(ratio: float, chosen: str):
    rng = np.random.default_rng(0)
    assert {chosen_among(trials_at(ratio, 0.05, rng)).recipe.method for _ in range(200)} == {chosen}


def test_what_loses_less_comes_first_and_what_is_faster_goes_before_it():
    rng = np.random.default_rng(0)
    slow, fast = trials_at(0.95, 0.01, rng)
    fast.lost = -0.2
    assert chosen_among([slow, fast]) is fast, "within the noise the better one"
    slow, fast = trials_at(0.6, 0.01, rng)
    fast.lost = 0.2
    assert chosen_among([slow, fast]) is fast, "both keep the score, and one is clearly faster"
