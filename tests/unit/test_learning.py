"""The body of the loop: durations become updates, the best model is kept, patience ends a run, a stop is a checkpoint."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clocks import clock_of
from pretune.config import TrainSettings
from pretune.engine import checkpoint
from pretune.engine import fit as fit_module
from pretune.engine.average import Average
from pretune.engine.parallel import Cluster
from pretune.engine.plateau import Plateau
from pretune.errors import Interrupted, UsageError
from pretune.files import write_json
from pretune.interface import Silent
from pretune.report.story import banners
from pretune.runfolder import RunFolder
from pretune.training import crowding
from pretune.training import learning as learning_module
from pretune.training.goal import Goal
from pretune.training.learning import Learning
from pretune.training.pace import Pace, pace_of
from tiny import CPU, Rig, largest_difference, weights_of

# --- durations --------------------------------------------------------------------------------------------------------


def pace(**options: Any) -> Pace:
    return pace_of(TrainSettings(**options), updates_per_epoch=40, default_epochs=3.0)


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({}, 120),
        ({"epochs": 2}, 80),
        ({"epochs": 0.5}, 20),
        ({"epochs": 0.001}, 1),
        ({"max_steps": 7}, 7),
        ({"max_steps": 500}, 500),
        ({"epochs": 2, "max_steps": 500}, 80),
        ({"epochs": 2, "max_steps": 50}, 50),
        ({"epochs": 2, "minutes": 5}, 80),
        ({"max_steps": 9, "minutes": 5}, 9),
        ({"minutes": 5}, 10**9),
    ],
)
def test_epochs_and_steps_whichever_is_first(options: dict[str, Any], total: int) -> None:
    assert pace(**options).total_steps == total


@pytest.mark.parametrize(
    ("text", "updates"),
    [("1epoch", 40), ("0.5epoch", 20), ("2epochs", 80), ("25", 25), ("10%", 12), ("999", 120), ("0", 1)],
)
def test_evaluations_come_at_the_asked_duration_and_once_at_least(text: str, updates: int) -> None:
    assert pace(eval_every=text).eval_every == updates


def test_saves_come_at_their_own_duration() -> None:
    assert pace().save_every is None
    assert pace(save_every="0.25epoch").save_every == 10
    assert pace(save_every="5%").save_every == 6


@pytest.mark.parametrize(
    ("text", "share"), [("6%", 0.06), ("0%", 0.0), ("12", 0.1), ("0.5epoch", 20 / 120), ("6 % ", 0.06), ("999", 1.0)]
)
def test_warm_up_is_a_share_of_the_run(text: str, share: float) -> None:
    assert pace(warmup=text).warmup == pytest.approx(share, abs=0.01 if " " in text else 1e-9)


def test_a_share_of_the_warm_up_is_exact_in_a_short_run() -> None:
    assert pace(max_steps=10, warmup="6%").warmup == 0.06


@pytest.mark.parametrize("flag", ["warmup", "eval_every", "save_every"])
@pytest.mark.parametrize("text", ["soon", "ten%", "epochs of joy", "1e400"])
def test_a_duration_that_is_none_names_its_flag(flag: str, text: str) -> None:
    with pytest.raises(UsageError) as error:
        pace(**{flag: text})
    assert f"--{flag.replace('_', '-')}" in error.value.problem


def test_with_minutes_alone_only_the_warm_up_can_be_a_share() -> None:
    assert pace(minutes=1, warmup="6%", eval_every="20", save_every="1epoch").eval_every == 20
    for options in ({"warmup": "100"}, {"eval_every": "10%"}, {"save_every": "10%"}):
        with pytest.raises(UsageError, match="--minutes alone"):
            pace(minutes=1, **options)
        assert pace(minutes=1, max_steps=100, **options)


# --- a run ------------------------------------------------------------------------------------------------------------


def learning(
    folder: Path, values: Callable[[int], float], *, patience: int | None = None, higher: bool = True,
    eval_every: int = 2, save_every: int | None = None, seconds: float | None = None, ema: float = 0.0,
    finer: Callable[[int], float] | None = None, plateau: Plateau | None = None, **options: Any,
) -> Learning:  # fmt: skip
    """A tiny run whose score at an evaluation is ``values(step)``."""
    rig = Rig(seconds=seconds, **{"steps": 12, "dropout": 0.1, **options})
    folder.mkdir(exist_ok=True)
    if not (folder / "run.json").exists():
        write_json(folder / "run.json", {"status": "running"})

    def evaluate(on_batch: Callable[[int], None]) -> Mapping[str, float]:
        value = values(made.step)
        on_batch(1)
        return {"score": value, **({"loss": finer(made.step)} if finer else {})}

    made = Learning(
        run=RunFolder(folder), model=rig.model, objective=rig.objective, optim=rig.optim, feeds=rig.feeds,
        goal=Goal("score", higher, patience, evaluate, tie_breaker=("loss", False) if finer else None), pace=Pace(rig.budget.max_steps, eval_every, save_every, 1, 0.1),
        budget=rig.budget, device=CPU, cluster=Cluster(), seed=0, flops_per_token=1e6, say=Silent(),
        average=Average(rig.model, ema) if ema else None, plateau=plateau,
    )  # fmt: skip
    return made


def weights_after(steps: int, of: int = 12) -> dict[str, torch.Tensor]:
    rig = Rig(steps=of, dropout=0.1)
    if steps == 0:
        return weights_of(rig.model)
    for step in rig.steps():
        if step.number == steps:
            return weights_of(rig.model)
    raise AssertionError


def evaluations(run: RunFolder) -> list[tuple[int, bool]]:
    return [(line["step"], line["best"]) for line in run.log_lines() if line["kind"] == "eval"]


def test_the_best_models_weights_are_in_the_model_at_the_end(tmp_path: Path) -> None:
    made = learning(tmp_path, {2: 0.1, 4: 0.9, 6: 0.5, 8: 0.9, 10: 0.3, 12: 0.2}.__getitem__)
    made.go()
    assert made.step == 12
    assert made.best == {"step": 4, "value": 0.9, "epoch": pytest.approx(4 / 3, abs=1e-3)}
    assert evaluations(made.run) == [(2, True), (4, True), (6, False), (8, False), (10, False), (12, False)]
    assert largest_difference(weights_of(made.model), weights_after(4)) == 0.0


def test_where_the_best_checkpoint_is_damaged_the_record_says_what_is_kept(tmp_path: Path) -> None:
    def value(step: int) -> float:
        if step == 12:
            victim = tmp_path / "checkpoints" / "step-00000004" / "model.safetensors"
            victim.write_bytes(victim.read_bytes()[:-1] + b"x")
        return {2: 0.1, 4: 0.9}.get(step, step / 100)

    made = learning(tmp_path, value)
    made.go()
    assert largest_difference(weights_of(made.model), weights_after(12)) == 0.0
    kept = {"step": 12, "value": 0.12, "epoch": 4.0, "lost": {"step": 4, "value": 0.9}}
    assert made.best == kept
    assert isinstance(made.say, Silent)
    assert "step-00000004" in made.say.warnings[0]
    assert "the last one is kept (step 12, score 0.1200)" in made.say.warnings[0]
    page = banners({"status": "finished", "result": {"metric": "accuracy", **kept}}, "news")
    assert "(step 4, accuracy 0.9000) was damaged" in page[0].text
    assert banners({"status": "finished", "result": {"metric": "accuracy", "value": 0.1}}, "news") == ()


def test_lower_can_be_better(tmp_path: Path) -> None:
    made = learning(tmp_path, {2: 0.4, 4: 0.2, 6: 0.3}.__getitem__, higher=False, steps=6)
    made.go()
    assert made.best["step"] == 4
    assert Goal("x", False, None, dict).is_better({"value": 0.1}, {})
    assert not Goal("x", False, None, dict).is_better({"value": 0.1}, {"value": 0.1})


def test_a_finer_score_breaks_ties(tmp_path: Path) -> None:
    """Accuracy is 1 from the second evaluation on; the log loss goes on falling and then rises."""
    accuracy = {2: 0.9, 4: 1.0, 6: 1.0, 8: 1.0, 10: 1.0}
    loss = {2: 0.1, 4: 0.6, 6: 0.3, 8: 0.2, 10: 0.25}
    made = learning(tmp_path, accuracy.__getitem__, steps=10, finer=loss.__getitem__)
    made.go()
    assert made.best["step"] == 8
    assert (made.best["value"], made.best["tie"]) == (1.0, 0.2)
    goal = made.goal
    assert goal.is_better({"value": 1.0, "tie": 0.5}, {"value": 0.9, "tie": 0.1}), "the score itself comes first"
    assert not goal.is_better({"value": 1.0, "tie": 0.2}, {"value": 1.0, "tie": 0.2}), "equal in both: the earlier"
    assert not goal.is_better({"value": 1.0, "tie": 0.2}, {"value": 1.0}), "of an older version's checkpoint"
    assert not goal.is_better({"value": 1.0, "tie": float("nan")}, {"value": 1.0, "tie": 0.2})


def test_patience_ends_the_run_and_keeps_the_best(tmp_path: Path) -> None:
    made = learning(tmp_path, {2: 0.5, 4: 0.7, 6: 0.6, 8: 0.7}.__getitem__, patience=2)
    made.go()
    assert (made.step, made.best["step"]) == (8, 4)
    assert largest_difference(weights_of(made.model), weights_after(4)) == 0.0
    assert any("stopping early" in note for note in made.say.notes)  # type: ignore[attr-defined]


def test_a_resumed_run_that_was_out_of_patience_does_not_go_on(tmp_path: Path) -> None:
    learning(tmp_path, lambda step: -step, patience=2).go()
    again = learning(tmp_path, lambda step: -step, patience=2)
    again.resume()
    assert (again.step, again.stale) == (6, 2)
    again.go()
    assert again.step == 6
    assert largest_difference(weights_of(again.model), weights_after(2)) == 0.0


_FLAT = {1: 0.5, 2: 0.4, 3: 0.5, 4: 0.6, 5: 0.6, 6: 0.1, 7: 0.1, 8: 0.1, 9: 0.1, 10: 0.1, 11: 0.1, 12: 0.1}
"""Better at 1 and 4 alone, so that patience of two ends at 3, and from 4 on at 6, 8 and 10."""


def rates_of(run: RunFolder) -> list[float]:
    return [round(line["learning_rate"], 9) for line in run.log_lines() if line["kind"] == "step"]


def test_a_plateau_lowers_the_rate_and_ends_the_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"eval_every": 1, "warmup": 0.0, "schedule": "plateau", "learning_rate": 1.0e-3}
    made = learning(tmp_path, _FLAT.__getitem__, plateau=Plateau(2, 0.2), **options)
    made.go()
    assert rates_of(made.run) == [1e-3] * 3 + [2e-4] * 3 + [4e-5] * 2, "a fourth rate would be under a hundredth"
    assert (made.step, made.best["step"]) == (8, 4)
    assert "no better score in 2 evaluations: the learning rate is 0.0002 from here" in made.say.notes  # type: ignore[attr-defined]
    again = learning(tmp_path, _FLAT.__getitem__, plateau=Plateau(2, 0.2), **options)
    again.resume()
    again.go()
    assert again.step == 8, "the end stays the end"


def test_a_stop_between_two_evaluations_forgets_no_plateau(tmp_path: Path) -> None:
    options: dict[str, Any] = {"eval_every": 1, "warmup": 0.0, "schedule": "plateau", "learning_rate": 1.0e-3}
    straight = learning(tmp_path / "straight", _FLAT.__getitem__, plateau=Plateau(2, 0.2), **options)
    straight.go()

    def stopped(step: int) -> float:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return _FLAT[step]

    with pytest.raises(Interrupted):
        learning(tmp_path / "cut", stopped, plateau=Plateau(2, 0.2), **options).go()
    again = learning(tmp_path / "cut", _FLAT.__getitem__, plateau=Plateau(2, 0.2), **options)
    again.resume()
    again.go()
    assert rates_of(again.run) == rates_of(straight.run)
    assert largest_difference(weights_of(again.model), weights_of(straight.model)) == 0.0


def test_a_plateau_follows_torchs_rule() -> None:
    draws = np.random.default_rng(0)
    for patience in (1, 2, 3):
        mine, parameter = Plateau(patience, 0.5), torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        # torch counts the evaluations that are forgiven, we those that are not
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, "max", factor=0.5, patience=patience - 1, threshold=0.0
        )
        best = -1.0
        for value in draws.random(30):
            mine.note(bool(value > best))
            best = max(best, float(value))
            theirs.step(value)
            if mine.is_over:
                break
            assert optimizer.param_groups[0]["lr"] == mine.reduction


def test_what_an_objective_keeps_is_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A threshold or a teacher's average goes on where it was."""
    made = learning(tmp_path, float, steps=6, eval_every=2)
    kept = {"threshold": torch.tensor([0.25])}
    monkeypatch.setattr(type(made.objective), "state_dict", lambda self: kept)
    monkeypatch.setattr(type(made.objective), "load_state_dict", lambda self, state: given.update(state))
    given: dict[str, torch.Tensor] = {}
    made.go()
    again = learning(tmp_path, float, steps=6, eval_every=2)
    again.resume()
    assert again.step == 6
    assert torch.equal(given["threshold"], kept["threshold"])


