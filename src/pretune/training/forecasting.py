"""``--dry-run``: what a run would take, from a few updates and an evaluation that are really done and thrown away.

It is kept in the cache, and a run of the same settings says in run.json how far it was from that.

Minutes are start (reading, encoding, building), what does not learn and runs once, updates, and evaluations; memory is what this process
held at most, the costliest update of the first pass among them; bytes on the disk are those of the model and of the checkpoints.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.cache import kept, replace
from pretune.config import TrainSettings
from pretune.files import read_json, write_json
from pretune.interface.outcome import Outcome
from pretune.options import Settings
from pretune.runfolder import RunFolder
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.training.learning import Learning

__all__ = ["Forecast", "forecast", "foretold"]

_MOST_UPDATES, _ENOUGH_SECONDS = 24, 4.0
"""So many updates are timed, or as many as take so long, but two at least."""

_EVALUATION_SECONDS = 10.0
"""An evaluation is broken off here, and its rows so far stand for the others."""

_FILE = "forecast.json"
_CHECKPOINTS = 3
"""The two newest and the best one, while another is written."""

_RECORD_BYTES = 300_000
"""Of what a run writes beside its model: passport, log, record, tokenizer."""


class _SeenEnough(Exception):
    """The evaluation took as long as a forecast may wait."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of the parts of a run, and what it needs."""

    start_seconds: float
    frozen_seconds: float
    updates: int
    seconds_per_update: float
    evaluations: int
    seconds_per_evaluation: float
    peak_memory_bytes: int
    disk_bytes: int
    disk_bytes_at_most: int
    minutes_at_most: float | None
    runs: float = 1.0
    parts_seconds: float = 0.0

    @property
    def learning_seconds(self) -> float:
        """Updates, the evaluations between them, and the reading of rows that come in parts."""
        seconds = (
            self.updates * self.seconds_per_update + self.evaluations * self.seconds_per_evaluation + self.parts_seconds
        )
        return seconds if self.minutes_at_most is None else min(seconds, 60 * self.minutes_at_most)

    @property
    def seconds(self) -> float:
        """From the command to its end, where the evaluation of what is kept comes last."""
        return self.start_seconds + self.frozen_seconds + self.runs * (self.learning_seconds + self.seconds_per_evaluation)  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "updates": self.updates,
            "start_seconds": round(self.start_seconds, 1),
            "frozen_seconds": round(self.frozen_seconds, 1),
            "parts_seconds": round(self.parts_seconds, 1),
            "seconds_per_update": round(self.seconds_per_update, 4),
            "evaluations": self.evaluations,
            "seconds_per_evaluation": round(self.seconds_per_evaluation, 2),
            "forecast_seconds": round(self.seconds, 1),
            "peak_memory_bytes": self.peak_memory_bytes,
            "disk_bytes": self.disk_bytes,
            "disk_bytes_at_most": self.disk_bytes_at_most,
        }


