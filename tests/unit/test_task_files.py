"""A task is one file and its line in the list: nothing else in the house knows it by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import pretune
from pretune.tasks import TASKS, Task

SOURCE = Path(pretune.__file__).parent
LISTS = {
    SOURCE / "tasks" / "__init__.py",
    SOURCE / "tasks" / "listing.py",
    SOURCE / "tasks" / "linear/classification.py",  # twins of the same names on simple features
    SOURCE / "report" / "card.py",  # the hub calls some of its own tasks so
}
KNOWN_ELSEWHERE = {
    "Conversation": {"data/dialogue/columns.py"},  # a usual name of a column
    "SpeechRecognition": {"explain/aims.py"},  # what of a transcript is explained
    "TextGeneration": {"objectives/text/causal_text.py"},  # what it learns to do
}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_only_its_own_file_and_the_lists_name_a_task(task: type[Task]) -> None:
    own = Path(inspect.getfile(task))
    words = re.compile(rf"(?<![A-Za-z]){task.__name__}\b|[\"']{re.escape(task.name)}[\"']")
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path != own and path not in LISTS and words.search(path.read_text(encoding="utf-8"))
    }
    assert found == KNOWN_ELSEWHERE.get(task.__name__, set())


@pytest.mark.parametrize("name", ["text_regression", "image_regression", "audio_regression"])
def test_numbers_of_a_modality_are_one_short_file(name: str) -> None:
    lines = (SOURCE / "tasks" / "values" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 25
