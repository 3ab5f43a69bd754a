"""What a run made from a run knows of how the first of its line learned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pretune.config import TaskSettings
from pretune.errors import DataError
from pretune.files import write_json
from pretune.runfolder import RunFolder
from pretune.runs.reading import refuse_missing_data
from pretune.training.derived import take_over
from pretune.training.settings import FinetuneSettings
from pretune.verbs.distill import student as distill_student
from pretune.verbs.distill.story import DistillSettings
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


@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_a_mistyped_path_is_found_before_anything_is_loaded_or_made(verb: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    command = [sys.executable, "-X", "importtime", "-m", "pretune", verb, "scratch:vit-mini"]
    job = subprocess.run(
        [*command, "--data", str(tmp_path / "photo"), "--out", str(tmp_path / "run")], capture_output=True, text=True
    )
    assert job.returncode == 2
    assert 'did you mean "photos"?' in job.stderr
    loaded = {line.rsplit("|", 1)[-1].strip() for line in job.stderr.splitlines() if line.startswith("import time:")}
    assert not {"torch", "transformers"} & loaded
    assert not (tmp_path / "run").exists()


def test_a_begun_run_is_opened_before_its_data_is_missed(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "finetune", FinetuneSettings(backbone="b", data="d.csv"))
    refuse_missing_data(str(tmp_path / "nowhere.csv"), out=str(run.path))
    refuse_missing_data(None, "-", "owner/name")
    (tmp_path / "a.csv").write_text("text,label\n")
    refuse_missing_data(str(tmp_path / "*.csv"), str(tmp_path / "a.csv"))
    with pytest.raises(DataError, match="no file matches"):
        refuse_missing_data(str(tmp_path / "*.tsv"))
    with pytest.raises(DataError, match="does not exist"):
        refuse_missing_data(str(tmp_path / "nowhere.csv"), out=str(tmp_path / "other"))
