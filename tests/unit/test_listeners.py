"""Who follows a run hears what log.jsonl gets; trackers are the real libraries, and one that fails stops nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import pretune
from conftest import make_rows, write_csv
from pretune.errors import UsageError
from pretune.trackers import TRACKERS, Tracker, figures_of, trackers_of

pytestmark = pytest.mark.filterwarnings("ignore:data")
QUICK: dict[str, Any] = {"threads": 1, "precision": "fp32", "max_steps": 3, "eval_every": "1"}


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def on_begin(self, run: Path, record: Any) -> None:
        self.told.append(("begin", run.name, dict(record)))

    def on_step(self, run: Path, line: Any) -> None:
        self.told.append(("step", run.name, dict(line)))

    def on_evaluation(self, run: Path, line: Any) -> None:
        self.told.append(("eval", run.name, dict(line)))

    def on_end(self, run: Path, record: Any) -> None:
        self.told.append(("end", run.name, dict(record)))


class Broken(Tracker):
    """A tracker whose server is gone."""

    def begin(self, run: Path, settings: Any) -> Any:
        sys.stdout.write("where the result goes")
        return settings

    def log(self, opened: Any, figures: Any, step: int) -> None:
        raise ConnectionError("no route\nto host")

    def end(self, opened: Any, *, is_whole: bool) -> None:
        raise AssertionError("it was left alone")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "news.csv", make_rows(60))


@pytest.fixture(scope="module")
def heard(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Heard, Path]:
    one, out = Heard(), tmp_path_factory.mktemp("runs") / "several"
    pretune.finetune("scratch:bert-tiny", data=data, out=out, seeds=2, listeners=[one], **QUICK)
    return one, out


def test_a_listener_hears_what_the_log_gets_and_how_each_run_ends(heard: tuple[Heard, Path]) -> None:
    one, out = heard
    assert [(event, run) for event, run, _ in one.told if event in ("begin", "end")] == [
        ("begin", "several"), ("begin", "seed-0"), ("end", "seed-0"), ("begin", "seed-1"), ("end", "seed-1"), ("end", "several"),
    ]  # fmt: skip
    logged = [json.loads(line) for line in (out / "seeds/seed-1/log.jsonl").read_text().splitlines()]
    assert [line for _, run, line in one.told if run == "seed-1" and "kind" in line] == logged
    assert {line["kind"] for line in logged} == {"step", "eval"}
    assert one.told[-1][2]["status"] == "finished"
    assert "value" in one.told[-1][2]["result"]


def test_a_run_that_was_finished_tells_nothing_again(heard: tuple[Heard, Path], data: Path) -> None:
    one = Heard()
    pretune.finetune("scratch:bert-tiny", data=data, out=heard[1], seeds=2, listeners=[one], **QUICK)
    assert one.told == []


def test_a_run_that_fails_is_ended_too_and_what_a_listener_raises_is_seen(data: Path, tmp_path: Path) -> None:
    one = Heard()
    with pytest.raises(UsageError):
        pretune.finetune(
            "scratch:bert-tiny", data=data, out=tmp_path / "a", task="text-regression", listeners=[one], **QUICK
        )
    assert [event for event, *_ in one.told] == ["begin", "end"]

    class Stops:
        def on_step(self, run: Path, line: Any) -> None:
            raise KeyError(line["step"])

    with pytest.raises(KeyError, match="1"):
        pretune.finetune("scratch:bert-tiny", data=data, out=tmp_path / "b", listeners=[Stops()], **QUICK)
    with pytest.raises(UsageError, match="a dict, which has none of the methods"):
        pretune.finetune("scratch:bert-tiny", data=data, out=tmp_path / "c", listeners=[{}], **QUICK)


def test_a_tracker_that_fails_is_warned_of_once_and_learning_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(
        pretune.PretuneWarning, match=r"--report-to mine does not work any more \(ConnectionError: no route\)"
    ) as heard:
        pretune.finetune("scratch:bert-tiny", data=data, out=tmp_path / "run", listeners=[Broken("mine")], **QUICK)
    assert len([one for one in heard if "mine" in str(one.message)]) == 1
    assert pretune.load(tmp_path / "run").record["status"] == "finished"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_named_with_what_installs_it(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"--report-to {name} needs the package {name}") as caught:
        pretune.finetune("scratch:bert-tiny", data=data, out=tmp_path / "run", report_to=name, **QUICK)
    assert caught.value.fix == f"pip install {name}"
    assert not (tmp_path / "run").exists(), "found out before anything begins"


def test_figures_have_the_names_that_trackers_group_by() -> None:
    assert figures_of({"kind": "eval", "split": "validation", "step": 3, "scores": {"accuracy": 0.5}}) == {
        "validation/accuracy": 0.5
    }
    line = {"kind": "step", "seed": 0, "step": 3, "loss": 2.0, "parts": {"soft loss": 1.5}, "epoch": 1}
    assert figures_of(line) == {"train/loss": 2.0, "train/soft_loss": 1.5, "train/epoch": 1.0}


RECORD = {
    "verb": "finetune",
    "status": "finished",
    "settings": {"data": "/home/ada/news.csv", "epochs": 3.0, "metric": None},
}
STEPS = [{"kind": "step", "step": step, "loss": 1 / step, "parts": {}} for step in (1, 2)]
SCORED = {"kind": "eval", "step": 2, "split": "validation", "scores": {"accuracy": 0.75}}


def follow(name: str, run: Path) -> None:
    """One run of the real library, on this machine."""
    pytest.importorskip(name)
    [tracker] = trackers_of([name])
    tracker.on_begin(run, {**RECORD, "status": "running"})
    for line in STEPS:
        tracker.on_step(run, line)
    tracker.on_evaluation(run, SCORED)
    tracker.on_end(run, RECORD)
    assert not tracker._has_failed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news").mkdir()
    return tmp_path / "news"


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(run: Path) -> None:
    follow("tensorboard", run)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    assert [one.value for one in events.Scalars("validation/accuracy")] == [0.75]
    assert b"/home/ada" not in next((run / "tensorboard").iterdir()).read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_mlflow(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((run.parent / "tracked").as_uri())
    try:
        follow("mlflow", run)
        client = mlflow.MlflowClient()
        [found] = client.search_runs([client.get_experiment_by_name("pretune").experiment_id])
        assert (found.info.run_name, found.info.status) == ("news", "FINISHED")
        assert found.data.params == {"verb": "finetune", "data": "news.csv", "epochs": "3.0"}
        assert [one.value for one in client.get_metric_history(found.info.run_id, "train/loss")] == [1.0, 0.5]
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.filterwarnings("ignore")
def test_wandb(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(run.parent))
    follow("wandb", run)
    [kept] = run.parent.glob("wandb/offline-run-*/*.wandb")
    assert b"validation/accuracy" in kept.read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_trackio(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(run.parent / "tracked"))
    follow("trackio", run)
    assert [*run.parent.glob("tracked/**/pretune*")]
