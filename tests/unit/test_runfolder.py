"""One folder, one run: new, resumed, finished, or refused with the difference."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from pretune.config import RunSettings
from pretune.errors import RunError, UsageError
from pretune.newrun import create_run, default_out
from pretune.options import Settings, option
from pretune.runfolder import is_run, open_run


@dataclass(frozen=True, kw_only=True)
class LearnSettings(RunSettings):
    """A verb's settings."""

    verb: ClassVar[str] = "learn"
    seed: int = option(0)
    column: tuple[str, ...] = option(())
    threads: int | None = option(None, not_in_identity=True)


@dataclass(frozen=True, kw_only=True)
class OtherSettings(Settings):
    """Another verb's."""

    verb: ClassVar[str] = "other"


def begin(out: Path, overwrite: bool = False, **settings: object) -> str:
    with create_run(LearnSettings(**settings), out, overwrite=overwrite) as (_, state):  # type: ignore[arg-type]
        return state


def test_new_then_resumed_then_finished(tmp_path: Path):
    out = tmp_path / "runs" / "a"
    assert begin(out, seed=3) == "new"
    assert begin(out, seed=3) == "resumed"
    open_run(out).update_record(status="finished", result={"accuracy": 0.5})
    assert begin(out, seed=3) == "finished"
    record = open_run(out).record
    assert (record["verb"], record["settings"]["seed"], record["command"]) == ("learn", 3, "pretune learn --seed 3")
    assert record["result"] == {"accuracy": 0.5}


def test_other_settings_are_refused_with_the_difference(tmp_path: Path):
    begin(tmp_path / "a", seed=3)
    before = (tmp_path / "a" / "run.json").read_bytes()
    with pytest.raises(RunError) as caught:
        begin(tmp_path / "a", seed=4)
    assert "--seed was 3, is 4" in caught.value.problem
    assert "--overwrite" in caught.value.fix
    assert (tmp_path / "a" / "run.json").read_bytes() == before


def test_an_option_younger_than_the_run_changes_nothing_unless_it_is_given(tmp_path: Path):
    assert begin(tmp_path / "a") == "new"
    run = open_run(tmp_path / "a")
    run.update_record(settings={"out": run.record["settings"]["out"]})
    assert begin(tmp_path / "a") == "resumed"
    with pytest.raises(RunError) as caught:
        begin(tmp_path / "a", seed=4)
    assert "--seed was 0, is 4" in caught.value.problem


def test_an_early_mistake_leaves_nothing_that_blocks_the_next_try(tmp_path: Path):
    with pytest.raises(UsageError), create_run(LearnSettings(seed=3), tmp_path / "a"):
        raise UsageError("no such model")
    assert not is_run(tmp_path / "a")
    assert begin(tmp_path / "a", seed=4) == "new"


def test_a_failure_after_the_first_update_keeps_what_was_learned(tmp_path: Path):
    def fail_late() -> None:
        with create_run(LearnSettings(seed=3), tmp_path / "a") as (run, _):
            run.log({"kind": "step", "step": 1})
            raise UsageError("no more")

    with pytest.raises(UsageError):
        fail_late()
    assert begin(tmp_path / "a", seed=3) == "resumed"


def test_settings_outside_the_identity_may_change(tmp_path: Path):
    begin(tmp_path / "a", threads=1)
    assert begin(tmp_path / "a", threads=2) == "resumed"


def test_another_verb_is_refused(tmp_path: Path):
    begin(tmp_path / "a")
    with pytest.raises(RunError, match="a run of `learn`, not of `other`"), create_run(OtherSettings(), tmp_path / "a"):
        pass


def test_overwrite_empties_the_run_and_nothing_beyond(tmp_path: Path):
    outside = tmp_path / "precious.txt"
    outside.write_text("x")
    begin(tmp_path / "a", seed=3)
    (tmp_path / "a" / "model").mkdir()
    (tmp_path / "a" / "model" / "w").write_text("x")
    (tmp_path / "a" / "link").symlink_to(outside)
    assert begin(tmp_path / "a", overwrite=True, seed=4) == "new"
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [".lock", "run.json", "sums.json"]
    assert outside.read_text() == "x"


def test_a_run_made_anew_within_a_second_is_told_from_the_first(tmp_path: Path):
    begun = set()
    for _ in range(3):
        begin(tmp_path / "run", overwrite=True)
        begun.add(open_run(tmp_path / "run").record["started"])
    assert len(begun) == 3


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_never_touched(tmp_path: Path, overwrite: bool):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="not a run folder"):
        begin(tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_out_that_is_a_file(tmp_path: Path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        begin(tmp_path / "f")
    with pytest.raises(UsageError, match="cannot be made"):
        begin(tmp_path / "f" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_that_may_not_be_written(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be made"):
        begin(tmp_path / "a")
    tmp_path.chmod(0o700)


def test_a_run_being_written_is_refused(tmp_path: Path):
    with create_run(LearnSettings(), tmp_path / "a"), pytest.raises(RunError, match="is being written by process"):
        begin(tmp_path / "a")


def test_open_says_what_is_wrong(tmp_path: Path):
    with pytest.raises(RunError, match="does not exist"):
        open_run(tmp_path / "none")
    with pytest.raises(RunError, match="not a run folder"):
        open_run(tmp_path)
    assert not is_run(tmp_path)


def test_log_is_cut_back_to_a_step(tmp_path: Path):
    begin(tmp_path / "a")
    run = open_run(tmp_path / "a")
    for step in (1, 2, 3):
        run.log({"kind": "step", "step": step})
    run.truncate_log(2)
    assert [line["step"] for line in run.log_lines()] == [1, 2]
    run.truncate_log(0)
    assert run.log_lines() == []


def test_looks_at_the_test_split_are_counted(tmp_path: Path):
    begin(tmp_path / "a")
    run = open_run(tmp_path / "a")
    assert [
        run.count_look("test", "evaluate"),
        run.count_look("validation", "evaluate"),
        run.count_look("test", "compare"),
    ] == [1, 1, 2]


def test_metrics_of_splits_stand_side_by_side(tmp_path: Path):
    begin(tmp_path / "a")
    run = open_run(tmp_path / "a")
    assert (run.metrics, run.passport) == ({}, {})
    run.write_metrics("test", {"n": 10, "scores": {}})
    run.write_metrics("validation", {"n": 5, "scores": {}})
    assert run.metrics == {"test": {"n": 10, "scores": {}}, "validation": {"n": 5, "scores": {}}}


def test_default_folder_is_the_first_free_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert default_out("finetune", "x/我的 news!.csv") == Path("runs/finetune-我的-news--1")
    Path("runs/finetune-news-1").mkdir(parents=True)
    assert default_out("finetune", "news.csv") == Path("runs/finetune-news-2")
    Path("runs/finetune-news-2").mkdir()
    Path("runs/finetune-news-2/.lock").touch()  # an early mistake left it
    assert default_out("finetune", "news.csv") == Path("runs/finetune-news-2")
    assert default_out("finetune", "-") == Path("runs/finetune---1")