def test_a_better_score_forgives_the_stale_ones(tmp_path: Path) -> None:
    made = learning(tmp_path, {2: 0.5, 4: 0.4, 6: 0.6, 8: 0.5, 10: 0.7, 12: 0.6}.__getitem__, patience=2)
    made.go()
    assert (made.step, made.best["step"]) == (12, 10)


def test_the_last_update_is_evaluated_whatever_the_duration(tmp_path: Path) -> None:
    made = learning(tmp_path, float, eval_every=5)
    made.go()
    assert [step for step, _ in evaluations(made.run)] == [5, 10, 12]


def test_saves_between_evaluations_keep_the_two_newest_and_the_best(tmp_path: Path) -> None:
    made = learning(tmp_path, lambda step: -step, eval_every=4, save_every=3)
    made.go()
    assert checkpoint.steps_on_disk(made.run.checkpoints_dir) == [12, 9, 4]


def stop_at(step: int, number: signal.Signals) -> Callable[[int], float]:
    def value(now: int) -> float:
        if now == step:
            os.kill(os.getpid(), number)
        return float(now % 5)

    return value


@pytest.fixture
def not_under_nohup() -> Iterator[None]:
    """The terminal's going is told to this process, however the tests were started."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("not_under_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_leaves_and_the_run_goes_on_to_the_same_bits(number: signal.Signals, tmp_path: Path) -> None:
    straight = learning(tmp_path / "straight", lambda now: float(now % 5), eval_every=1)
    straight.go()
    cut = learning(tmp_path / "cut", stop_at(7, number), eval_every=1)
    with pytest.raises(Interrupted) as error:
        cut.go()
    assert error.value.exit_code == 128 + number
    assert "after step 7" in error.value.problem
    assert cut.run.record["status"] == "stopped"
    assert cut.unevaluated, "the signal came during the evaluation, which is broken off"
    assert [step for step, _ in evaluations(cut.run)] == list(range(1, 7))
    again = learning(tmp_path / "cut", lambda now: float(now % 5), eval_every=1)
    assert again.resume() == []
    assert again.step == 7
    again.go()
    assert again.best == straight.best
    assert largest_difference(weights_of(again.model), weights_of(straight.model)) == 0.0
    for kind in ("step", "eval"):
        steps = [line["step"] for line in again.run.log_lines() if line["kind"] == kind]
        assert steps == list(range(1, 13)), "each logged once"
    losses = [[line["loss"] for line in one.run.log_lines() if line["kind"] == "step"] for one in (again, straight)]
    assert losses[0] == losses[1]


def test_under_nohup_a_terminal_that_goes_stops_nothing(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        made = learning(tmp_path, stop_at(4, signal.SIGHUP))
        made.go()
        assert made.step == 12
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_average_weights_are_evaluated_and_kept_and_survive_a_stop(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def noting(now: int) -> float:
        seen.append(next(iter(weights_of(straight.model).values())))
        return float(now == 6)

    straight = learning(tmp_path / "straight", noting, eval_every=3, ema=0.5)
    straight.go()
    first = next(iter(weights_of(straight.model)))
    expected, averages = weights_after(0)[first], []
    for update in range(1, 13):
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * weights_after(update)[first]
        averages.append(expected)
    assert all(
        torch.allclose(mine, averages[step - 1], atol=1e-6) for mine, step in zip(seen, (3, 6, 9, 12), strict=True)
    )
    assert torch.equal(weights_of(straight.model)[first], seen[1]), "the best evaluation's average is kept"

    cut = learning(tmp_path / "cut", stop_at(7, signal.SIGTERM), eval_every=1, ema=0.5)
    with pytest.raises(Interrupted):
        cut.go()
    again = learning(tmp_path / "cut", float, eval_every=1, ema=0.5)
    again.resume()
    again.go()
    whole = learning(tmp_path / "whole", float, eval_every=1, ema=0.5)
    whole.go()
    assert largest_difference(weights_of(again.model), weights_of(whole.model)) == 0.0


def test_a_damaged_newest_checkpoint_is_passed_over_with_its_name(tmp_path: Path) -> None:
    straight = learning(tmp_path / "straight", float)
    straight.go()
    cut = learning(tmp_path / "cut", stop_at(8, signal.SIGTERM))
    with pytest.raises(Interrupted):
        cut.go()
    file = cut.run.checkpoints_dir / "step-00000008" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    again = learning(tmp_path / "cut", float)
    (note,) = again.resume()
    assert str(file) in note
    assert again.step == 6
    again.go()
    assert largest_difference(weights_of(again.model), weights_of(straight.model)) == 0.0


def test_log_lines_hold_what_the_report_draws(tmp_path: Path) -> None:
    made = learning(tmp_path, float, steps=3)
    made.go()
    line = next(line for line in made.run.log_lines() if line["kind"] == "step")
    assert line.keys() >= {
        "seed", "step", "epoch", "progress", "loss", "parts", "learning_rate", "grad_norm", "tokens_per_second",
        "examples_per_second", "padding", "mfu", "seconds",
    }  # fmt: skip
    assert line["tokens_per_second"] > line["examples_per_second"] > 0
    assert 0 <= line["padding"] < 1
    assert line["mfu"] > 0


def test_minutes_of_a_run_count_its_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates take next to no time here, an evaluation 0.3 seconds: after the fourth the second is over."""
    clock = clock_of(monkeypatch, fit_module, learning_module, tick=1e-6)

    def slow(_step: int) -> float:
        clock.sleep(0.3)
        return 0.5

    made = learning(tmp_path, slow, steps=10**9, seconds=1.0, eval_every=1)
    made.go()
    assert made.step == 4
    assert made.budget.used_seconds == pytest.approx(1.2, abs=1e-3)