def forecast(settings: TrainSettings, build: Callable[[RunFolder], Learning], *, runs: float = 1.0) -> Outcome:
    """Build in a folder that is thrown away, run some updates and an evaluation, and say what the whole would take, learned ``runs`` times over."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        learning = build(RunFolder(Path(folder)))
        frozen = learning.before_seconds
        start = time.monotonic() - began
        asked = learning.feeds.micro_batch_size
        found = _forecast(settings, learning, start=start, frozen=frozen, runs=runs)
    replace("forecasts", _name(settings), lambda aside: write_json(aside / _FILE, found.facts()))
    return Outcome(text=_text(found, learning, halved=learning.feeds.micro_batch_size < asked), facts={
        **found.facts(), "tokens_per_update": round(_costs_of_updates(learning).mean()),
        "parameters": sum(p.numel() for p in learning.model.parameters()), **learning.device.to_dict(),
    })  # fmt: skip


def foretold(settings: Settings, run: RunFolder, seconds: float) -> dict[str, Any] | None:
    """What a dry run of the same settings said, beside what ``run`` took: ``seconds``, memory, bytes on the disk. None where there was none."""
    from pretune.machine import peak_memory_bytes

    told = kept("forecasts", _name(settings), lambda folder: read_json(folder / _FILE))
    if told is None:
        return None
    files = [path for path in run.path.rglob("*") if path.is_file() and run.checkpoints_dir not in path.parents]
    return {
        "seconds": told["forecast_seconds"], "took_seconds": round(seconds, 1),
        "memory_bytes": told["peak_memory_bytes"], "took_memory_bytes": peak_memory_bytes(),
        "disk_bytes": told["disk_bytes"], "took_disk_bytes": sum(path.stat().st_size for path in files),
    }  # fmt: skip


def _name(settings: Settings) -> str:
    return json.dumps([settings.verb, settings.identity()], sort_keys=True)


def _forecast(settings: TrainSettings, learning: Learning, *, start: float, frozen: float, runs: float) -> Forecast:
    from pretune.machine import peak_memory_bytes

    per_update = _seconds_per_update(learning)
    per_evaluation = _seconds_per_evaluation(learning)
    model = sum(p.numel() * p.element_size() for p in learning.model.parameters())
    learned = sum(p.numel() * p.element_size() for p in learning.model.parameters() if p.requires_grad)
    checkpoint = model + 2 * learned + (model if learning.average else 0)
    updates = learning.pace.total_steps
    evaluations = math.ceil(updates / learning.pace.eval_every) + (learning.begin is not None)
    parts = _seconds_of_parts(learning, updates)
    return Forecast(
        start, frozen, updates, per_update, evaluations, per_evaluation, peak_memory_bytes(), model + _RECORD_BYTES,
        model + _RECORD_BYTES + (_CHECKPOINTS + 1) * checkpoint, settings.minutes, runs, parts,
    )  # fmt: skip


def _costs_of_updates(learning: Learning) -> np.ndarray:
    """What each update of the first pass costs, in tokens, pixels or samples of the main stream."""
    from pretune.engine.batching import plan_epoch
    from pretune.engine.randomness import seed_of

    feeds = learning.feeds
    stream = feeds.streams[feeds.main]
    plan = plan_epoch(stream, seed=seed_of(feeds.seed, feeds.main), epoch=0)
    return np.array([stream.lengths_N[rows].sum() for rows in plan], dtype=np.float64)


def _seconds_per_update(learning: Learning) -> float:
    """Of an update of mean cost. The costliest one comes first and is not timed: it warms up, and shows how much memory is needed."""
    from pretune.engine.fit import fit

    costs = _costs_of_updates(learning)
    learning.feeds.updates = int(costs.argmax())
    steps = fit(
        learning.model, learning.feeds, learning.objective, learning.optim, learning.budget,
        device=learning.device, cluster=learning.cluster, seed=learning.seed, rule=learning.rule,
    )  # fmt: skip
    seconds: list[float] = []
    for done in steps:
        if done.number > 1:
            seconds.append(done.seconds)
        if len(seconds) >= _MOST_UPDATES or (len(seconds) > 1 and sum(seconds) > _ENOUGH_SECONDS):
            break
        learning.feeds.updates = len(seconds) % len(costs)
    if not seconds:
        return 0.0
    timed = costs[np.arange(len(seconds)) % len(costs)]
    return sum(seconds) / len(seconds) * float(costs.mean() / timed.mean())


def _seconds_of_parts(learning: Learning, updates: int) -> float:
    """To read the files that come after the first, of which one is read for that."""
    ahead, began = learning.feeds.parts_ahead(updates), time.monotonic()
    if not ahead:
        return 0.0
    learning.feeds.read_ahead()
    return ahead * (time.monotonic() - began)


def _seconds_per_evaluation(learning: Learning) -> float:
    """Of one evaluation of the rows that choose; where it takes long, by the share of the work that was done."""
    goal, done, began = learning.goal, 0, time.monotonic()

    def watch(rows: int) -> None:
        nonlocal done
        done += rows
        if goal.costs_N is not None and time.monotonic() - began > _EVALUATION_SECONDS:
            raise _SeenEnough

    share = 1.0
    try:
        goal.evaluate(watch)
    except _SeenEnough:
        share = goal.share_of(done)
    return (time.monotonic() - began) / share


def _text(found: Forecast, learning: Learning, *, halved: bool) -> str:
    from pretune.report.words import bytes_text, duration_text

    once = (
        f", {duration_text(found.frozen_seconds)} to run what does not learn once (then it is kept)"
        if found.frozen_seconds
        else ""
    )
    once += f", {duration_text(found.parts_seconds)} to read the files in turn" if found.parts_seconds else ""
    tried = "" if found.runs == 1.0 else f" ({found.runs:.3g} whole runs, for the settings that are tried)"
    cut = (
        f" Memory was short: it fits with --micro-batch-size {learning.feeds.micro_batch_size}, as a run finds by itself."
        if halved
        else ""
    )
    return (
        f"about {duration_text(found.seconds)} in all: {duration_text(found.start_seconds)} to begin{once}, {counted(found.updates, 'update')} of {found.seconds_per_update:.2f} s "
        f"({learning.device.precision} on {learning.device.device}){tried}, {counted(found.evaluations, 'evaluation')} of {duration_text(found.seconds_per_evaluation)}; "
        f"{bytes_text(found.peak_memory_bytes)} of memory; {bytes_text(found.disk_bytes)} on the disk, {bytes_text(found.disk_bytes_at_most)} while it learns.{cut} Nothing was written."
    )
