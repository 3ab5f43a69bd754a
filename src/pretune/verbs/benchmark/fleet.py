"""The processes of a benchmark: one for each run, asked in turn, so that all share the machine's noise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretune.evaluation.benchmark import BATCHES, summary
from pretune.evaluation.worker import Worker, WorkerLost
from pretune.files import read_json_lines
from pretune.machine import Neighbours
from pretune.runfolder import RunFolder

__all__ = ["ROUNDS", "WARMUP", "Bench", "Variant"]

ROUNDS = 10
WARMUP = 5
"""Calls before the first that is counted; one more before each round."""

_KINDS = (("latency", False), ("latency_with_encoding", True))
_FEWEST_CALLS, _MOST_CALLS = 2, 10_000  # a round
_TRIED = 3
_WAIT_SECONDS = 3600.0
_MODULE = "pretune.verbs.benchmark.worker"
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
STEPS = 1 + 2 * len(BATCHES) * len(_KINDS) * ROUNDS


@dataclass
class Variant:
    """One run that is measured: its figures so far, or the reason why it is unusable."""

    run: RunFolder
    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Bench:
    """What is measured and how: ``place`` holds the rows, as ``rows``, and takes the answers. ``seconds`` are for a figure.

    ``on_step`` is told of each of the :data:`STEPS` of each variant. ``others_busy`` is how many processors other processes
    used meanwhile, where they were in the way.
    """

    variants: Sequence[Variant]
    place: Path
    fingerprint: str
    precision: str
    threads: int | None
    seconds: float
    on_step: Callable[[int], None]
    others_busy: float = 0.0

    def measure(self) -> None:
        """Fill in every variant's ``facts``: ``latency[batch]["all" or "one"]``, memory, size; or its ``reason``."""
        neighbours = Neighbours()
        self._measure()
        self.others_busy = neighbours.in_the_way(self.threads or neighbours.processors)

    def _measure(self) -> None:
        with self._processes("all", self.threads) as ask:
            self._each(lambda one: one.facts.update(ask(one, {"do": "load"})))
            self._each(lambda one: self._answered(one, ask))
            self._time("all", ask)
            self._each(lambda one: one.facts.update(ask(one, {"do": "peak"})))
        if all(one.reason or one.facts["threads"] == 1 for one in self.variants):
            self._each(_one_thread_is_all)
            return
        with self._processes("one", 1) as ask:
            self._each(lambda one: ask(one, {"do": "load"}))
            self._time("one", ask)

    def records(self, one: Variant) -> list[dict[str, Any]]:
        """The answers of a measured variant, with the truths."""
        return list(read_json_lines(self._answers(one)))

    def _answers(self, one: Variant) -> Path:
        return self.place / f"answers-{list(self.variants).index(one)}.jsonl"

    @contextlib.contextmanager
    def _processes(
        self, key: str, threads: int | None
    ) -> Iterator[Callable[[Variant, Mapping[str, Any]], dict[str, Any]]]:
        """Start a process for each usable variant; gives what asks them."""
        with contextlib.ExitStack() as running:
            workers = {
                one.name: running.enter_context(self._worker(one, threads)) for one in self.variants if not one.reason
            }
            yield lambda one, question: workers[one.name].ask(question, seconds=_WAIT_SECONDS)

    def _worker(self, one: Variant, threads: int | None) -> Worker:
        spec = {
            "run": str(one.run.path), "rows": str(self.place / "rows"), "fingerprint": self.fingerprint,
            "precision": self.precision, "threads": threads,
        }  # fmt: skip
        few = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        return Worker(_MODULE, [json.dumps(spec)], environment={**_ENVIRONMENT, **few})

    def _each(self, do: Callable[[Variant], Any]) -> None:
        """``do`` for every usable variant in turn; one whose process fails is unusable from then on."""
        for one in self.variants:
            if one.reason:
                continue
            try:
                do(one)
            except WorkerLost as lost:
                one.reason = str(lost)

    def _answered(self, one: Variant, ask: Callable[..., dict[str, Any]]) -> None:
        ask(one, {"do": "predict", "out": str(self._answers(one))})
        self.on_step(1)

    def _time(self, key: str, ask: Callable[..., dict[str, Any]]) -> None:
        for batch in BATCHES:
            for kind, whole in _KINDS:
                self._rounds(kind, key, batch, lambda one, **how: ask(one, how), {"batch": batch, "whole": whole})

    def _rounds(
        self, kind: str, key: str, batch: int, ask: Callable[..., dict[str, Any]], what: Mapping[str, Any]
    ) -> None:
        """Time one thing of every variant, a few calls a round."""
        taken: dict[str, list[float]] = {one.name: [] for one in self.variants}
        calls: dict[str, int] = {}

        def begin(one: Variant) -> None:
            tried = sorted(ask(one, do="time", calls=_TRIED, warmup=WARMUP, **what)["ms"])
            wanted = round(1000 * self.seconds / ROUNDS / tried[0])
            calls[one.name] = max(_FEWEST_CALLS, min(_MOST_CALLS, wanted))

        def go_on(one: Variant) -> None:
            taken[one.name] += ask(one, do="time", calls=calls[one.name], warmup=1, **what)["ms"]
            self.on_step(1)

        self._each(begin)
        for _ in range(ROUNDS):
            self._each(go_on)
        for one in self.variants:
            if not one.reason:
                figures = summary(taken[one.name], rows=batch, rounds=ROUNDS)
                one.facts.setdefault(kind, {}).setdefault(str(batch), {})[key] = figures


def _one_thread_is_all(one: Variant) -> None:
    for kind, _ in _KINDS:
        for by_threads in one.facts[kind].values():
            by_threads["one"] = by_threads["all"]
