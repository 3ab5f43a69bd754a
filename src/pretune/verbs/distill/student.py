"""Teacher and student of ``pretune distill`` put together: the student's backbone and task, what the teacher says, the loop."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pretune.config import AnsweringSettings, AudioSettings, BackboneSettings, ImageSettings, TaskSettings
from pretune.errors import UsageError
from pretune.interface.outcome import Say
from pretune.runfolder import RunFolder
from pretune.runs.proven import about_of, load_proven
from pretune.training.labelled import cached_under

if TYPE_CHECKING:
    import torch

    from pretune.backbones.adaptation.adapt import Adaptation
    from pretune.backbones.load import Backbone
    from pretune.data.splits import Splits
    from pretune.engine.parallel import Cluster
    from pretune.objectives.distilling.matched_student import PreparedStudent
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows
    from pretune.tasks.teacher import Teacher, Teaching
    from pretune.training.learning import Learning
    from pretune.training.setup import Setup
    from pretune.verbs.distill.rows import LearnedRows
    from pretune.verbs.distill.story import DistillSettings

__all__ = ["build_learning", "student_backbone"]

_WORTH_TELLING = 10**9
_LAYERS = re.compile(r"layers:(.*)")


@dataclass(frozen=True, kw_only=True)
class _Student(BackboneSettings, ImageSettings, AudioSettings):
    """What :func:`pretune.training.backbone.find_backbone` is told of a student."""

    place: str = ""


def student_backbone(
    settings: DistillSettings, teacher: Backbone, data: Splits, *, image_size: int | None, place: str
) -> Backbone:
    """The student before it is built. ``scratch:`` takes the teacher's tokenizer or sampling rate and ``image_size`` (where it is
    told), ``layers:K`` the teacher's weights. ``place`` is what the data is called.

    Raises :class:`pretune.errors.UsageError` and :class:`pretune.errors.ModelError`.
    """
    from pretune.backbones.parts.layers import thinned
    from pretune.backbones.presets.audio import only_rate_of
    from pretune.training.backbone import find_backbone

    fresh = settings.student.startswith("scratch:")
    if settings.tokenizer != "teacher" and not (fresh and not teacher.modality.is_file):
        raise UsageError("--tokenizer is for text students that start from scratch:...", "leave --tokenizer out")
    if found := _LAYERS.fullmatch(settings.student):
        if not found.group(1).isdigit():
            raise UsageError(f"--student is {settings.student!r}", "layers:K takes a number of layers, as in layers:3")
        return thinned(teacher, int(found.group(1)))
    tokenizer = settings.tokenizer
    if tokenizer == "teacher":
        tokenizer = str(teacher.folder) if fresh and not teacher.modality.is_file else "auto"
    rate = (
        None
        if only_rate_of(settings.student.removeprefix("scratch:"))
        else getattr(teacher.processor, "sampling_rate", None)
    )
    told = _Student(
        backbone=settings.student, tokenizer=tokenizer, vocab_size=settings.vocab_size,
        image_size=(settings.image_size or image_size) if fresh else settings.image_size,
        sampling_rate=rate if fresh else None, place=place,
    )  # fmt: skip
    return find_backbone(told, data)


class Taught(NamedTuple):
    """A student that is ready to learn; ``notes`` are sentences on what is compared and what is not."""

    setup: Setup
    learning: Learning
    notes: tuple[str, ...]


def build_learning(
    settings: DistillSettings, run: RunFolder, parent: RunFolder, learned: LearnedRows, say: Say, cluster: Cluster
) -> Taught:
    """Student, teacher, objective, optimizer and loop."""
    from pretune.tasks.predicting import predict_rows, watched_scores
    from pretune.tasks.teacher import CachedTeaching, JoinedRows, Teacher
    from pretune.training.backbone import steady
    from pretune.training.head_pooling import decide_pooling
    from pretune.training.labelled import choosing_rows, goal_on_validation
    from pretune.training.pace import default_epochs
    from pretune.training.setup import choose, make_learning

    device = choose(settings, run, cluster)
    proven = load_proven(parent, AnsweringSettings(precision=device.precision, threads=settings.threads))
    with cluster.first_before_others():
        backbone = _backbone(settings, parent, learned.data)
    device = steady(device, backbone, settings)
    task, notes = _task(settings, parent, proven.task, backbone, learned.data)
    if not settings.teacher and not task.learns_alone:
        raise UsageError(f"--no-teacher: {settings.student} learns from its teacher alone", "leave --no-teacher out")
    teacher = Teacher(proven.task, proven.model, device) if settings.teacher else None
    made = _Rows(learned, task, tuple(name for name in ("train", "unlabelled") if name in learned.data))
    with cluster.first_before_others():
        at_its_size = teacher is not None and task.varies_rows and not task.same_inputs_as(teacher.task)
        keeper = proven.task if at_its_size else task
        rows = {name: made.encoded_by(keeper, name) for name in made.splits}
        rows["validation"] = made.encoded_by(task, "validation")
    joined = JoinedRows([rows[name] for name in made.splits])
    pooling = decide_pooling(
        task, parent.record["settings"].get("pooling", "auto"), backbone, learned.data, rows, device, say, run=run
    )  # fmt: skip
    student, report = task.build(backbone, seed=settings.seed)
    choosing = choosing_rows(task, learned.data, say)
    lesson = _prepared(settings, task, student, teacher, joined)
    with cluster.first_before_others():
        teaching = None if lesson.teacher is None else _teaching(made, lesson.teacher, rows, say)
        objective = _objective(settings, task, lesson, teaching)
    goal = goal_on_validation(
        task, settings.metric, choosing,
        lambda on_batch: predict_rows(task, lesson.model, rows["validation"], device, on_batch=on_batch),
        lambda on_batch: watched_scores(task, lesson.model, rows["validation"], choosing.votes_N, device, on_batch),
        costs_N=rows["validation"].lengths_N,
    )  # fmt: skip
    batch_size = settings.batch_size or task.default_batch_size
    setup, learning = make_learning(
        settings, run, backbone, lesson.model, report, device, cluster, say,
        objective=objective,
        streams=lambda one: one.streams(joined, batch_size=batch_size, group_by_length=settings.group_by_length),
        goal=goal,
        default_epochs=default_epochs(task, joined.lengths_N, batch_size),
        parts_pace=task.parts_pace(student, backbone),
    )  # fmt: skip
    setup.learn_from(rows, learned.own_fingerprint, task=task, choosing=choosing, pooling=pooling)
    setup.kept = student
    told = task.lessons_told(teaching.lessons()) if isinstance(teaching, CachedTeaching) else ""
    notes = (*notes, *(note for note in (lesson.left_out, told) if note))
    for note in notes:
        say.note(note)
    return Taught(setup, learning, notes)


@dataclass(frozen=True)
class _Rows:
    """The rows that ``task`` learns from: these ``splits`` of the data."""

    learned: LearnedRows
    task: Task
    splits: tuple[str, ...]

    def named(self, name: str) -> str:
        """What the rows of a split are kept under; the teacher's own rows under the name that its own run kept them."""
        learned = self.learned
        fingerprint = learned.own_fingerprint if name in learned.untouched else learned.fingerprint
        return cached_under(fingerprint, learned.data, name)

    def encoded_by(self, task: Task, name: str) -> EncodedRows:
        """The rows of a split as ``task`` reads them."""
        return task.encode_rows(self.learned.data[name], fingerprint=self.named(name))


