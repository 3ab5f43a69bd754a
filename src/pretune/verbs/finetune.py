"""``pretune finetune``: learn labels, from a pre-trained backbone or from scratch."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import option
from pretune.errors import UsageError, did_you_mean
from pretune.runfolder import RunFolder, machine_facts, now
from pretune.verbs.declare import verb
from pretune.verbs.outcome import Outcome, Say
from pretune.verbs.setup import LearnSettings

if TYPE_CHECKING:
    from pretune.data.splits import Splits
    from pretune.verbs.learning import Learning
    from pretune.verbs.setup import Setup

__all__ = ["FinetuneSettings", "finetune"]


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(LearnSettings):
    """Settings of ``pretune finetune``."""

    verb: ClassVar[str] = "finetune"

    adapt: str = option(
        "full",
        "what learns: full, head, top:N (head and N top layers), gradual (layer by layer), llrd (deeper layers slower)",
        metavar="MODE",
    )
    llrd_decay: float = option(0.9, "with --adapt llrd: each deeper layer learns this much slower", low=0.1, high=1.0)
    class_weights: str = option("none", "weigh classes by rarity", choices=("none", "auto"))
    label_smoothing: float = option(0.0, "share of the target spread over all classes", low=0.0, high=0.9)
    metric: str = option("accuracy", "score that decides which model is best", metavar="SCORE")
    max_train_samples: int | None = option(
        None, "learn from this many training rows only, each class by its share", low=2
    )
    seeds: int = option(
        1, "repeat with this many seeds and give mean and sd; the best on validation is kept", low=1, high=100
    )


@verb(FinetuneSettings)
def finetune(settings: FinetuneSettings, *, say: Say) -> Outcome:
    """Learn to tell classes apart from labelled rows.

    The task is found from the data: a text column, perhaps a second one, and a label column. Splits that the data lacks
    are made. The best model on validation is kept in RUN/model, a plain Hugging Face folder.

    Examples::

        pretune finetune scratch:bert-mini --data news.csv --out runs/scratch
        pretune finetune runs/base --data news.csv --out runs/news --epochs 5 --adapt llrd
        pretune finetune MODEL_DIR --data reviews.tsv --column text=review --column label=stars --seeds 3
    """
    from pretune.engine.parallel import join_cluster
    from pretune.verbs.setup import forecast, open_together

    cluster = join_cluster()
    if settings.dry_run:
        return forecast(
            settings, lambda run: build_learning(settings, run, read_labelled(settings, say), say, cluster)[1]
        )
    with open_together(settings, cluster) as (settings, run, state):
        if state == "finished":
            return _outcome(run, "was finished before; nothing was computed")
        if settings.seeds > 1:
            return _several_seeds(settings, run, say, cluster)
        return _one(settings, run, say, cluster, resumed=state == "resumed")


def _one(settings: FinetuneSettings, run: RunFolder, say: Say, cluster: Any, *, resumed: bool) -> Outcome:
    """One seed, from the rows to the model folder."""
    from pretune.verbs.record import finish_model, prepare_run

    began = time.monotonic()
    data = read_labelled(settings, say)
    setup, learning = build_learning(settings, run, data, say, cluster)
    if cluster.is_first:
        prepare_run(run, settings, data, setup, learning, resumed=resumed, say=say)
    for note in learning.resume():
        say.warn(note)
    learning.go()
    if cluster.is_first:
        _calibrate_and_keep(settings, run, setup, learning)
        finish_model(
            run, learning, seconds=time.monotonic() - began, result={"metric": settings.metric, **learning.best}
        )
    cluster.barrier()
    return _outcome(run, "is finished")


def read_labelled(settings: FinetuneSettings, say: Say) -> Splits:
    """The data with validation rows and the labels the model can learn. Raises :class:`UsageError` without validation."""
    from pretune.data.load import load_splits
    from pretune.verbs.rows import fewer_rows, labels_of

    data = load_splits(settings)
    labels_of(data)
    if "validation" not in data or len(data["validation"]) == 0:
        raise UsageError(
            "there are no validation rows to choose the best model by",
            "give a validation split, or raise --validation-fraction",
        )
    if settings.max_train_samples is not None:
        fewer = fewer_rows(data["train"], settings.max_train_samples, seed=settings.seed)
        say.note(f"learning from {len(fewer)} of {len(data['train'])} training rows")
        data = data.replace({**data, "train": fewer}, max_train_samples={"rows": len(fewer), "of": len(data["train"])})
    return data


def build_learning(
    settings: FinetuneSettings, run: RunFolder, data: Splits, say: Say, cluster: Any
) -> tuple[Setup, Learning]:
    """Backbone, task, model, objective, optimizer and loop of one seed."""
    from collections import Counter

    from pretune.objectives.supervised import Supervised
    from pretune.tasks.predicting import predict_rows
    from pretune.tasks.text_classification import TextClassification, balanced_class_weights
    from pretune.verbs.proven import record_of
    from pretune.verbs.rows import data_fingerprint, labels_of
    from pretune.verbs.setup import choose, find_backbone, make_encoder, make_learning

    labels = labels_of(data)
    device = choose(settings, run, cluster)
    fingerprint = data_fingerprint(data)
    with cluster.first_before_others():
        backbone = find_backbone(settings, data)
    encoder = make_encoder(backbone, settings)
    counts = Counter(data["train"]["label"])
    weights = balanced_class_weights([counts[label] for label in labels]) if settings.class_weights == "auto" else None
    task = TextClassification(labels, encoder, class_weights=weights, label_smoothing=settings.label_smoothing)
    if settings.metric not in task.higher_is_better:
        raise UsageError(f"--metric is {settings.metric!r}", did_you_mean(settings.metric, task.higher_is_better))
    with cluster.first_before_others():
        rows = {
            name: task.encode_rows(data[name], fingerprint=f"{fingerprint}:{name}:{len(data[name])}")
            for name in ("train", "validation")
        }
    model, report = task.build(backbone, seed=settings.seed)
    truths = list(data["validation"]["label"])

    def evaluate(on_batch: Callable[[int], None]) -> dict[str, float]:
        predictions = predict_rows(task, model, rows["validation"], device, on_batch=on_batch)
        records = [record_of(task.labels, p, t) for p, t in zip(predictions, truths, strict=True)]
        return {name: float(value) for name, value in task.scores(task.statistics(records).sum(axis=0)).items()}

    setup, learning = make_learning(
        settings, run, backbone, model, report, device, cluster, say,
        objective=lambda adaptation: Supervised(task, adaptation),
        streams=lambda objective: objective.streams(rows["train"], batch_size=settings.batch_size, group_by_length=settings.group_by_length),
        goal={"metric": settings.metric, "higher_is_better": task.higher_is_better[settings.metric], "evaluate": evaluate},
        default_epochs=_default_epochs(len(rows["train"]), settings.batch_size),
    )  # fmt: skip
    setup.task, setup.rows, setup.fingerprint, setup.truths = task, rows, fingerprint, truths
    setup.encoded = {name: (found.lengths_N, found.ledger) for name, found in rows.items()}
    return setup, learning


def _default_epochs(num_rows: int, batch_size: int) -> float:
    """Three passes, more on small data: about 300 updates, 50 passes at most. Early rows are cheap, the best is kept."""
    updates = max(1, num_rows // batch_size)
    return float(max(3, min(50, round(300 / updates))))


def _calibrate_and_keep(settings: FinetuneSettings, run: RunFolder, setup: Setup, learning: Learning) -> None:
    """Fit the temperature on validation and write the model folder."""
    import numpy as np

    from pretune.evaluation.calibration import fit_temperature
    from pretune.tasks.predicting import predict_rows
    from pretune.verbs.record import write_model

    predictions = predict_rows(setup.task, learning.model, setup.rows["validation"], learning.device)
    log_NC = np.log(np.maximum(np.array([p.probabilities_C for p in predictions]), 1e-30))
    truth_N = np.array([setup.task.index[truth] for truth in setup.truths])
    write_model(
        run,
        learning.model,
        setup.backbone.tokenizer,
        {**setup.task.to_dict(), "temperature": fit_temperature(log_NC, truth_N)},
    )


def _several_seeds(settings: FinetuneSettings, run: RunFolder, say: Say, cluster: Any) -> Outcome:
    """A run for each seed under ``seeds/``; the best on validation gives the model."""
    began = time.monotonic()
    seeds = range(settings.seed, settings.seed + settings.seeds)
    places = [run.path / "seeds" / f"seed-{seed}" for seed in seeds]
    for seed, place in zip(seeds, places, strict=True):
        say.note(f"seed {seed}")
        finetune.run(dataclasses.replace(settings, seed=seed, seeds=1, out=str(place), overwrite=False), say=say)
    if cluster.is_first:
        _keep_best_seed(settings, run, places, time.monotonic() - began)
    cluster.barrier()
    return _outcome(run, "is finished")


def _keep_best_seed(settings: FinetuneSettings, run: RunFolder, places: list[Path], seconds: float) -> None:
    from statistics import mean, stdev

    from pretune.runfolder import open_run
    from pretune.tasks.classification_scores import HIGHER_IS_BETTER

    results = [open_run(place).record["result"] for place in places]
    values = [result["value"] for result in results]
    best = (max if HIGHER_IS_BETTER[settings.metric] else min)(range(len(values)), key=values.__getitem__)
    kept = open_run(places[best])
    shutil.copytree(kept.model_dir, run.model_dir, dirs_exist_ok=True)
    for name in ("data.json", "log.jsonl", "train_keys.npy"):
        shutil.copyfile(kept.path / name, run.path / name)
    run.update_record(
        **{key: kept.record[key] for key in ("model", "training", "data_fingerprint", "backbone")},
        machine=machine_facts(), status="finished", finished=now(), seconds=round(seconds, 1),
        seed_runs=[str(place.relative_to(run.path)) for place in places],
        result={**results[best], "seed": settings.seed + best, "values": values, "mean": mean(values), "sd": stdev(values)},
    )  # fmt: skip


def _outcome(run: RunFolder, said: str) -> Outcome:
    record = run.record
    result = record.get("result", {})
    spread = (
        f", mean {result['mean']:.4f} ± {result['sd']:.4f} over {len(result['values'])} seeds"
        if "mean" in result
        else ""
    )
    text = f"{run.path} {said}: validation {result['metric']} {result['value']:.4f} at epoch {result.get('epoch')}{spread}. Next: pretune evaluate {run.path}"
    return Outcome(
        text=text,
        facts={"run": str(run.path), "status": record["status"], "result": result, "model": str(run.model_dir)},
    )
