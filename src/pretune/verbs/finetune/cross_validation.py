"""``finetune --folds``: every row is answered by a model that did not learn from it, and the model that is kept learns from all
(docs/decisions.md, D213).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder, open_run
from pretune.verbs.evaluate.story import EvaluateSettings, evaluate
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.training.settings import FinetuneSettings

__all__ = ["CROSS_VALIDATED", "as_of_all_rows", "learn_folds", "pool_folds"]

CROSS_VALIDATED = "cross-validation"
"""What the pooled answers are called among the splits of ``metrics.json``."""


def as_of_all_rows(settings: FinetuneSettings) -> FinetuneSettings:
    """The settings of the model that is kept: no test rows are cut off. Raises :class:`UsageError` for what folds do not go with."""
    if settings.fold is not None:
        raise UsageError("--fold takes one fold, --folds all of them", "give one of them")
    if settings.seeds > 1:
        raise UsageError("--seeds and --folds both repeat the run", "give one of them")
    return dataclasses.replace(settings, test_fraction=0.0)


def learn_folds(
    settings: FinetuneSettings, run: RunFolder, say: Say, learn: Callable[[FinetuneSettings], Any]
) -> list[Path]:
    """A run for each fold below ``folds/``, each evaluated on the rows that it did not learn from."""
    assert settings.folds is not None, "folds were asked for"
    places = [run.path / "folds" / f"fold-{number}" for number in range(1, settings.folds + 1)]
    for number, place in enumerate(places, start=1):
        say.note(f"fold {number} of {settings.folds}")
        fold = f"{number}/{settings.folds}"
        learn(dataclasses.replace(settings, folds=None, fold=fold, out=str(place), overwrite=False))
        if "test" not in open_run(place).metrics:
            evaluate.run(EvaluateSettings(run=str(place), baselines=False), say=say)
    return places


def pool_folds(run: RunFolder, places: list[Path]) -> dict[str, Any]:
    """Score the answers of all folds together; writes them and their evaluation into ``run``, and gives the evaluation."""
    from pretune.evaluation.evaluate import evaluate_rows
    from pretune.evaluation.intervals import groups_of
    from pretune.runs.proven import about_of
    from pretune.tasks import task_named

    folds = [open_run(place) for place in places]
    records = [record for fold in folds for record in fold.read_lines(fold.predictions_name("test"))]
    about = about_of(run)
    metric = task_named(about["task"]).metric_type.of(about)
    values = [fold.metrics["test"]["scores"][metric.primary]["value"] for fold in folds]
    spread = f"{metric.primary} of single folds {mean(values):.4f} ± {stdev(values):.4f}"
    evaluation = evaluate_rows(
        metric.measure(records), metric, task=about["task"], split=CROSS_VALIDATED, groups_N=groups_of(records),
        notes=[
            f"Each row was answered by a model that did not learn from it ({counted(len(folds), 'fold')}; {spread}). "
            "The model that is kept learned from all rows."
        ],
    )  # fmt: skip
    run.write_lines(run.predictions_name(CROSS_VALIDATED), records)
    run.write_metrics(CROSS_VALIDATED, evaluation)
    return evaluation
