"""``finetune --seeds``: a run for each seed, of which the best on validation gives the model."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from pretune.files import translate_disk_errors
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, machine_facts, now, open_run
from pretune.sums import Sums, sealed_folder

if TYPE_CHECKING:
    from pretune.engine.parallel import Cluster
    from pretune.metrics.base import Metric
    from pretune.training.settings import FinetuneSettings

__all__ = ["learn_seeds"]

_OF_ONE_SEED = ("model", "training", "data_fingerprint", "backbone", "choosing", "linear_model")
"""What a run of several seeds tells of the one that is kept."""


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
    best = _best_of(task_named(records[0]["model"]["task"]).metric_type, results)
    kept = open_run(places[best])
    Sums(kept.model_dir).check()
    with sealed_folder(run.model_dir) as copied, translate_disk_errors(copied):
        shutil.copytree(kept.model_dir, copied, dirs_exist_ok=True)
    for name in ("data.json", "log.jsonl", "train_keys.npy"):
        run.take_over(name, kept)
    run.update_record(
        **{key: kept.record[key] for key in _OF_ONE_SEED if key in kept.record},
        machine=machine_facts(), status="finished", finished=now(), seconds=round(seconds, 1),
        seed_runs=[str(place.relative_to(run.path)) for place in places],
        result={**results[best], "seed": settings.seed + best, "values": values, "mean": mean(values), "sd": stdev(values)},
    )  # fmt: skip


def _best_of(metric: type[Metric], results: Sequence[Mapping[str, Any]]) -> int:
    """The place of the best result; the metric's finer score decides between equal ones, then the first."""
    specs, finer = metric.specs, metric.tie_breaker
    chosen_by = metric.spec(results[0]["metric"])
    assert chosen_by is not None, "the score that chose is one of the metric's"
    sign = 1 if chosen_by.rising else -1
    finer_sign = 1 if finer is not None and specs[finer].rising else -1
    standings = [(sign * one["value"], finer_sign * one["tie"] if "tie" in one else 0.0) for one in results]
    return max(range(len(results)), key=standings.__getitem__)
