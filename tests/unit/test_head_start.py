"""A head on frozen features begins at logistic regression, is never worse than the probe says, and shares its cache; rows of
validation that stand in train choose nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from clocks import clock_of
from conftest import make_rows, write_csv
from pretune.errors import DataError, UsageError
from pretune.interface import Silent
from pretune.runfolder import RunFolder
from pretune.tasks.rows import trunk as trunk_rows
from pretune.training.learning import Learning
from pretune.training.settings import FinetuneSettings
from pretune.verbs.evaluate.story import EvaluateSettings, evaluate
from pretune.verbs.finetune.story import finetune
from pretune.verbs.predict.story import PredictSettings, predict
from pretune.verbs.probe.story import ProbeSettings, probe

START = {"backbone": "scratch:bert-tiny", "threads": 1, "test_fraction": 0.0, "max_length": 24}


def noisy_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Every third label is another one: nobody is right on all of them."""
    rng, rows = random.Random(seed), make_rows(count, seed)
    names = sorted({row["label"] for row in rows})
    return [{**row, "label": rng.choice(names)} if rng.random() < 0.4 else row for row in rows]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_csv(tmp_path_factory.mktemp("noisy") / "rows.csv", noisy_rows(240)))


def run_finetune(out: Path, **options: Any) -> tuple[dict[str, Any], RunFolder, Silent]:
    say = Silent()
    facts = finetune.run(FinetuneSettings(**{**START, "out": str(out), **options}), say=say).facts
    return facts, RunFolder(out), say


def values_by_step(run: RunFolder) -> dict[int, float]:
    return {line["step"]: line["scores"]["accuracy"] for line in run.log_lines() if line["kind"] == "eval"}


