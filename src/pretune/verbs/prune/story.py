"""``pretune prune``: a smaller, faster run out of a run, by taking out what matters least."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import LabelledTrainSettings, RunSettings, TrainSettings
from pretune.errors import Interrupted, RunError, UsageError
from pretune.files import read_object, translate_disk_errors, write_json
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, machine_facts, now
from pretune.runs.proven import TrainedModel, about_of, open_model
from pretune.runs.reading import with_reading
from pretune.sums import Sums, sealed_folder
from pretune.training.derived import (
    DerivedSettings,
    against_parent,
    finished_parent,
    open_derived,
    outcome_of,
    take_over,
    unchanged_data,
)
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.engine.parallel import Cluster
    from pretune.verbs.prune.rounds import Pruning

__all__ = ["PruneSettings", "prune"]


@dataclass(frozen=True, kw_only=True)
class PruneSettings(DerivedSettings, LabelledTrainSettings, RunSettings):
    """Settings of ``pretune prune``."""

    verb: ClassVar[str] = "prune"

    ratio: float = option(
        0.5,
        "share of the layers' weights to take out: of attention heads and feed-forward neurons, of a convolutional net's channels, or of a voice's recurrent units",
        low=0.0,
        high=0.95,
    )
    heads: float | None = option(None, "share of the attention heads, where it is not --ratio", low=0.0, high=0.95)
    ffn: float | None = option(None, "share of the feed-forward neurons, where it is not --ratio", low=0.0, high=0.95)
    rounds: int = option(
        3, "take them out in this many rounds, each with training after it; half of it after the last", low=1, high=20
    )
    recover: bool = option(True, "train after each round, taught by the model that was pruned; no: only take parts out")
    score_rows: int = option(256, "training rows that say what each part is worth", low=1, high=100_000)
    vocabulary: str = option(
        "keep",
        "text: keep, or data: tokens that the run's training and unlabelled rows never use leave the embeddings and the tokenizer",
        choices=("keep", "data"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        both = self.heads is not None and self.ffn is not None
        if both:
            self.refuse_given(("ratio",), "does nothing with --heads and --ffn")
        if not self.takes_parts and self.vocabulary == "keep":
            zero = "--heads and --ffn are 0" if both else "--ratio is 0"
            raise UsageError(f"{zero}: nothing would be taken out", "give --ratio 0.5, or --vocabulary data")
        if not (self.takes_parts and self.recover):
            _refuse_idle(self)

    @property
    def takes_parts(self) -> bool:
        """Is anything but the vocabulary to shrink?"""
        return any(self.ratio if share is None else share for share in (self.heads, self.ffn))


_OF_PARTS = ("rounds", "recover", "score_rows", "seed")


def _refuse_idle(settings: PruneSettings) -> None:
    """Raise :class:`UsageError` for a setting of learning where nothing learns, or of parts where none are taken out."""
    of_learning = {spec.name for spec in dataclasses.fields(TrainSettings)} - {"threads", "precision", *_OF_PARTS}
    idle = of_learning if settings.takes_parts else of_learning | set(_OF_PARTS)
    why = "--no-recover: nothing learns" if settings.takes_parts else "--ratio 0: no parts are taken out"
    settings.refuse_given(idle, f"does nothing with {why}")


@verb(PruneSettings)
def prune(settings: PruneSettings, *, say: Say) -> Outcome:
    """Take out of a run's model what matters least to its task: heads, neurons, channels; let it recover; compare.

    What a part is worth is read off the task's loss on training rows. After each round the model learns from the right answers
    and from the model that was pruned. RUN/model is smaller and faster, and a plain Hugging Face folder; the end says what it is
    worth beside the run it was made from, on the same validation rows and on this machine.

    Examples::

        pretune prune runs/news
        pretune prune runs/news --ratio 0.5 --vocabulary data --epochs 3 --out runs/news-half
        pretune prune runs/news --heads 0 --ffn 0.75
        pretune prune runs/news --ratio 0 --vocabulary data
    """
    from pretune.engine.parallel import join_cluster
    from pretune.training.forecasting import forecast

    cluster = join_cluster()
    parent = finished_parent(settings, "prune")
    _refuse_other_runs(parent)
    if settings.dry_run:
        return forecast(settings, lambda run: _first_learning(settings, run, parent, say, cluster))
    with open_derived(settings, parent, cluster) as (settings, run, state), _stop_noted(run, cluster):
        if state != "finished":
            _prune(settings, run, parent, say, cluster)
        if cluster.is_first:
            from pretune.verbs.prune.rounds import rounds_dir

            shutil.rmtree(rounds_dir(run), ignore_errors=True)
        return _outcome(run, "is finished" if state != "finished" else WAS_FINISHED)


@contextlib.contextmanager
def _stop_noted(run: RunFolder, cluster: Cluster) -> Iterator[None]:
    try:
        yield
    except Interrupted as stop:
        if cluster.is_first:
            run.update_record(status="stopped", stopped=now())
        raise Interrupted(f"stopped; everything is saved in {run.path}", stop.fix, stop.exit_code - 128) from None


def _refuse_other_runs(parent: RunFolder) -> None:
    """Raise where there is no task to prune for, or no parts that could be told apart."""
    from pretune.tasks import TASKS

    about = about_of(parent)
    if about["task"] not in {task.name for task in TASKS}:
        raise RunError(
            f"{parent.path} is a run of {about['task']}, which has no labels to say what its parts are worth",
            f"fine-tune it first: pretune finetune {parent.path} --data DATA",
        )
    if about["engine"] != "torch":
        raise UsageError(
            f"{parent.path} holds a graph for {about['engine']}, whose parts are not told apart",
            f"prune the run that it was made from: {', '.join(parent.record['parents'])}",
        )


def _prune(settings: PruneSettings, run: RunFolder, parent: RunFolder, say: Say, cluster: Cluster) -> None:
    """From the parent's model to the run's: the vocabulary, the rounds, the comparison."""
    from pretune.verbs.prune.rounds import one_round

    began = time.monotonic()
    pruning = _begin(settings, run, parent, say, cluster)
    if cluster.is_first:
        take_over(run, parent)
        run.update_record(status="running", problem=None, device=pruning.device.to_dict(), machine=machine_facts())
    folder = pruning.first.folder
    for number in range(1, settings.rounds + 1) if settings.takes_parts else ():
        folder = one_round(pruning, run, number, folder)
    if cluster.is_first:
        _finish(pruning, run, parent, folder, began)
    cluster.barrier()


def _begin(settings: PruneSettings, run: RunFolder, parent: RunFolder, say: Say, cluster: Cluster) -> Pruning:
    """The model to begin with, and its rows. Raises :class:`UsageError` for what this model does not have."""
    from pretune.runs.reading import own_settings
    from pretune.training.backbone import steady
    from pretune.training.labelled import choosing_rows, encode_labelled
    from pretune.training.setup import choose
    from pretune.verbs.prune.rounds import Pruning, fewer_tokens

    data, fingerprint = unchanged_data(parent, say)
    stage = open_model(parent.model_dir)
    _refuse_strange(settings, stage)
    if settings.vocabulary == "data":
        with cluster.first_before_others():
            stage = open_model(fewer_tokens(run, stage, data))
    task = stage.task
    device = steady(choose(settings, run, cluster), stage.backbone, settings)
    rows = encode_labelled(task, data, fingerprint, cluster)
    choosing = choosing_rows(task, data, say)
    return Pruning(settings, stage, own_settings(parent), data, rows, choosing, fingerprint, device, cluster, say)


def _refuse_strange(settings: PruneSettings, stage: TrainedModel) -> None:
    """Raise :class:`UsageError` for parts that the model does not have, or does not have enough of."""
    from pretune.backbones.parts.units import FEED_FORWARD, HEADS, units_of
    from pretune.compress.pruning.plan import plan_of
    from pretune.verbs.prune.rounds import keep_of

    kind = stage.backbone.config.model_type
    if "prune" in stage.task.lacks:
        raise UsageError(
            f"{stage.task.name} is not pruned: {stage.task.lacks['prune']}", "pretune distill RUN --student ..."
        )
    if settings.vocabulary == "data" and stage.backbone.modality.is_file:
        raise UsageError(f"--vocabulary data does nothing for {kind}: it reads no text", "leave it out")
    if settings.vocabulary == "data" and stage.task.by_tokens:
        raise UsageError(
            f"--vocabulary data does not fit {stage.task.name}: a token that no row has may still be written",
            "leave it out",
        )
    if not settings.takes_parts:
        return
    units = units_of(stage.model)
    counts = {unit.name: unit.count for unit in units}
    plan = plan_of(stage.model, stage.backbone.config, keep_of(settings, settings.rounds), first_counts=counts)
    for flag, given, what in (("--heads", settings.heads, HEADS), ("--ffn", settings.ffn, FEED_FORWARD)):
        if given is not None and not any(unit.kind == what for unit in units):
            raise UsageError(f"{flag} does nothing for {kind}: it has no {what} parts", "give --ratio in its place")
    if plan.counts == counts:
        raise UsageError(
            f"of the {sum(counts.values())} parts of this {kind} that share is none", "give a higher --ratio"
        )


def _first_learning(settings: PruneSettings, run: RunFolder, parent: RunFolder, say: Say, cluster: Cluster) -> Any:
    """The learning of a single round that takes all out at once, for the forecast."""
    from pretune.verbs.prune.rounds import one_cut, recovery

    if not (settings.takes_parts and settings.recover):
        raise UsageError("--dry-run forecasts training, and nothing would be trained", "leave --dry-run out")
    pruning = _begin(dataclasses.replace(settings, rounds=1), run, parent, say, cluster)
    cut = one_cut(pruning, run, 1, pruning.first.folder)
    return recovery(pruning, pruning.settings, run, cut, share=1.0)[1]


def _finish(pruning: Pruning, run: RunFolder, parent: RunFolder, folder: Path, began: float) -> None:
    """``model/``, the log of all rounds as one, what the model is worth, the model card; status ``finished`` last."""
    from pretune.report.card import write_card
    from pretune.training.record import loading_facts
    from pretune.verbs.prune.rounds import rounds_dir

    Sums(folder).check()
    with sealed_folder(run.model_dir) as copied, translate_disk_errors(copied):
        shutil.copytree(folder, copied, dirs_exist_ok=True)
        write_json(copied / "pretune.json", with_reading(run, read_object(copied / "pretune.json")))
    rounds = [RunFolder(path) for path in sorted(rounds_dir(run).glob("round-*"), key=lambda p: int(p.name[6:]))]
    _join_logs(run, rounds)
    made = open_model(run.model_dir)
    before, after = _counts(open_model(parent.model_dir)), _counts(made)
    record = run.record
    parameters = sum(parameter.numel() for parameter in made.model.parameters())
    run.update_record(
        model={**record["model"], **loading_facts(run.model_dir), "parameters": parameters},
        pruning={"before": before, "after": after, "text": " ".join([*_tokens_told(before, after), _loading(made)])},
        training=_training(rounds),
    )
    compression = against_parent(run, parent, pruning.settings, pruning.say)
    score = compression["after"]["score"]["value"]
    result = rounds[-1].record["result"] if rounds else {"metric": compression["metric"], "value": score}
    run.update_record(result=result, seconds=round(time.monotonic() - began, 1), finished=now())
    write_card(run, run.model_dir)
    run.update_record(status="finished")


def _counts(stage: TrainedModel) -> dict[str, int]:
    """How many parts of each kind, and tokens, a model has."""
    from pretune.backbones.parts.units import units_of

    found = {} if stage.backbone.modality.is_file else {"tokens": stage.backbone.config.vocab_size}
    for unit in units_of(stage.model):
        found[unit.kind] = found.get(unit.kind, 0) + unit.count
    return found


def _tokens_told(before: dict[str, int], after: dict[str, int]) -> list[str]:
    if before.get("tokens") == after.get("tokens"):
        return []
    return [
        f"{before['tokens'] - after['tokens']:,} of {counted(before['tokens'], 'token')} went: the rows that it learned from are cut "
        "as before, words that they never used into smaller pieces."
    ]


def _loading(made: TrainedModel) -> str:
    """What another program has to know to load the model."""
    from pretune.backbones.parts.removed import removed_of
    from pretune.report.words import HOW_TO_LOAD, unsaid_pooling

    gone = removed_of(made.backbone.config)
    pooled = made.backbone.pooled
    if pooled is not None and not pooled.is_plain:
        return f"{unsaid_pooling(pooled.modes)} {HOW_TO_LOAD}"
    if not gone and pooled is not None:
        return "from_pretrained loads model/, with one layer more, which only pools; pretune, and what it exports, leave it out."
    if not gone:
        return "from_pretrained loads model/ at its full speed."
    return (
        f"from_pretrained loads model/ and answers the same, with zeros where parts of {len(gone)} modules were: its "
        "config cannot say them. Without them it runs in pretune, and as pretune export writes it."
    )


def _training(rounds: list[RunFolder]) -> dict[str, Any]:
    """What the rounds took together; rates are the last one's."""
    told = [one.record["training"] for one in rounds]
    if not told:
        return {}
    summed = {name: round(sum(one[name] for one in told), 3) for name in ("steps", "epochs", "training_seconds")}
    return {**told[-1], **summed, "total_steps": sum(one["total_steps"] for one in told), "rounds": len(told)}


def _join_logs(run: RunFolder, rounds: list[RunFolder]) -> None:
    """The lines of all rounds in one log, steps and epochs counted on."""
    cuts = {line["round"]: line for line in run.log_lines() if line["kind"] == "cut"}
    lines, steps, epochs = [], 0, 0.0
    for number in sorted(cuts):
        lines.append({**cuts[number], "step": steps})
        for line in rounds[number - 1].log_lines() if rounds else ():
            lines.append(
                {**line, "round": number, "step": steps + line["step"], "epoch": round(epochs + line["epoch"], 4)}
            )
        if rounds:
            training = rounds[number - 1].record["training"]
            steps, epochs = steps + training["steps"], epochs + training["epochs"]
    run.write_lines("log.jsonl", lines)


def _outcome(run: RunFolder, said: str) -> Outcome:
    text = run.record["pruning"]["text"]
    return outcome_of(run, said, "pruning", [text], next_step=next_line("evaluate", run=str(run.path)))
