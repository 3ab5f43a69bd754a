"""``pretune distill``: a small model learns from a large one, with and without labels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pretune.config import AsReadSettings, LabelledTrainSettings, RunSettings
from pretune.errors import UsageError
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import WAS_FINISHED, Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, is_run
from pretune.runs.proven import about_in, about_of
from pretune.runs.reading import refuse_missing_data
from pretune.training.derived import DerivedSettings, against_parent, finished_parent, open_derived, outcome_of

if TYPE_CHECKING:
    from pretune.engine.parallel import Cluster
    from pretune.verbs.distill.rows import LearnedRows

__all__ = ["DistillSettings", "distill"]


@dataclass(frozen=True, kw_only=True)
class DistillSettings(DerivedSettings, LabelledTrainSettings, RunSettings, AsReadSettings):
    """Settings of ``pretune distill``."""

    verb: ClassVar[str] = "distill"

    run: str = option(
        help="the teacher: run folder of a fine-tuned model, or of a pre-trained one (a model folder too)",
        positional=True,
        metavar="RUN",
    )
    student: str = option(
        help="what learns: scratch:<preset>, a model folder, or layers:K (the teacher with K of its layers)",
        metavar="STUDENT",
    )
    teacher: bool = option(True, "no: the same student on the labelled rows without its teacher, for comparison")
    data: str | None = option(
        None,
        "more labelled rows, read as the run's own; for a pre-trained teacher the rows to learn from",
        metavar="DATA",
    )
    unlabelled: str | None = option(
        None,
        "rows without labels to learn from beside the run's own; those that stand in its validation or test are dropped",
        metavar="DATA",
    )
    temperature: float = option(
        2.0, "by how much the answers of both are softened before they are compared", low=0.1, high=100.0
    )
    hard_weight: float = option(
        0.1, "share of the right answers in the loss; the rest is the teacher's", low=0.0, high=1.0
    )
    hidden: str = option(
        "auto",
        "compare hidden states between layers; auto: where both cut rows into the same pieces",
        choices=("auto", "none"),
    )
    attention: str = option(
        "auto",
        "compare what the last layers attend to; auto: where both cut rows into the same pieces",
        choices=("auto", "none"),
    )
    augment: str = option(
        "auto",
        "vary rows while learning: none, light, strong; the teacher then runs on every varied row, and is not asked only once; auto: none for text (strong takes half as long again or more, and taught better students), else light where the teacher reads them at the same size and rate, or larger pictures",
        choices=("auto", "none", "light", "strong"),
    )
    tokenizer: str = option(
        "teacher",
        "with scratch:... the student's tokenizer: the teacher's, a new one (wordpiece, bpe), or a folder that holds one",
        metavar="KIND",
    )
    vocab_size: int | None = option(
        None, "with --tokenizer wordpiece or bpe: tokens in the vocabulary", low=100, high=1_000_000
    )
    image_size: int | None = option(
        None,
        "side of the student's pictures in pixels; default: the teacher's, and of a model folder what it was made for",
        low=16,
        high=1024,
    )
    metric: str | None = option(
        None, "score that decides which student is best; default: the task's own (accuracy, ...)", metavar="SCORE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher:
            self.refuse_given(_OF_THE_TEACHER, "does nothing with --no-teacher")
        if self.vocab_size is not None and self.tokenizer == "teacher":
            raise UsageError(
                "--vocab-size does nothing with the teacher's tokenizer", "give --tokenizer wordpiece or bpe too"
            )
        if self.data is None and self.unlabelled is None:
            self.refuse_given(_OF_OTHER_ROWS, "does nothing without --data or --unlabelled")


_OF_THE_TEACHER = ("unlabelled", "temperature", "hard_weight", "hidden", "attention")
_OF_OTHER_ROWS = ("column", "header", "delimiter", "encoding", "format", "files", "trust_paths")
_OF_LABELS = ("unlabelled", "metric", "image_size")


@verb(DistillSettings)
def distill(settings: DistillSettings, *, say: Say) -> Outcome:
    """Teach a small model what a large one knows: its softened answers, its hidden states, what it attends to.

    The teacher is a fine-tuned run; the student ends as a run of the same task, compared with its teacher on the validation
    rows and on this machine. What the teacher says of a row is computed once and kept. Rows without labels help: those of the
    run, and of --unlabelled. With a pre-trained teacher and --data the student is pre-trained: it learns what the teacher
    expects at masked words (text), or its features (pictures, sound). A voice (tacotron) teaches a fastspeech how long letters
    last: it says all frames at once. --no-teacher trains the same student alone.

    Examples::

        pretune distill runs/news --student scratch:bert-tiny
        pretune distill runs/news --student layers:2 --unlabelled more-news.txt --out runs/news-2
        pretune distill runs/news --student layers:2 --no-teacher --out runs/news-2-alone
        pretune distill runs/voice --student scratch:fastspeech-tiny --out runs/fast-voice
        pretune distill runs/base --student scratch:bert-tiny --data corpus.txt --out runs/small-base
    """
    refuse_missing_data(settings.data, settings.unlabelled, out=settings.out)
    from pretune.engine.parallel import join_cluster

    cluster = join_cluster()
    if _is_fine_tuned(settings.run):
        return _from_labels(settings, say, cluster)
    from pretune.verbs.distill.pretraining import distill_pretraining

    settings.refuse_given(_OF_LABELS, "is for a fine-tuned teacher, and this one is pre-trained")
    return distill_pretraining(settings, say, cluster)


def _is_fine_tuned(place: str) -> bool:
    """Has the run a task? Raises :class:`RunError` for a run without a model, :class:`UsageError` for a graph of another engine."""
    from pretune.backbones.loading.folder import find_folder
    from pretune.backbones.presets.named import SCRATCH
    from pretune.tasks import TASKS

    if place.startswith(SCRATCH):
        raise UsageError(f"{place} has learned nothing that it could teach", "give a run, or a trained model's folder")
    if not is_run(place):
        find_folder(place)
    parents = RunFolder(Path(place)).record.get("parents", []) if is_run(place) else []
    beside = Path(place) / "pretune.json"
    about = about_of(RunFolder(Path(place))) if is_run(place) else about_in(beside.parent) if beside.exists() else {}
    if about.get("engine", "torch") != "torch":
        raise UsageError(
            f"{place} holds a graph for {about['engine']}, inside which nothing can be heard",
            f"distil from the run that it was made from: {', '.join(parents) or 'it is not known here'}",
        )
    if "features" in about:
        raise UsageError(
            f"{place} is a linear model (linear:{about['features']}): it has nothing to teach that its training rows do not say",
            "fine-tune the student on them: pretune finetune STUDENT --data DATA",
        )
    return is_run(place) and about.get("task") in {task.name for task in TASKS}


def _from_labels(settings: DistillSettings, say: Say, cluster: Cluster) -> Outcome:
    from pretune.training.forecasting import forecast
    from pretune.verbs.distill.student import build_learning

    parent = finished_parent(settings, "distill")
    if settings.dry_run:
        return forecast(
            settings,
            lambda run: build_learning(settings, run, parent, _rows(settings, parent, say), say, cluster).learning,
        )
    with open_derived(settings, parent, cluster) as (settings, run, state):
        if state != "finished":
            _learn(settings, run, parent, say, cluster, resumed=state == "resumed")
        return _outcome(run, "is finished" if state != "finished" else WAS_FINISHED)


def _rows(settings: DistillSettings, parent: RunFolder, say: Say) -> LearnedRows:
    from pretune.verbs.distill.rows import rows_to_learn

    return rows_to_learn(
        settings, parent, say,
        labelled=settings.data, unlabelled=settings.unlabelled, own_unlabelled=settings.teacher,
    )  # fmt: skip


def _learn(
    settings: DistillSettings, run: RunFolder, parent: RunFolder, say: Say, cluster: Cluster, *, resumed: bool
) -> None:
    """From the rows to the student's folder and what it is worth beside its teacher."""
    from pretune.training.labelled import calibrate
    from pretune.training.record import carry_out, write_model
    from pretune.verbs.distill.rows import note_rows
    from pretune.verbs.distill.student import build_learning

    began = time.monotonic()
    rows = _rows(settings, parent, say)
    setup, learning, notes = build_learning(settings, run, parent, rows, say, cluster)
    if cluster.is_first:
        note_rows(run, parent, rows, notes, kind="distillation")

    def close() -> None:
        task, student = setup.task, setup.kept or learning.model
        assert task is not None, "a fine-tuned teacher has a task"
        assert setup.choosing is not None, "students are chosen by validation rows"
        calibrate(task, learning.model, setup.rows["validation"], setup.choosing, learning.device, say)
        write_model(run, student, task.processor_to_save(setup.backbone), task.to_dict())
        against_parent(run, parent, settings, say)

    carry_out(run, settings, rows.data, setup, learning, began=began, resumed=resumed, close=close)


def _outcome(run: RunFolder, said: str) -> Outcome:
    notes = run.record["distillation"]["notes"]
    return outcome_of(run, said, "distillation", notes, next_step=next_line("evaluate", run=str(run.path)))
