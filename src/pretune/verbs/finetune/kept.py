"""Of several runs the best: which it is, and what a run takes over from it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretune.files import translate_disk_errors
from pretune.runfolder import RunFolder, machine_facts, now
from pretune.runs.keys import key_files
from pretune.sums import Sums, sealed_folder

if TYPE_CHECKING:
    from pretune.metrics.base import Metric

__all__ = ["best_first", "take_over"]

_OF_THE_KEPT = ("model", "training", "data_fingerprint", "backbone", "choosing", "linear_model", "device")
"""What run.json tells of the run that is kept."""


def best_first(metric: type[Metric], results: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places of the results, the best first; the metric's finer score decides between equal ones, then the order."""
    specs, finer = metric.specs, metric.tie_breaker
    chosen_by = metric.spec(results[0]["metric"])
    assert chosen_by is not None, "the score that chose is one of the metric's"
    sign = 1 if chosen_by.rising else -1
    finer_sign = 1 if finer is not None and specs[finer].rising else -1
    standings = [(sign * one["value"], finer_sign * one["tie"] if "tie" in one else 0.0) for one in results]
    return sorted(range(len(results)), key=standings.__getitem__, reverse=True)


def take_over(run: RunFolder, kept: RunFolder, *, seconds: float, **told: Any) -> None:
    """Finish ``run`` with the model and the records of ``kept``; ``told`` is what else run.json says."""
    Sums(kept.model_dir).check()
    with sealed_folder(run.model_dir) as copied, translate_disk_errors(copied):
        shutil.copytree(kept.model_dir, copied, dirs_exist_ok=True)
    for name in ("data.json", "log.jsonl", *key_files(kept)):
        run.take_over(name, kept)
    run.update_record(
        **{key: kept.record[key] for key in _OF_THE_KEPT if key in kept.record},
        machine=machine_facts(), status="finished", finished=now(), seconds=round(seconds, 1), **told,
    )  # fmt: skip
