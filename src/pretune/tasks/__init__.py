"""What labels mean: one file a task, listed in :data:`TASKS`."""

from pretune.tasks.base import EncodedRows, Task
from pretune.tasks.text_classification import TextClassification

TASKS: tuple[type[Task], ...] = (TextClassification,)

__all__ = ["TASKS", "EncodedRows", "Task", "TextClassification"]
