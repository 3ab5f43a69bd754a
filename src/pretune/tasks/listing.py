"""Every task by name, and the task that a data set asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pretune.backbones.linear import MODEL_TYPE
from pretune.errors import CorruptFile, DataError, UsageError, did_you_mean
from pretune.options import Settings, refuse_unread
from pretune.tasks.base import Task
from pretune.tasks.classes.audio_classification import AudioClassification, AudioMultilabelClassification
from pretune.tasks.classes.image_classification import ImageClassification, ImageMultilabelClassification
from pretune.tasks.classes.text_classification import TextClassification, TextMultilabelClassification
from pretune.tasks.linear.classification import LINEAR_TASKS
from pretune.tasks.places.keypoint_detection import KeypointDetection
from pretune.tasks.places.object_detection import ObjectDetection
from pretune.tasks.places.semantic_segmentation import SemanticSegmentation
from pretune.tasks.sentence_embedding import SentenceEmbedding
from pretune.tasks.spans.question_answering import QuestionAnswering
from pretune.tasks.spans.token_classification import TokenClassification
from pretune.tasks.speech.speech_recognition import SpeechRecognition
from pretune.tasks.speech.text_to_speech import TextToSpeech
from pretune.tasks.values.audio_regression import AudioRegression
from pretune.tasks.values.image_regression import ImageRegression
from pretune.tasks.values.text_regression import TextRegression
from pretune.tasks.written.conversation import Conversation
from pretune.tasks.written.text_generation import TextGeneration
from pretune.tasks.written.text_to_text import TextToText

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone
    from pretune.data.splits import Splits

__all__ = ["ALIASES", "TASKS", "check_settings", "find_task", "saved_task", "task_named", "task_on", "task_restored"]

TASKS: tuple[type[Task], ...] = (
    AudioClassification,
    AudioMultilabelClassification,
    SpeechRecognition,
    ImageClassification,
    ImageMultilabelClassification,
    TextClassification,
    TextMultilabelClassification,
    TextRegression,
    TextGeneration,
    ImageRegression,
    AudioRegression,
    TokenClassification,
    Conversation,
    TextToText,
    SemanticSegmentation,
    KeypointDetection,
    QuestionAnswering,
    ObjectDetection,
    TextToSpeech,
    SentenceEmbedding,
)

ALIASES = {
    "translation": TextToText.name,
    "summarization": TextToText.name,
    "summarisation": TextToText.name,
    "dialogue": Conversation.name,
    "chat": Conversation.name,
}
"""Other names that tasks are asked for by."""


def task_on(kind: type[Task], backbone: Backbone) -> type[Task]:
    """The task as this backbone does it: for linear models on simple features the twin of the same name.

    Raises :class:`UsageError` for a task that has none.
    """
    if backbone.config.model_type != MODEL_TYPE:
        return kind
    found = next((twin for twin in LINEAR_TASKS if twin.name == kind.name), None)
    if found is None:
        raise UsageError(
            f"{backbone.name} tells classes apart, and {kind.name} has none",
            "choose a neural network, such as scratch:...",
        )
    return found


def saved_task(about: Mapping[str, Any]) -> type[Task] | None:
    """The task that a model's ``pretune.json`` tells ``about``; None for one that has no answers (pre-training)."""
    kinds: tuple[type[Task], ...] = LINEAR_TASKS if "features" in about else TASKS
    return next((task for task in kinds if task.name == about["task"]), None)


def task_restored(about: Mapping[str, Any], backbone: Backbone) -> Task:
    """The task that a model's ``pretune.json`` tells ``about``. Raises as :func:`task_named`, and :class:`CorruptFile` where the
    model beside it is of another kind.
    """
    kind = task_on(task_named(about["task"]), backbone)
    if kind is not saved_task(about):
        raise CorruptFile(
            f"pretune.json of {backbone.name} tells of another kind of model than config.json",
            "the folder holds files of two runs: copy it again",
        )
    return kind.restore(about, backbone)


def task_named(name: str) -> type[Task]:
    """The task called ``name``. Raises :class:`UsageError` naming the nearest one."""
    for task in TASKS:
        if task.name == ALIASES.get(name, name):
            return task
    raise UsageError(f"there is no task {name!r}", did_you_mean(name, [*(task.name for task in TASKS), *ALIASES]))


def check_settings(settings: Settings, task: type[Task]) -> None:
    """Raise :class:`UsageError` for a setting that was given, that other tasks read and that this one does not."""
    if task in LINEAR_TASKS:
        others = {name for one in TASKS for name in one.reads} - set(task.reads)
        settings.refuse_given(others, f"does nothing for a linear model of {task.name}")
        return
    refuse_unread(settings, task.name, {one.name: one.reads for one in TASKS})


def find_task(data: Splits, asked: str = "auto") -> type[Task]:
    """The task called ``asked``, or with ``auto`` the first whose columns the training rows have, of those that are not asked for by name.

    Raises :class:`DataError` where there is nothing to learn from, :class:`UsageError` for a task that the rows cannot teach.
    """
    train = data.get("train")
    if train is None or len(train) == 0:
        unlabelled = len(data.get("unlabelled", ()))
        column = "label" if asked == "auto" else task_named(asked).columns[-1]
        raise DataError(
            "there are no training rows"
            + (f" with labels, only {unlabelled} without" if unlabelled else "")
            + _found_instead(data),
            f"{data.label_advice(column)}; `pretune pretrain` needs no labels",
        )
    found = set(train.column_names)
    if asked != "auto":
        task = task_named(asked)
        if lacking := task.lacking(found):
            raise UsageError(
                f"--task {asked} needs the columns {', '.join(task.columns)}, the rows lack {', '.join(lacking)}",
                data.label_advice() if lacking[0] == "label" else f"name them: --column {lacking[0]}=NAME",
            )
        return task
    for task in TASKS:
        if not task.by_name and found.issuperset((*task.columns, *task.found_by)):
            return task
    raise DataError("the training rows have no labels", f"{data.label_advice()}; `pretune pretrain` needs no labels")


def _found_instead(data: Splits) -> str:
    """What the data says of its pictures in place of labels: boxes, masks."""
    left_out = data.facts.get("read", {}).get("left_out", [])
    found = [one["why"] for one in left_out if one["code"] in ("boxes", "masks")]
    return f"; found were {', and '.join(found)}, which no task learns yet" if found else ""
