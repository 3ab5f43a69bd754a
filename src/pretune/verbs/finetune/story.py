"""``pretune finetune``: learn a task from labelled rows, from a pre-trained backbone or from scratch."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import refuse_unread
from pretune.runfolder import RunFolder
from pretune.runs.reading import refuse_missing_data
from pretune.training.linear_start import told_of
from pretune.training.pace import default_epochs
from pretune.training.settings import FinetuneSettings
from pretune.verbs.finetune.cross_validation import as_of_all_rows, learn_folds, pool_folds
from pretune.verbs.finetune.several_seeds import learn_seeds
from pretune.verbs.finetune.tuning import refuse_untunable, tune, tuned_passes
from pretune.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.backbones.load import Backbone
    from pretune.data.splits import Splits
    from pretune.tasks.base import Task
    from pretune.training.frozen import Frozen
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup

__all__ = ["finetune"]

_READ_BY_ADAPT = {
    "--adapt full": (),
    "--adapt gradual": (),
    "--adapt llrd": ("llrd_decay",),
    "--adapt lora": ("lora_rank", "lora_alpha", "lora_targets"),
    "--adapt contrastive": (),
    "--adapt head": ("cache_trunk",),
    "--adapt linear": ("cache_trunk",),
    "--adapt top:N": ("cache_trunk",),
}


_NOT_OF_UPDATES = {"precision", "seed", "threads", "max_tokens", "group_by_length", "device"}
"""Settings of training that are about more than updates."""


@verb(FinetuneSettings)
def finetune(settings: FinetuneSettings, *, say: Say) -> Outcome:
    """Learn a task from labelled rows: texts, pictures or clips and their classes, clips and their transcripts.

    The task is found from the data: what its rows are (texts, pairs of texts, pictures, clips) and what they are labelled with.
    Splits that the data lacks are made. The best model on validation is kept in RUN/model, a plain Hugging Face folder.

    Examples::

        pretune finetune scratch:bert-mini --data news.csv --out runs/scratch
        pretune finetune runs/base --data news.csv --out runs/news --epochs 5 --adapt llrd
        pretune finetune MODEL_DIR --data reviews.tsv --column text=review --column label=stars --seeds 3
        pretune finetune MODEL_DIR --data photos/ --adapt head --out runs/photos
        pretune finetune MODEL_DIR --data few.csv --adapt head --folds 5
        pretune finetune MODEL_DIR --data reviews.tsv --tune learning_rate,batch_size --trials 8
        pretune finetune MODEL_DIR --data reviews.tsv --adapt lora --lora-rank 16
        pretune finetune MODEL_DIR --data patients.csv --adapt head --dp-epsilon 3 --group patient
        pretune finetune MODEL_DIR --data reviews.tsv --adapt contrastive --max-train-samples 64
        pretune finetune runs/base --data few.csv --rewrite runs/base --rewrites 4
        pretune finetune scratch:tacotron-tiny --data clips.jsonl --task text-to-speech --out runs/voice
    """
    refuse_missing_data(*settings.every_place, out=settings.out)
    settings = settings if settings.folds is None else as_of_all_rows(settings)
    from pretune.engine.parallel import join_cluster
    from pretune.training.forecasting import forecast
    from pretune.training.private import refuse_unprivate
    from pretune.training.setup import open_together
    from pretune.training.shared import refuse_unshared

    cluster = join_cluster()
    refuse_unprivate(settings, cluster)
    refuse_unshared(settings, cluster)
    refuse_untunable(settings, cluster.world)
    if settings.dry_run:
        return forecast(
            settings, lambda run: build_learning(settings, run, read_labelled(settings, say), say, cluster)[1],
            runs=tuned_passes(settings.num_trials) if settings.tune else 1.0,
        )  # fmt: skip
    with open_together(settings, cluster, begun_from=settings.backbone, named_after=settings.place) as (
        settings,
        run,
        state,
    ):
        if state == "finished":
            return _outcome(run, WAS_FINISHED)
        if settings.seeds > 1:
            learn_seeds(settings, run, say, cluster, lambda one: finetune.run(one, say=say))
            return _outcome(run, "is finished")
        if settings.tune:
            tune(settings, run, say, lambda one, share: _to_share(one, share, say, cluster))
            return _outcome(run, "is finished")
        if settings.folds is not None:
            return _several_folds(settings, run, say, cluster, resumed=state == "resumed")
        return _one(settings, run, say, cluster, resumed=state == "resumed")


def _to_share(settings: FinetuneSettings, share: float, say: Say, cluster: Any) -> None:
    """A run of its own, carried on to this share of its whole; :class:`pretune.training.learning.Paused` is raised there."""
    from pretune.training.setup import open_together

    with open_together(settings, cluster, begun_from=settings.backbone, named_after=settings.place) as opened:
        one, run, state = opened
        if state != "finished":
            _one(one, run, say, cluster, resumed=state == "resumed", until=share)


def _one(
    settings: FinetuneSettings, run: RunFolder, say: Say, cluster: Any, *, resumed: bool, until: float = 1.0
) -> Outcome:
    """One seed, from the rows to the model folder, or to a share of the whole."""
    from pretune.training.record import carry_out

    began = time.monotonic()
    data = read_labelled(settings, say)
    setup, learning = build_learning(settings, run, data, say, cluster)
    learning.until = until
    carry_out(
        run, settings, data, setup, learning,
        began=began, resumed=resumed, close=lambda: _calibrate_and_keep(run, setup, learning),
    )  # fmt: skip
    return _outcome(run, "is finished")


def read_labelled(settings: FinetuneSettings, say: Say) -> Splits:
    """The data with training and validation rows. Raises :class:`UsageError` without validation."""
    from pretune.data.load import load_splits
    from pretune.runs.rows import fewer_rows, tell_reading_of
    from pretune.runs.tagger import tagger_of
    from pretune.tasks import find_task
    from pretune.training.private import with_canaries
    from pretune.training.rewriting import with_rewrites

    data = load_splits(settings, names=tagger_of(settings))
    tell_reading_of(data, say, settings=settings)
    find_task(data, settings.task).check(data)
    if "validation" not in data or len(data["validation"]) == 0:
        raise UsageError(
            "there are no validation rows to choose the best model by",
            "give a validation split, or raise --validation-fraction",
        )
    if settings.max_train_samples is not None:
        fewer = fewer_rows(data["train"], settings.max_train_samples, seed=settings.seed)
        say.note(f"learning from {len(fewer)} of {len(data['train'])} training rows")
        data = data.replace({**data, "train": fewer}, max_train_samples={"rows": len(fewer), "of": len(data["train"])})
    if settings.rewrite is not None:
        data = with_rewrites(data, settings, say)
    return with_canaries(data, settings, say) if settings.canaries else data


def build_learning(
    settings: FinetuneSettings, run: RunFolder, data: Splits, say: Say, cluster: Any
) -> tuple[Setup, Learning]:
    """Backbone, task, model, objective, optimizer and loop of one seed."""
    from pretune.backbones.adaptation.adapt import CONTRASTIVE
    from pretune.objectives.supervised import Supervised
    from pretune.runs.rows import data_fingerprint
    from pretune.tasks.predicting import predict_rows, watched_scores
    from pretune.tasks.shortening import shorten
    from pretune.training.backbone import find_backbone, steady
    from pretune.training.frozen import Frozen
    from pretune.training.head_pooling import decide_pooling
    from pretune.training.labelled import choosing_rows, encode_labelled, goal_on_validation
    from pretune.training.private import as_private, maps_rows, plan_private
    from pretune.training.setup import choose, make_learning
    from pretune.verbs.finetune.contrastive import contrastive

    settings = as_private(settings)
    device = choose(settings, run, cluster)
    fingerprint = data_fingerprint(data)
    with cluster.first_before_others():
        backbone = find_backbone(settings, data)
    settings, device = _as_linear(settings, backbone), steady(device, backbone, settings)
    task = _task(settings, data, backbone, run)
    choosing = choosing_rows(task, data, say)
    rows = encode_labelled(task, data, fingerprint, cluster)
    pooling = decide_pooling(task, settings.pooling, backbone, data, rows, device, say, run=run, by_rows=settings.dp_epsilon is None)  # fmt: skip
    model, report = task.build(backbone, seed=settings.seed)
    frozen = Frozen(task, model, rows, device, fingerprint, cluster, say)
    held = rows["validation"]
    goal = goal_on_validation(
        task, settings.metric, choosing,
        lambda on_batch: predict_rows(frozen.learned, model, frozen.rows["validation"], device, on_batch=on_batch),
        lambda on_batch: watched_scores(task, model, held, choosing.votes_N, device, on_batch), costs_N=held.lengths_N,
    )  # fmt: skip
    batch_size = settings.batch_size or task.default_batch_size

    def objective(adaptation: Adaptation) -> Any:
        if settings.cache_trunk:
            frozen.run_once(adaptation, forecast=settings.dry_run)
        if not maps_rows(settings) and not settings.shard:
            shorten(task, model, rows["train"], device)
        if settings.adapt == CONTRASTIVE:
            return contrastive(task, adaptation, model, rows["train"], device)
        return Supervised(frozen.learned, adaptation)

    setup, learning = make_learning(
        settings, run, backbone, model, report, device, cluster, say,
        objective=objective,
        streams=lambda objective: objective.streams(frozen.rows["train"], batch_size=batch_size, group_by_length=settings.group_by_length),
        goal=goal,
        default_epochs=_epochs(settings, task, rows["train"].lengths_N, batch_size),
        parts_pace=task.parts_pace(model, backbone),
        private=lambda adaptation: plan_private(settings, task, frozen.learned, frozen.rows["train"], data["train"], model, adaptation, say),
    )  # fmt: skip
    setup.learn_from(rows, fingerprint, task=task, choosing=choosing, pooling=pooling)
    learning.before_seconds = frozen.forecast_seconds
    _decide_begin(settings, setup, learning, frozen, data["train"])
    return setup, learning


def _task(settings: FinetuneSettings, data: Splits, backbone: Backbone, run: RunFolder) -> Task:
    """The task that the rows and settings ask for. Raises :class:`UsageError` for settings that it would not look at."""
    from pretune.tasks import check_settings, find_task, task_on
    from pretune.training.labelled import as_begun

    kind = task_on(find_task(data, settings.task), backbone)
    check_settings(settings, kind)
    refuse_unread(
        settings, f"--adapt {'top:N' if settings.adapt.startswith('top:') else settings.adapt}", _READ_BY_ADAPT
    )
    _refuse_unfit(settings, kind, backbone)
    return kind.start(as_begun(data, run), backbone, settings)


def _refuse_unfit(settings: FinetuneSettings, kind: type[Task], backbone: Backbone) -> None:
    """Raise :class:`UsageError` where the mode of ``--adapt`` is nothing for this task or model, or other options nothing beside it."""
    from pretune.backbones.adaptation.adapt import CONTRASTIVE, LORA
    from pretune.config import TrainSettings
    from pretune.tasks.classes.classification import Classification
    from pretune.tasks.classes.labelling import Labelling

    if settings.adapt == LORA and backbone.kind == "scratch":
        raise UsageError(
            f"--adapt lora leaves the trunk as it is, and that of {backbone.name} was not trained", "use --adapt full"
        )
    if settings.adapt == CONTRASTIVE:
        settings.refuse_given({"dp_epsilon"}, "bounds what each row does, and --adapt contrastive learns by pairs")
        settings.refuse_given(
            {"label_smoothing"}, "does nothing with --adapt contrastive: pairs of rows are learned from"
        )
        if not issubclass(kind, Classification):
            raise UsageError(
                f"--adapt contrastive tells rows of one class from those of others, and {kind.name} has no class of each row",
                "use --adapt full, or head",
            )
    if settings.adapt == "linear":
        of_updates = {spec.name for spec in dataclasses.fields(TrainSettings)} - _NOT_OF_UPDATES
        why = "does nothing for a linear model (--adapt linear, linear:...): there are no updates"
        settings.refuse_given(of_updates | {"label_smoothing"}, why)
        if not issubclass(kind, Labelling):
            raise UsageError(f"--adapt linear tells classes apart, and {kind.name} has none", "use --adapt head")
        if settings.augment not in ("auto", "none"):
            raise UsageError("--augment does nothing with --adapt linear: rows are read as they stand", "leave it out")


def _as_linear(settings: FinetuneSettings, backbone: Backbone) -> FinetuneSettings:
    """The settings; of a linear model on simple features all that learns is linear. Raises :class:`UsageError` for another mode."""
    from pretune.backbones.linear import MODEL_TYPE

    if backbone.config.model_type != MODEL_TYPE:
        return settings
    if settings.adapt not in ("full", "linear"):
        raise UsageError(f"--adapt is {settings.adapt}, and {backbone.name} is a linear model", "leave --adapt out")
    return dataclasses.replace(settings, adapt="linear")


def _decide_begin(settings: FinetuneSettings, setup: Setup, learning: Learning, frozen: Frozen, train: Dataset) -> None:
    """What the model is before its first update."""
    from pretune.backbones.adaptation.adapt import CONTRASTIVE
    from pretune.verbs.finetune.contrastive import solve_when_evaluated

    task = setup.task
    assert task is not None, "fine-tuning has a task"
    _begin_linear(settings, learning, task, frozen, train)
    if settings.adapt == CONTRASTIVE:
        solve_when_evaluated(learning, setup.rows["train"], train, every=settings.eval_every)
    if task.answers_untrained and learning.begin is None and not setup.report.fresh:
        learning.begin = lambda: None  # what it answers before the first update is evaluated, and may be the best


def _begin_linear(
    settings: FinetuneSettings, learning: Learning, task: Task, frozen: Frozen, train: Dataset
) -> None:  # fmt: skip
    """Let a head on frozen features begin at logistic regression; with ``--adapt linear`` that is all."""
    from pretune.tasks.classes.labelling import Labelling
    from pretune.training.linear_start import linear_start

    if settings.adapt not in ("head", "linear") or not isinstance(task, Labelling) or settings.dp_epsilon is not None:
        return  # a private run learns from its rows by private updates alone
    is_all = settings.adapt == "linear"
    learning.begin = linear_start(
        task, frozen.learned, learning.model, frozen.rows["train"], train, learning.device,
        run=learning.run, cluster=learning.cluster, say=learning.say, is_all=is_all,
    )  # fmt: skip
    if is_all:
        learning.pace = dataclasses.replace(learning.pace, total_steps=0)


def _epochs(settings: FinetuneSettings, task: Task, costs_N: np.ndarray, batch_size: int) -> float:
    """Passes where none are asked for, by what is learned and how."""
    from pretune.backbones.adaptation.adapt import CONTRASTIVE
    from pretune.training.private import PRIVATE_EPOCHS
    from pretune.verbs.finetune.contrastive import pair_epochs

    if settings.dp_epsilon:
        return PRIVATE_EPOCHS
    return pair_epochs(len(costs_N)) if settings.adapt == CONTRASTIVE else default_epochs(task, costs_N, batch_size)


def _calibrate_and_keep(run: RunFolder, setup: Setup, learning: Learning) -> None:
    """Fit on validation what makes probabilities honest, and write the model folder."""
    from pretune.training.labelled import calibrate
    from pretune.training.private import keep_guarantee
    from pretune.training.record import write_model

    task = setup.task
    assert task is not None, "fine-tuning has a task"
    assert setup.choosing is not None, "fine-tuning chooses by validation rows"
    calibrate(task, learning.model, setup.rows["validation"], setup.choosing, learning.device, learning.say)
    write_model(run, learning.model, task.processor_to_save(setup.backbone), task.to_dict())
    if setup.private is not None:
        keep_guarantee(run, setup.private, learning)


def _several_folds(settings: FinetuneSettings, run: RunFolder, say: Say, cluster: Any, *, resumed: bool) -> Outcome:
    """A run for each fold, then the one of all rows, and the answers of the folds scored together."""
    if cluster.world > 1:
        raise UsageError("--folds learns in one process", "start it without torchrun")
    from pretune.report.words import score_line

    places = learn_folds(settings, run, say, lambda one: finetune.run(one, say=say))
    say.note("all rows")
    made = _one(settings, run, say, cluster, resumed=resumed)
    pooled = pool_folds(run, places)
    score = pooled["scores"][pooled["primary"]]
    told = f"{counted(len(places), 'fold')}: {pooled['primary']} {score_line(pooled['primary'], score)}, n = {pooled['n']}, each row answered by a model that did not learn from it."
    text = f"{run.path} is finished, with a model of all rows. {told} {next_line('report', run=str(run.path))}"
    return Outcome(text=text, facts={**made.facts, "folds": pooled["scores"]})


def _outcome(run: RunFolder, said: str) -> Outcome:
    record = run.record
    result = record.get("result", {})
    spread = (
        f", mean {result['mean']:.4f} ± {result['sd']:.4f} over {counted(len(result['values']), 'seed')}"
        if "mean" in result
        else ""
    )
    chosen = told_of(record) or f"by which epoch {result.get('epoch')} was chosen"
    if "lost" in result:
        chosen = f"of the last epoch ({result.get('epoch')}): the checkpoint of the best one was damaged"
    text = f"{run.path} {said}: validation {result['metric']} {result['value']:.4f}, {chosen}{spread}.{_unsaid(record)} {next_line('evaluate', run=str(run.path))}"
    return Outcome(
        text=text,
        facts={
            "run": str(run.path), "status": record["status"], "result": result, "model": str(run.model_dir),
            **({"privacy": record["privacy"]} if "privacy" in record else {}),
        },
    )  # fmt: skip


def _unsaid(record: dict[str, Any]) -> str:
    """What has to be said of loading the model elsewhere."""
    from pretune.report.words import HOW_TO_LOAD, unsaid_pooling

    pooled = record.get("model", {}).get("pooled")
    return "" if not pooled or pooled["plain"] else f" {unsaid_pooling(pooled['modes'])} {HOW_TO_LOAD}"
