"""What labels mean: one file a task, listed in :data:`TASKS`."""

from pretune.tasks.base import EncodedRows, Task
from pretune.tasks.image_classification import ImageClassification
from pretune.tasks.listing import TASKS, find_task, task_named
from pretune.tasks.text_classification import TextClassification

__all__ = ["TASKS", "EncodedRows", "ImageClassification", "Task", "TextClassification", "find_task", "task_named"]