def _backbone(settings: DistillSettings, parent: RunFolder, data: Splits) -> Backbone:
    from pretune.backbones.load import load_backbone

    own = load_backbone(str(parent.model_dir))
    return student_backbone(settings, own, data, image_size=about_of(parent).get("image_size"), place=str(parent.path))


def _task(
    settings: DistillSettings, parent: RunFolder, teachers: Task, backbone: Backbone, data: Splits
) -> tuple[Task, tuple[str, ...]]:
    """The student's task, and what is to be said of it. Raises :class:`UsageError` for settings that do nothing or do not fit."""
    from pretune.tasks import check_settings

    check_settings(settings, type(teachers))
    asked = _task_settings(settings, parent, backbone)
    task = teachers.student(data, backbone, asked)
    task.check_teacher(teachers)
    if "augment" not in type(task).reads or settings.augment == "none":
        return task, ()
    level = settings.augment
    if level == "auto" and settings.teacher:
        level = task.taught_variation
    varying = teachers.student(data, backbone, dataclasses.replace(asked, augment=level))
    if not settings.teacher or not varying.varies_rows or varying.vary_as(teachers):
        return varying, ()
    apart = "reads them at a smaller size or another rate" if task.modality.is_file else "cuts them into other tokens"
    if settings.augment == "auto":
        return task, (f"rows are not varied: the teacher {apart} than the student",)
    raise UsageError(
        f"--augment {settings.augment} varies the student's rows, and its teacher {apart}",
        "give --augment none, or a student that reads as its teacher does",
    )