def test_sixteen_rows_are_enough(tmp_path: Path) -> None:
    made = learning(tmp_path, float, rows=16, batch_size=32, steps=6, eval_every=1)
    made.go()
    assert made.feeds.updates_per_epoch == 1
    assert [line["epoch"] for line in made.run.log_lines() if line["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


# --- other processes --------------------------------------------------------------------------------------------------


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class OthersBusy:
    """Watched long enough, and so many of two processors busy."""

    busy: float
    seconds: float = 60.0
    processors: int = 2

    def in_the_way(self, _threads: int) -> float:
        return self.busy


@pytest.mark.parametrize(("busy", "seconds", "times"), [(1.0, 60.0, 1), (0.0, 60.0, 0), (1.0, 3.0, 0)])
def test_a_crowded_machine_is_told_once_and_an_idle_one_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float, seconds: float, times: int
) -> None:
    monkeypatch.setattr(crowding, "Neighbours", lambda: OthersBusy(busy, seconds))
    run, heard = learning(tmp_path / "run", lambda step: step), Listening()
    run.say, run.device = heard, replace(CPU, threads=2)
    run.go()
    told = [note for note in heard.notes if "processors busy" in note]
    assert len(told) == times
    assert all("1.0 of this machine's 2 processors" in note and "--threads 1" in note for note in told)
