"""``pretune verify``: what is whole, what is not, and what was changed on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

import pretune
from pretune import cli
from pretune.files import write_json
from pretune.runfolder import RunFolder
from pretune.sums import sealed_folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with a model, and a run of one seed inside."""
    run = RunFolder(tmp_path / "news")
    for one in (run, RunFolder(run.path / "seeds" / "seed-0")):
        one.path.mkdir(parents=True)
        one.write("run.json", {"format": 2, "verb": "finetune", "settings": {}, "status": "finished"})
        with sealed_folder(one.model_dir) as folder:
            write_json(folder / "pretune.json", {"format": 2, "task": "text-classification"})
            (folder / "model.safetensors").write_bytes(b"weights")
    run.write_lines("predictions/test.jsonl", [{"id": "1"}])
    return run


def test_a_whole_run_is_said_to_be_whole(run: RunFolder):
    outcome = pretune.verify(run.path)
    assert outcome.exit_code == 0
    assert outcome.facts["files"] == 7
    assert outcome.facts["problems"] == []
    assert "all 7 files are what was written" in outcome.text


@pytest.mark.parametrize(
    "name", ["run.json", "predictions/test.jsonl", "model/model.safetensors", "seeds/seed-0/model/pretune.json", "model/sums.json"]
)  # fmt: skip
def test_every_damaged_file_is_named(run: RunFolder, name: str, capsys: pytest.CaptureFixture[str]):
    content = (run.path / name).read_bytes()
    (run.path / name).write_bytes(content.replace(b'"', b"+", 1) if b'"' in content else b"x")
    (run.path / "model" / "pretune.json").unlink(missing_ok=True)
    assert cli.main(["verify", str(run.path)]) == 1
    told = capsys.readouterr().out
    assert str(run.path / name) in told
    if name != "model/sums.json":
        assert f"{run.path / 'model/pretune.json'} is missing" in told
    assert f"pretune verify {run.path} --accept" in told


def test_what_is_accepted_is_whole_again_and_remembered(run: RunFolder):
    (run.path / "model" / "pretune.json").write_text('{"format": 2, "task": "other"}')
    (run.path / "run.json").write_text('{"format": 2, "verb": "finetune", "settings": {}, "status": "stopped"}')
    accepted = pretune.verify(run.path, accept=True)
    assert sorted(accepted.facts["accepted"]) == [str(run.path / "model/pretune.json"), str(run.path / "run.json")]
    assert pretune.verify(run.path).exit_code == 0
    assert "run.json" in (run.sums.listed() or {})
    assert "accepted" in (run.sums.listed() or {})["run.json"]


def test_a_folder_without_sums_gets_some_where_that_is_asked_for(run: RunFolder):
    for path in run.path.rglob("sums.json"):
        path.unlink()
    before = pretune.verify(run.path)
    assert before.exit_code == 1
    assert "nothing to compare with" in before.text
    assert pretune.verify(run.path, accept=True).facts["accepted"] == []
    assert sorted(run.sums.listed() or ()) == ["predictions/test.jsonl", "run.json"]
    assert pretune.verify(run.path).facts["files"] == 4, "of the run and its model"


def test_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["verify", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