def _task_settings(settings: DistillSettings, parent: RunFolder, backbone: Backbone) -> TaskSettings:
    """What the student's task is told: as its teacher was, within what the student can read, its classes weighing what they
    weighed when the first of its line learned from them. Rows are not varied yet.
    """
    from pretune.backbones.text.limits import max_length_of
    from pretune.runs.reading import own_settings

    about, read = about_of(parent), own_settings(parent)
    own: dict[str, Any] = {"class_weights": read.class_weights, "label_smoothing": read.label_smoothing}
    if "max_length" in about:
        own |= {
            "max_length": min(about["max_length"], max_length_of(backbone)),
            "long_text": about.get("long_text", "truncate"),
        }
    size = settings.image_size
    if size is None and (settings.student.startswith("scratch:") or _LAYERS.fullmatch(settings.student)):
        size = about.get("image_size")
    beam = {"beam_size": about["beam_size"]} if "beam_size" in about else {}
    return TaskSettings.from_dict(
        parent.record["settings"], task=about["task"], image_size=size, adapt="full", augment="none", **own, **beam
    )


def _prepared(
    settings: DistillSettings, task: Task, student: torch.nn.Module, teacher: Teacher | None, rows: EncodedRows
) -> PreparedStudent:
    from pretune.objectives.distilling.matched_student import PreparedStudent, ready

    if teacher is None:
        return PreparedStudent(student, None, None, "")
    hidden, attention = settings.hidden == "auto", settings.attention == "auto"
    return ready(task, student, teacher, rows, hidden=hidden, attention=attention, seed=settings.seed)


def _objective(
    settings: DistillSettings, task: Task, lesson: PreparedStudent, teaching: Teaching | None
) -> Callable[[Adaptation], Any]:
    from pretune.objectives.distilling.distil import Distil
    from pretune.objectives.supervised import Supervised

    if teaching is None:
        return lambda adaptation: Supervised(task, adaptation)
    return lambda adaptation: Distil(
        task, adaptation, teaching,
        temperature=settings.temperature, hard_weight=settings.hard_weight, matching=lesson.matching,
    )  # fmt: skip


def _teaching(made: _Rows, teacher: Teacher, rows: Mapping[str, EncodedRows], say: Say) -> Teaching:
    """What the teacher says of the rows: kept where they stay as they are, said anew where they are varied or would fill a disk."""
    from pretune.tasks.teacher import CachedTeaching, LiveTeaching, cache_teaching, cached_bytes

    if made.task.varies_rows:
        return LiveTeaching(teacher)
    owns = {name: made.encoded_by(teacher.task, name) for name in made.splits}
    size = sum(cached_bytes(teacher, own) for own in owns.values())
    if size > _WORTH_TELLING:
        say.note(
            f"what the teacher says takes {size / 1e9:.1f} GB of the cache; with --hidden none --attention none its answers alone are kept"
        )
    bar = say.progress(sum(len(rows[name]) for name in made.splits), "asking the teacher")
    kept = [
        cache_teaching(
            teacher, owns[name], rows[name],
            is_alike=made.task.same_inputs_as(teacher.task), fingerprint=made.named(name), on_batch=bar.update,
        )
        for name in made.splits
    ]  # fmt: skip
    bar.close()
    found = [part for part in kept if part is not None]
    return CachedTeaching(found) if len(found) == len(kept) else LiveTeaching(teacher)
