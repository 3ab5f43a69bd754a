"""Settings are searched by successive halving: what is tried, what goes on, what is kept, and that nothing is computed twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pretune
from pretune.errors import NonFiniteUpdate, UsageError
from pretune.runfolder import RunFolder, open_run
from pretune.training.learning import Learning
from pretune.verbs.finetune import tuning
from pretune.verbs.finetune.tuning import rungs_of, tuned_passes


@pytest.mark.parametrize(
    ("trials", "rungs", "passes"),
    [
        (2, [0.5, 1.0], 1.5),
        (8, [0.125, 0.25, 0.5, 1.0], 2.5),
        (5, [0.125, 0.25, 0.5, 1.0], 5 / 8 + 3 / 8 + 2 / 4 + 1 / 2),
    ],
)
def test_half_of_the_trials_end_at_each_rung(trials: int, rungs: list[float], passes: float) -> None:
    assert rungs_of(trials) == rungs
    assert tuned_passes(trials) == pytest.approx(passes)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    lines = [f"{word} of number {n},{word}" for n in range(40) for word in ("apples", "berries")]
    (tmp_path / "few.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return tmp_path / "few.csv"


OPTIONS: dict[str, Any] = {"tune": ("learning_rate", "batch_size"), "trials": 4, "max_steps": 16, "warmup": "0%"}


def tuned(few: Path, out: Path, **options: Any) -> Any:
    return pretune.finetune("scratch:bert-tiny", data=str(few), out=str(out), **{**OPTIONS, **options})


@pytest.mark.slow
def test_the_better_half_goes_on_until_one_is_left(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = tuned(few, out)
    run = open_run(out)
    found = run.record["tuning"]
    assert [one["share"] for one in found["trials"]].count(1.0) == 1
    assert sorted(one["share"] for one in found["trials"]) == [0.25, 0.25, 0.5, 1.0]
    assert found["trials"][0]["values"] == {}, "what the run would be by itself is among the trials"
    assert all({*one["values"]} == {"learning_rate", "batch_size"} for one in found["trials"][1:])
    rate = run_of(out, 0).record["training"]["learning_rate"]
    others = [one["values"]["learning_rate"] for one in found["trials"][1:]]
    assert len({*others}) == 3
    assert all(rate / 8.1 < other < rate * 8.1 for other in others)
    best = found["best"]
    assert found["trials"][best]["share"] == 1.0
    assert run.record["result"] == run_of(out, best).record["result"]
    assert made.facts["result"]["value"] == found["trials"][best]["value"]
    steps = [line["step"] for line in run_of(out, best).log_lines() if line["kind"] == "step"]
    assert steps == sorted({*steps}), "a trial goes on from where it stopped"
    assert not any(run_of(out, number).checkpoints_dir.exists() for number in range(4))
    assert pretune.evaluate(str(out), split="validation").facts["n"] > 0
    pretune.report(str(out))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Settings that were tried" in page
    assert "1.75 whole runs" in page or "2 whole runs" in page
    again = tuned(few, out)
    assert "finished" in again.text


def run_of(out: Path, number: int) -> RunFolder:
    return open_run(out / "trials" / f"trial-{number + 1}")


@pytest.mark.slow
def test_a_search_that_was_broken_off_goes_on(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    tuned(few, whole, trials=3)
    real, calls = tuning._go_on, []

    def broken(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "_go_on", broken)
        with pytest.raises(KeyboardInterrupt):
            tuned(few, out, trials=3)
    tuned(few, out, trials=3)
    assert open_run(out).record["tuning"] == open_run(whole).record["tuning"]
    weights = [(place / "model" / "model.safetensors").read_bytes() for place in (whole, out)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_trial_whose_loss_is_not_finite_ends_and_the_others_go_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = Learning.go

    def wild(learning: Learning) -> None:
        if learning.run.path.name == "trial-2":
            raise NonFiniteUpdate("the loss is not finite", "give a smaller --learning-rate", step=3, row_ids=("1",))
        go(learning)

    monkeypatch.setattr(Learning, "go", wild)
    out = tmp_path / "run"
    tuned(few, out, trials=2)
    found = open_run(out).record["tuning"]
    assert found["best"] == 0
    assert found["trials"][1]["share"] == 0.0
    assert found["trials"][1]["problem"] == "the loss is not finite"
    pretune.report(str(out))
    assert "ended in a loss that is not finite" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seeds": 2}, "--seeds"),
        ({"folds": 3}, "--folds"),
        ({"find_learning_rate": True}, "--find-learning-rate"),
        ({"adapt": "linear"}, "no updates"),
        ({"schedule": "plateau"}, "--schedule plateau"),
        ({"tune": ()}, "--trials"),
        ({"tune": ("layers",)}, "--tune is 'layers'"),
    ],
)
def test_what_a_search_does_not_go_with_is_refused(
    options: dict[str, Any], told: str, few: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        tuned(few, tmp_path / "run", **options)
