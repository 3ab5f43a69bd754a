"""``finetune --seeds``: a run for each seed, of which the best on validation gives the model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, open_run
from pretune.verbs.finetune.kept import best_first, take_over

if TYPE_CHECKING:
    from pretune.engine.parallel import Cluster
    from pretune.training.settings import FinetuneSettings

__all__ = ["learn_seeds"]


def learn_seeds(
    settings: FinetuneSettings, run: RunFolder, say: Say, cluster: Cluster, learn: Callable[[FinetuneSettings], Any]
) -> None:
    """A run for each seed below ``seeds/``; what the best one made is what ``run`` holds."""
    began = time.monotonic()
    seeds = range(settings.seed, settings.seed + settings.seeds)
    places = [run.path / "seeds" / f"seed-{seed}" for seed in seeds]
    for seed, place in zip(seeds, places, strict=True):
        say.note(f"seed {seed}")
        learn(dataclasses.replace(settings, seed=seed, seeds=1, out=str(place), overwrite=False))
    if cluster.is_first:
        _keep_best(settings, run, places, time.monotonic() - began)
    cluster.barrier()


def _keep_best(settings: FinetuneSettings, run: RunFolder, places: list[Path], seconds: float) -> None:
    """Take over the model and the records of the best run, and tell of the others."""
    from pretune.tasks import task_named

    records = [open_run(place).record for place in places]
    results = [record["result"] for record in records]
    values = [result["value"] for result in results]
    best = best_first(task_named(records[0]["model"]["task"]).metric_type, results)[0]
    take_over(
        run, open_run(places[best]), seconds=seconds,
        seed_runs=[str(place.relative_to(run.path)) for place in places],
        result={**results[best], "seed": settings.seed + best, "values": values, "mean": mean(values), "sd": stdev(values)},
    )  # fmt: skip
