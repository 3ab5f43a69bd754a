"""``pretune probe``: what a model's features know before anything is learned."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import (
    AsCleanedSettings,
    AudioSettings,
    BackboneSettings,
    CleanSettings,
    DataSettings,
    ImageSettings,
    TextSettings,
)
from pretune.errors import DataError, ModelError, UsageError
from pretune.options import option
from pretune.runfolder import RunFolder, is_run
from pretune.verbs.declare import verb
from pretune.verbs.finetune import FinetuneSettings
from pretune.verbs.outcome import Outcome, Say
from pretune.verbs.reading import learned_by, refuse_missing_data

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.data.reading import Reading
    from pretune.data.splits import Splits
    from pretune.tasks.baseline_parts import KnownLabels
    from pretune.tasks.labelling import Labelling

__all__ = ["ProbeSettings", "probe"]

_NAMES = {"linear": "linear classifier", "neighbours": "nearest neighbours", "majority": "the labels' shares alone"}


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(  # pyright: ignore[reportIncompatibleVariableOverride]
    AsCleanedSettings, BackboneSettings, TextSettings, ImageSettings, AudioSettings, CleanSettings, DataSettings
):
    """Settings of ``pretune probe``."""

    verb: ClassVar[str] = "probe"

    split: str = option("validation", "which split to score", choices=("validation", "test"))
    neighbours: int = option(20, "training rows that vote", low=1, high=10_000)
    max_train_samples: int | None = option(None, "fit on this many training rows only, each class by its share", low=2)
    seed: int = option(0, "seed of the rows taken and of new weights", low=0, high=2**32 - 1)
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000)
    precision: str = option("auto", "number format of matrix products", choices=("auto", "fp32", "bf16"))
    threads: int | None = option(None, "processor threads; default: all", low=1)


@verb(ProbeSettings)
def probe(settings: ProbeSettings, *, say: Say) -> Outcome:
    """Say in seconds what a model's features know of the classes: nothing of the model learns.

    Each row goes through the model once; the features are kept for the next time. A linear classifier and the nearest
    training rows then guess the held-out ones. Good features with few labels: `--adapt head` may be all that is needed.

    Examples::

        pretune probe MODEL_DIR --data photos/
        pretune probe runs/base --data news.csv --max-train-samples 500
        pretune probe scratch:resnet-18 --data photos/ --json
    """
    refuse_missing_data(*settings.every_place)
    from pretune.evaluation.intervals import bootstrap
    from pretune.tasks.probes import probe_measured

    settings, reading = _as_the_backbone_reads(settings, say)
    features, known, groups_N, task = _features(settings, reading, say)
    measured = probe_measured(features["train"], features[settings.split], known, neighbours=settings.neighbours)
    scores = {
        name: {
            score: value.to_dict()
            for score, value in bootstrap(
                rows, task.metric_type.specs, resamples=settings.resamples, groups_N=groups_N
            ).items()
        }
        for name, rows in measured.items()
    }
    return _outcome(settings, scores, features, task)


def _as_the_backbone_reads(settings: ProbeSettings, say: Say) -> tuple[ProbeSettings, Reading | None]:
    """The settings with texts cleaned as the backbone learned, where it is a run and nothing else is said; and its reading."""
    if not is_run(settings.backbone):
        return replace(settings, clean=settings.clean or (), redact=bool(settings.redact)), None
    reading = replace(learned_by(RunFolder(Path(settings.backbone)), settings), needed=())
    if reading.clean:
        say.note(f"texts are cleaned as {settings.backbone} learned: {', '.join(reading.clean)}")
    clean = tuple(step for step in reading.clean if step != "redact")
    return replace(settings, clean=clean, redact="redact" in reading.clean), reading


def _features(
    settings: ProbeSettings, reading: Reading | None, say: Say
) -> tuple[dict[str, np.ndarray], KnownLabels, np.ndarray | None, Labelling]:
    """Features (N, F) and labels of the training rows and of the split that is scored, the groups of the latter, and the task."""
    import numpy as np

    from pretune.data.load import load_splits
    from pretune.engine.devices import choose_device
    from pretune.tasks import check_settings, find_task
    from pretune.tasks.labelling import Labelling
    from pretune.verbs.backbone import find_backbone, steady
    from pretune.verbs.rows import fewer_rows, row_groups, tell_reading_of

    data = load_splits(settings, reading)
    tell_reading_of(data, say, settings=settings)
    kind = find_task(data)
    if not issubclass(kind, Labelling):
        raise UsageError(
            f"the rows of {settings.place} are for {kind.name}, and a probe tells classes apart",
            "give rows with classes: --column label=NAME, or labels=NAME where a row has several",
        )
    check_settings(settings, kind)
    kind.check(data)
    if len(data.get(settings.split, ())) == 0:
        raise DataError(f"{settings.place} has no {settings.split} rows", f"--split takes one of: {', '.join(data)}")
    if settings.max_train_samples is not None:
        data = data.replace(
            {**data, "train": fewer_rows(data["train"], settings.max_train_samples, seed=settings.seed)}
        )
    learner = FinetuneSettings.from_dict(settings.to_dict(), adapt="head", augment="none")
    device = choose_device(precision=settings.precision, threads=settings.threads)
    backbone = find_backbone(learner, data)
    task = kind.start(data, backbone, learner)
    found = _run(settings, data, task, backbone, steady(device, backbone, learner), say)
    labelled: dict[str, Dataset] = {}
    for name in ("train", settings.split):
        has_N = np.array([target is not None for target in task.targets_by_row(data[name])], dtype=bool)
        if lacking := int((~has_N).sum()):
            say.warn(f"{lacking} rows of {name} have no label and are left out")
        found[name], labelled[name] = found[name][has_N], data[name].select(np.flatnonzero(has_N))
    scored = labelled[settings.split]
    return found, task.known_labels(labelled["train"], scored), row_groups(scored), task


def _run(
    settings: ProbeSettings, data: Splits, task: Labelling, backbone: Backbone, device: Any, say: Say
) -> dict[str, np.ndarray]:
    from pretune.backbones.adapt import plan_adaptation
    from pretune.backbones.fast import make_fast
    from pretune.tasks.probes import features_of
    from pretune.tasks.trunk_rows import trunk_of
    from pretune.verbs.rows import check_ledgers, data_fingerprint

    names = ("train", settings.split)
    fingerprint = data_fingerprint(data)
    rows = {name: task.encode_rows(data[name], fingerprint=f"{fingerprint}:{name}") for name in names}
    check_ledgers({name: part.ledger for name, part in rows.items()}, say)
    model, _ = task.build(backbone, seed=settings.seed)
    if device.device.type == "cpu":
        make_fast(model)
    model.to(device.device)
    adaptation = plan_adaptation(model, "head", weight_decay=0.0, llrd_decay=1.0)
    trunk = trunk_of(task, model, adaptation, rows["train"], device)
    if trunk is None:
        raise ModelError(
            f"the features of {settings.backbone} cannot be told from its head",
            "fine-tune it instead: pretune finetune ... --adapt head",
        )
    bar = say.progress(sum(len(part) for part in rows.values()), "running the model once")
    found = {
        name: features_of(task, trunk, rows[name], device, fingerprint=f"{fingerprint}:{name}", on_batch=bar.update)
        for name in names
    }
    bar.close()
    return found


def _outcome(
    settings: ProbeSettings, scores: dict[str, Any], features: dict[str, np.ndarray], task: Labelling
) -> Outcome:
    from pretune.report.words import score_text, title_of

    rows, width = features["train"].shape
    held = len(features[settings.split])
    lines = [
        f"{settings.backbone}: {width} features a row, {rows} training rows, {held} {settings.split} rows; nothing of the model learned"
    ]
    for name, found in scores.items():
        shown = score_text(task.metric_type.primary, found[task.metric_type.primary])
        lines.append(f"  {_NAMES[name]}: {title_of(task.metric_type.primary)} {shown}")
    names = {spec.name for group in (DataSettings, CleanSettings) for spec in fields(group)}
    lines.append(
        f"Next: {shlex.join(['pretune', 'finetune', settings.backbone, *settings.flags(names), '--adapt', 'head'])}"
    )
    facts = {
        "backbone": settings.backbone, "data": settings.place, "split": settings.split, "features": width,
        "train_rows": rows, "n": held, "neighbours": settings.neighbours, "primary": task.metric_type.primary, "scores": scores,
    }  # fmt: skip
    return Outcome(text="\n".join(lines), facts=facts)