@pytest.mark.parametrize("pooling", ["auto", "own"])
def test_the_head_begins_at_what_the_probe_says_and_finds_its_cache(
    pooling: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = probe.run(ProbeSettings(**START, data=data, pooling=pooling), say=Silent()).facts
    monkeypatch.setattr(trunk_rows, "_write", lambda *_: pytest.fail("what does not learn was run again"))
    facts, run, _ = run_finetune(tmp_path / "run", data=data, adapt="head", epochs=2, pooling=pooling)
    values = values_by_step(run)
    assert values[0] == pytest.approx(told["scores"]["linear"]["accuracy"]["value"], abs=1e-9)
    assert set(values) > {0}
    assert facts["result"]["value"] == max(values.values())
    assert run.record["linear_model"]["strength"] == told["linear"]["strength"]
    assert run.record["model"]["pooling"]["modes"] == ([] if pooling == "own" else ["mean"])


def test_a_linear_run_is_a_run_like_any_other(data: str, tmp_path: Path) -> None:
    told = probe.run(ProbeSettings(**START, data=data), say=Silent()).facts
    facts, run, _ = run_finetune(tmp_path / "run", data=data, adapt="linear")
    assert facts["result"]["step"] == 0
    assert facts["result"]["value"] == pytest.approx(told["scores"]["linear"]["accuracy"]["value"], abs=1e-9)
    assert run.record["training"]["adapt"] == "linear"
    assert run.record["training"]["steps"] == 0
    scored = evaluate.run(EvaluateSettings(run=str(run.path), split="validation", threads=1), say=Silent()).facts
    assert scored["scores"]["accuracy"]["value"] == pytest.approx(facts["result"]["value"], abs=1e-9)
    out = tmp_path / "answers.jsonl"
    predict.run(PredictSettings(run=str(run.path), data=data, out=str(out), threads=1), say=Silent())
    assert out.read_text().count("\n") == 240
    assert (
        "logistic regression"
        in finetune.run(FinetuneSettings(**START, data=data, adapt="linear", out=str(run.path)), say=Silent()).text
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 3.0}, "--epochs does nothing for a linear model (--adapt linear, linear:...)"),
        ({"learning_rate": 1e-3}, "--learning-rate does nothing for a linear model (--adapt linear, linear:...)"),
        ({"label_smoothing": 0.1}, "--label-smoothing does nothing for a linear model (--adapt linear, linear:...)"),
        ({"augment": "light"}, "rows are read as they stand"),
    ],
)
def test_settings_of_updates_are_refused_where_there_are_none(
    options: dict[str, Any], says: str, data: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        run_finetune(tmp_path / "run", data=data, adapt="linear", **options)
    assert says in str(caught.value)


def test_a_forecast_runs_a_few_rows_and_keeps_nothing(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_of(monkeypatch, trunk_rows, tick=1.0)
    settings = FinetuneSettings(**{**START, "data": data, "adapt": "head", "dry_run": True, "max_length": 20})
    monkeypatch.setattr(trunk_rows, "_FORECAST_ROWS", 5)
    before = finetune.run(settings, say=Silent())
    assert before.facts["evaluations"] > 0, "five rows stood for all validation rows"
    assert before.facts["frozen_seconds"] >= 2, "a second for the sample of each split, by that clock"
    assert "to run what does not learn once" in before.text
    probe.run(ProbeSettings(**{**START, "data": data, "max_length": 20}), say=Silent())
    after = finetune.run(settings, say=Silent())
    assert after.facts["frozen_seconds"] == 0
    assert "once" not in after.text


def leaky(folder: Path, *, leaked: int, own: int) -> str:
    """A folder whose validation rows are ``leaked`` rows of train, their labels turned, and ``own`` ones."""
    folder.mkdir(exist_ok=True)
    rows = make_rows(150 + own)
    names = sorted({row["label"] for row in rows})
    turned = [{**row, "label": names[names.index(row["label"]) - 1]} for row in rows[:leaked]]
    write_csv(folder / "train.csv", rows[:150])
    write_csv(folder / "validation.csv", turned + rows[150:])
    return str(folder)


def test_rows_of_validation_that_stand_in_train_have_no_vote(tmp_path: Path) -> None:
    data = leaky(tmp_path / "data", leaked=40, own=30)
    facts, run, say = run_finetune(tmp_path / "run", data=data, adapt="linear")
    assert any("40 of 70 validation rows also stand in train" in one for one in say.warnings)
    assert run.record["choosing"] == {"rows": 30, "also_in_train": 40}
    assert facts["result"]["value"] == 1.0, "with the leaked rows, whose labels are turned, it would be 30 of 70"
    said = Silent()
    told = probe.run(ProbeSettings(**START, data=data), say=said).facts
    assert (told["n"], told["also_in_train"]) == (30, 40)
    assert told["scores"]["linear"]["accuracy"]["value"] == 1.0
    assert any("40 of 70 rows of validation also stand in train" in one for one in said.warnings)


def test_where_all_of_validation_stands_in_train_nothing_is_chosen_by_it(tmp_path: Path) -> None:
    data = leaky(tmp_path / "data", leaked=40, own=0)
    with pytest.raises(DataError, match="--drop-leaks") as caught:
        run_finetune(tmp_path / "run", data=data, epochs=1)
    assert "none is left to choose the best model by" in str(caught.value)
    with pytest.raises(DataError, match="none is left to score"):
        probe.run(ProbeSettings(**START, data=data), say=Silent())


def test_what_a_run_begins_with_is_put_in_once(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is broken off after it began goes on from there, and ends as one that was not."""
    from pretune.errors import Interrupted

    options = {"data": data, "adapt": "head", "epochs": 1}
    _, whole, _ = run_finetune(tmp_path / "whole", **options)
    leave = Learning._leave_if_asked

    def broken_off(self: Learning, stop: Any) -> None:
        stop.signal_number = 15
        leave(self, stop)

    monkeypatch.setattr(Learning, "_leave_if_asked", broken_off)
    with pytest.raises(Interrupted):
        run_finetune(tmp_path / "cut", **options)
    monkeypatch.setattr(Learning, "_leave_if_asked", leave)
    import pretune.training.linear_start as linear_start

    monkeypatch.setattr(linear_start, "units_by_id", lambda _: pytest.fail("it was solved again"))
    _, cut, _ = run_finetune(tmp_path / "cut", **options)
    assert values_by_step(cut) == values_by_step(whole)
    from safetensors.torch import load_file

    one, other = (load_file(run.model_dir / "model.safetensors") for run in (whole, cut))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
