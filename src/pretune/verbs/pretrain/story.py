"""``pretune pretrain``: learn from rows without labels, from scratch or on from a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import PretrainingSettings, ShardSettings, StreamSettings
from pretune.data.remote.addresses import is_address
from pretune.interface.declare import verb
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder
from pretune.runs.reading import refuse_missing_data
from pretune.training.setup import LearnSettings
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.backbones.load import Backbone
    from pretune.data.reading import Reading
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream
    from pretune.engine.devices import Device
    from pretune.objectives.pretraining import Pretraining
    from pretune.runs.reading import ReadSettings
    from pretune.tasks.protocols import EncodedRows
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup
    from pretune.verbs.pretrain.streamed import StreamedCorpus

__all__ = [
    "PretrainSettings",
    "carry_out_unlabelled",
    "learning_of",
    "pretrain",
    "pretraining_outcome",
    "read_corpus",
]


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(LearnSettings, ShardSettings, StreamSettings, PretrainingSettings):
    """Settings of ``pretune pretrain``."""

    verb: ClassVar[str] = "pretrain"

    batch_size: int | None = option(  # pyright: ignore[reportIncompatibleVariableOverride]
        None,
        "rows per optimizer update, over all processes; default: 64 texts or pictures, 256 pictures in two views, 32 clips",
        low=1,
        high=1_000_000,
    )


@verb(PretrainSettings)
def pretrain(settings: PretrainSettings, *, say: Say) -> Outcome:
    """Learn from texts, pictures or sound without labels, from scratch or on from a model.

    Text: masked words are predicted. Pictures: masked patches are drawn again (ViT), or two views of one picture are told
    from other pictures (convolutional nets). Sound: hidden frames are told from others of the clip, or each sample from those before it (WaveNet). Rows of the splits ``train`` and ``unlabelled`` are learned from, labels are not
    looked at, validation and test rows are left out. With ``scratch:`` a text model's tokenizer is trained first. Held-out
    rows measure what was learned.

    With ``--stream`` the files of the data come in turn, in another order at each pass, each with its rows shuffled: the first one gives the
    tokenizer and the held-out rows. Without ``--epochs``, ``--max-steps`` or ``--minutes`` every file is learned from once.

    Examples::

        pretune pretrain scratch:bert-mini --data corpus.txt --out runs/base
        pretune pretrain scratch:roberta-small --data news.csv --out runs/base --minutes 30
        pretune pretrain MODEL_DIR --data clinic-notes/ --out runs/adapted --epochs 3
        pretune pretrain scratch:vit-mini --data photos/ --out runs/eyes
        pretune pretrain scratch:wavenet-tiny --data clips/ --out runs/sound
        pretune pretrain scratch:bert-small --data 's3://bucket/part-*.jsonl.gz' --stream --minutes 600 --out runs/large
    """
    places = [
        place for place in settings.every_place if not (settings.stream and is_address(place))
    ]  # not copied as a whole
    refuse_missing_data(*places, out=settings.out)
    from pretune.engine.parallel import join_cluster
    from pretune.training.forecasting import forecast
    from pretune.training.setup import open_together
    from pretune.training.shared import refuse_unshared

    cluster = join_cluster()
    refuse_unshared(settings, cluster)
    if settings.dry_run:
        return forecast(settings, lambda run: build_learning(settings, run, *_corpus(settings, say), say, cluster)[1])
    with open_together(settings, cluster, begun_from=settings.backbone, named_after=settings.place) as (
        settings,
        run,
        state,
    ):
        if state == "finished":
            return pretraining_outcome(run, WAS_FINISHED)
        return _learn(settings, run, say, cluster, resumed=state == "resumed")


def _learn(settings: PretrainSettings, run: RunFolder, say: Say, cluster: Any, *, resumed: bool) -> Outcome:
    began = time.monotonic()
    data, streamed = _corpus(settings, say)
    setup, learning = build_learning(settings, run, data, streamed, say, cluster)
    carry_out_unlabelled(run, settings, data, setup, learning, streamed, began=began, resumed=resumed)
    return pretraining_outcome(run, "is finished")


def carry_out_unlabelled(
    run: RunFolder, settings: Any, data: Splits, setup: Setup, learning: Learning, streamed: StreamedCorpus | None = None,
    *, began: float, resumed: bool,
) -> None:  # fmt: skip
    """Learn without labels from the run's last state to its end, and keep what was learned and what was measured."""
    from pretune.backbones.pooling.choice import passed_on
    from pretune.training.record import carry_out, write_model

    objective: Pretraining = setup.objective
    read_by = passed_on(setup.backbone)

    def close() -> None:
        for warning in objective.warnings():
            learning.say.warn(warning)
        write_model(run, objective.saved(), setup.backbone.processor, objective.to_dict(), read_by)
        run.write_metrics("held-out", held_out_evaluation(setup, learning))
        if streamed is not None:
            run.update_record(streamed={**run.record["streamed"], **streamed.facts(run)})

    carry_out(run, settings, data, setup, learning, began=began, resumed=resumed, close=close)


def _corpus(settings: PretrainSettings, say: Say) -> tuple[Splits, StreamedCorpus | None]:
    """The rows to learn from and those held out; of files that come in turn those of the first, and where the others are."""
    if not settings.stream:
        return read_corpus(settings, say), None
    from pretune.verbs.pretrain.streamed import StreamedCorpus

    streamed = StreamedCorpus(settings, say)
    _tell(streamed.data, say)
    return streamed.data, streamed


def _tell(corpus: Splits, say: Say) -> None:
    say.note(f"{counted(len(corpus['train']))} to learn from, {len(corpus['validation']):,} held out")


