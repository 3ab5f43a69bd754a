"""``pretune probe``: what a model's features know before anything is learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pretune.errors import DataError
from pretune.interface.declare import verb
from pretune.interface.next_steps import FEW_ROWS
from pretune.interface.outcome import Outcome, Say
from pretune.modalities import Modality
from pretune.options import option
from pretune.runs.reading import refuse_missing_data
from pretune.training.settings import FinetuneSettings
from pretune.verbs.probe.setup import FrozenSettings, as_the_backbone_reads, data_with_classes

if TYPE_CHECKING:
    import numpy as np

    from pretune.data.reading import Reading
    from pretune.data.splits import Splits
    from pretune.metrics.base import Measured
    from pretune.tasks.classes.labelling import Labelling
    from pretune.tasks.linear.fit import LinearFit

__all__ = ["ProbeSettings", "probe"]

_NAMES = {"linear": "linear classifier", "neighbours": "nearest neighbours", "majority": "the labels' shares alone"}


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(FrozenSettings):
    """Settings of ``pretune probe``."""

    verb: ClassVar[str] = "probe"

    split: str = option("validation", "which split to score", choices=("validation", "test"))
    neighbours: int = option(20, "training rows that vote", low=1, high=10_000)
    max_train_samples: int | None = option(None, "fit on this many training rows only, each class by its share", low=2)
    resamples: int = option(2000, "bootstrap resamples of the intervals", low=100, high=100_000)


@verb(ProbeSettings)
def probe(settings: ProbeSettings, *, say: Say) -> Outcome:
    """Say in seconds what a model's features know of the classes: nothing of the model learns.

    Each row goes through the model once; the outputs are kept, for `finetune --adapt head` too. A linear classifier, its
    regularisation chosen inside train, and the nearest training rows then guess the held-out ones; those that also stand in train
    are left out. `--adapt head` begins at that classifier: where it does well with few labels, that may be all that is needed.

    Examples::

        pretune probe MODEL_DIR --data photos/
        pretune probe runs/base --data news.csv --max-train-samples 500
        pretune probe scratch:resnet-18 --data photos/ --json
    """
    refuse_missing_data(*settings.every_place)
    from pretune.evaluation.intervals import bootstrap

    settings, reading = as_the_backbone_reads(settings, say)
    found = _probed(settings, reading, say)
    scores = {
        name: {
            score: value.to_dict()
            for score, value in bootstrap(
                measured, found.task.metric.specs, resamples=settings.resamples, groups_N=found.groups_N
            ).items()
        }
        for name, measured in found.measured.items()
    }
    return _outcome(settings, scores, found)


class _Probed(NamedTuple):
    """The answers of each method to the rows that are scored, measured, and what is told of them."""

    measured: dict[str, Measured]
    task: Labelling
    fit: LinearFit
    groups_N: np.ndarray | None
    width: int
    left_out: int
    pooling: dict[str, Any] | None


def _probed(settings: ProbeSettings, reading: Reading | None, say: Say) -> _Probed:
    """The model as `--adapt head` begins with it, and the rows that it is asked about."""
    import numpy as np

    from pretune.runs.rows import row_groups
    from pretune.tasks.linear.head import place, read, solve
    from pretune.tasks.predicting import predict_rows
    from pretune.tasks.probes import by_row, neighbour_votes
    from pretune.training.linear_start import units_by_id
    from pretune.verbs.probe.setup import held_rows, set_up

    data = _data(settings, reading, say)
    held_N = held_rows(data, settings.split, say)
    made = set_up(settings, data, (settings.split,), say)
    task, head, rows = made.head.task, made.head, made.rows
    has_N = np.array([target is not None for target in task.targets_by_row(data["train"])], dtype=bool)
    if lacking := int((~has_N).sum()):
        say.warn(f"{lacking} rows of train have no label and are left out")
    items = {name: read(head, rows[name], made.device) for name in ("train", settings.split)}
    fit = solve(head, rows["train"], units_by_id(data["train"]), made.device, items["train"])
    place(head, fit)
    train, scored = data["train"].select(np.flatnonzero(has_N)), data[settings.split].select(np.flatnonzero(held_N))
    known = task.known_answers(train, scored)
    answers = predict_rows(head.learned, head.model, rows[settings.split], made.device)
    linear_NC = np.array([one.outputs_C for one in answers])[held_N]
    features = {name: by_row(items[name], rows[name]) for name in items}
    votes_NC = neighbour_votes(features["train"][has_N], features[settings.split][held_N], known, settings.neighbours)
    found = {"linear": linear_NC, "neighbours": votes_NC, "majority": known.prior()}
    measured = {name: known.measured(probabilities_NC) for name, probabilities_NC in found.items()}
    return _Probed(
        measured, task, fit, row_groups(scored), items["train"].shape[1], int((~held_N).sum()), made.pooling
    )  # fmt: skip


def _data(settings: ProbeSettings, reading: Reading | None, say: Say) -> Splits:
    """The rows, perhaps fewer of train. Raises :class:`UsageError` and :class:`DataError`."""
    from pretune.runs.rows import fewer_rows

    data = data_with_classes(settings, reading, "probe", say)
    if len(data.get(settings.split, ())) == 0:
        raise DataError(f"{settings.place} has no {settings.split} rows", f"--split takes one of: {', '.join(data)}")
    if settings.max_train_samples is None:
        return data
    return data.replace({**data, "train": fewer_rows(data["train"], settings.max_train_samples, seed=settings.seed)})


def _outcome(settings: ProbeSettings, scores: dict[str, Any], found: _Probed) -> Outcome:
    from pretune.report.words import score_text, title_of

    primary = found.task.metric.primary
    held, rows = found.measured["linear"].num_rows, found.fit.rows
    lines = [
        f"{settings.backbone}: {found.width} features a row, {rows} training rows, {held} {settings.split} rows; nothing of the model learned"
    ]
    for name, score in scores.items():
        how = f" ({found.fit.sentence()})" if name == "linear" else ""
        lines.append(f"  {_NAMES[name]}: {title_of(primary)} {score_text(primary, score[primary])}{how}")
    learner = FinetuneSettings.from_dict(settings.to_dict(), adapt="head", threads=None, precision="auto", seed=0)
    lines.append(f"Next: {learner.command()}")
    if found.task.modality is Modality.AUDIO and rows < FEW_ROWS:
        simple = dataclasses.replace(learner, backbone=Modality.AUDIO.linear, adapt="full", sampling_rate=None)
        lines.append(f"For so few clips first: {simple.command()}")
    facts = {
        "backbone": settings.backbone, "data": settings.place, "split": settings.split, "features": found.width,
        "train_rows": rows, "n": held, "also_in_train": found.left_out, "neighbours": settings.neighbours, "primary": primary,
        "linear": found.fit.facts(), "pooling": found.pooling, "scores": scores,
    }  # fmt: skip
    return Outcome(text="\n".join(lines), facts=facts)
