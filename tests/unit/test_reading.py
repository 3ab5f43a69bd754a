"""What a run made from a run knows of how the first of its line learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretune.config import TaskSettings
from pretune.files import write_json
from pretune.runfolder import RunFolder
from pretune.verbs import distill_student
from pretune.verbs.derived import take_over
from pretune.verbs.distill import DistillSettings
from pretune.verbs.finetune import FinetuneSettings
from tiny import tiny_backbone


def run_of(place: Path, verb: str, settings: Any) -> RunFolder:
    place.mkdir()
    write_json(place / "run.json", {"verb": verb, "settings": settings.to_dict()})
    return RunFolder(place)


@pytest.mark.parametrize("generations", [0, 1, 2])
@pytest.mark.parametrize(("weights", "smoothing"), [("auto", 0.1), ("none", 0.0)])
def test_a_students_classes_weigh_what_they_weighed_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generations: int, weights: str, smoothing: float
) -> None:
    """Also where the teacher was distilled, pruned or rounded itself, and its own settings say nothing of weights."""
    learned = FinetuneSettings(backbone="b", data="d.csv", class_weights=weights, label_smoothing=smoothing)
    parent = run_of(tmp_path / "first", "finetune", learned)
    asked = DistillSettings(run=str(parent.path), student="layers:1")
    for number in range(generations):
        child = run_of(tmp_path / str(number), "distill", asked)
        take_over(child, parent)
        parent = child
    about = {"task": "text-classification", "max_length": 64, "long_text": "windows"}
    monkeypatch.setattr(distill_student, "about_of", lambda run: about)
    found: TaskSettings = distill_student._task_settings(asked, parent, tiny_backbone("bert"))
    assert (found.class_weights, found.label_smoothing) == (weights, smoothing)
    assert (found.max_length, found.long_text) == (64, "windows")