def read_corpus(settings: PretrainSettings | ReadSettings, say: Say, learned: Reading | None = None) -> Splits:
    """The rows to learn from and those held out; see :func:`pretune.data.corpus.corpus_of`."""
    from pretune.data.corpus import corpus_of
    from pretune.data.load import load_splits
    from pretune.runs.rows import tell_reading_of
    from pretune.runs.tagger import tagger_of

    names = learned.name_finder if learned is not None else tagger_of(settings)
    data = load_splits(settings, learned, names=names)
    tell_reading_of(data, say, settings=settings)
    corpus = corpus_of(data, settings.seed)
    _tell(corpus, say)
    return corpus


def build_learning(
    settings: PretrainSettings, run: RunFolder, data: Splits, streamed: StreamedCorpus | None, say: Say, cluster: Any
) -> tuple[Setup, Learning]:
    """Backbone, model, objective, optimizer and loop."""
    from pretune.objectives.mixed import start_pretraining
    from pretune.training.backbone import find_backbone, steady
    from pretune.training.setup import choose

    device = choose(settings, run, cluster)
    with cluster.first_before_others():
        backbone = find_backbone(settings, data)
    device = steady(device, backbone, settings)
    made = start_pretraining(data, backbone, settings, seed=settings.seed)
    return learning_of(made, settings, run, data, backbone, device, say, cluster, streamed)


def learning_of(
    made: Pretraining,
    settings: Any,
    run: RunFolder,
    data: Splits,
    backbone: Backbone,
    device: Device,
    say: Say,
    cluster: Any,
    streamed: StreamedCorpus | None = None,
) -> tuple[Setup, Learning]:
    """Rows, optimizer and loop of an objective that was started. ``streamed``: the files that come after the rows of ``data``."""
    from pretune.metrics.base import values_of
    from pretune.runs.rows import data_fingerprint
    from pretune.training.setup import make_learning
    from pretune.verbs.pretrain.streamed import CorpusParts

    fingerprint = data_fingerprint(data)
    with cluster.first_before_others():
        rows = {
            name: made.encode_rows(data[name], fingerprint=f"{fingerprint}:{name}") for name in ("train", "validation")
        }
        told = made.begin(rows["train"], fingerprint=f"{fingerprint}:train")
    if told:
        say.note(f"counted in the rows before learning: {told}")
        backbone.notes["counted"] = told
        counted_in = (one for one in made.model.buffers() if one.is_floating_point())
        # What is computed may differ in its last bits between machines.
        cluster.spread([*made.model.parameters(), *counted_in])

    if advice := made.advice(rows["train"]):
        say.note(advice)

    def objective(adaptation: Adaptation) -> Pretraining:
        made.adaptation = adaptation
        return made

    def evaluate(on_batch: Callable[[int], None]) -> dict[str, float]:
        return values_of(made.measure(rows["validation"], device, on_batch))

    def streams(rows: EncodedRows) -> dict[str, Stream]:
        return made.streams(
            rows, batch_size=settings.batch_size or made.default_batch_size, group_by_length=settings.group_by_length
        )

    parts = None
    if streamed is not None:
        parts = CorpusParts(streamed, made, run, cluster, streams)
    setup, learning = make_learning(
        settings, run, backbone, made.model, made.report, device, cluster, say,
        objective=objective, streams=lambda _learner: streams(rows["train"]), feed=parts and parts.feeds,
        goal={"metric": made.primary, "rising": made.specs[made.primary].rising, "evaluate": evaluate, "split": "held-out", "costs_N": rows["validation"].lengths_N},
        parts_pace=made.parts_pace(backbone),
        default_epochs=1.0 if streamed else made.default_epochs[0 if backbone.kind == "scratch" else 1],
    )  # fmt: skip
    setup.learn_from(rows, fingerprint if streamed is None else f"{streamed.identity}{fingerprint}")
    return setup, learning


def held_out_evaluation(setup: Setup, learning: Learning) -> dict[str, Any]:
    """The evaluation of the held-out rows, with intervals over rows."""
    from pretune.evaluation.evaluate import evaluate_rows
    from pretune.evaluation.intervals import bootstrap
    from pretune.files import jsonable

    made: Pretraining = setup.objective
    held = setup.rows["validation"]
    evaluation = evaluate_rows(
        made.measure(held, learning.device),
        made,
        task=made.name,
        split="held-out",
        seeds=(learning.seed,),
        blocks=made.blocks(held),
        notes=[*made.warnings(), made.reading],
    )
    for measure in made.measures(held, learning.device):
        found = bootstrap(measure.measured, made.specs)
        evaluation["scores"].update(jsonable({name: score.to_dict() for name, score in found.items()}))
        evaluation["notes"].append(measure.note)
    return evaluation


def _next(run: RunFolder) -> str:
    """The same rows with their labels, where they have any."""
    from pretune.interface.next_steps import next_line

    settings = run.record.get("reading") or run.record["settings"]  # a run that was taught reads what its teacher read
    labelled = any(split.get("labels") or split.get("answers") for split in run.passport.get("splits", {}).values())
    if labelled and settings.get("data"):
        return next_line("finetune", settings, backbone=str(run.path), data=settings["data"])
    return f"{next_line('finetune', backbone=str(run.path), data='LABELLED')} (LABELLED: rows with labels)"


def pretraining_outcome(run: RunFolder, said: str) -> Outcome:
    """What a run of pre-training says at its end."""
    record, scores = run.record, run.metrics.get("held-out", {}).get("scores", {})
    parts = [
        f"{name.replace('_', ' ')} {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
        for name, score in scores.items()
    ]
    text = f"{run.path} {said}: held out, {', '.join(parts)}. {_next(run)}"
    return Outcome(
        text=text,
        facts={"run": str(run.path), "status": record["status"], "scores": scores, "model": str(run.model_dir)},
    )
