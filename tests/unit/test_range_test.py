"""The range test: what it advises, that nothing is left of it, and a run that learns at its advice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from test_learning import learning, rates_of, stop_at

from pretune import finetune
from pretune.engine.parallel import Cluster
from pretune.engine.range_test import HIGHEST, LOWEST, UPDATES, RangeTest, range_test
from pretune.errors import Interrupted, UsageError
from tiny import CPU, Rig, largest_difference, weights_of


def tried(rig: Rig) -> RangeTest:
    return range_test(rig.model, rig.feeds, rig.objective, rig.optim, device=CPU, cluster=Cluster(), seed=0)


def test_rates_grow_by_one_factor_and_the_loss_falls_and_rises() -> None:
    found = tried(Rig(steps=5, rows=64))
    factors = [later / earlier for earlier, later in zip(found.rates, found.rates[1:], strict=False)]
    assert factors == pytest.approx([factors[0]] * len(factors), rel=1e-6)
    assert LOWEST < found.rates[0] < found.rates[-1] <= HIGHEST
    assert len(found.rates) == len(found.losses) <= UPDATES
    least = found.rates[found.losses.index(min(found.losses))]
    assert min(found.losses) < found.losses[0]
    assert found.losses[-1] > min(found.losses), "a rate of one is too large for any model"
    assert found.advice == pytest.approx(least / 10, rel=0.05)
    assert 1e-5 < (found.advice or 0) < 0.1


def test_nothing_is_left_of_it() -> None:
    rig, plain = Rig(steps=5, rows=64, dropout=0.1), Rig(steps=5, rows=64, dropout=0.1)
    before = weights_of(rig.model)
    tried(rig)
    assert largest_difference(weights_of(rig.model), before) == 0.0
    assert rig.feeds.updates == 0
    assert not rig.optim.tensors()
    assert [step.loss for step in rig.train()] == [step.loss for step in plain.train()]


def test_a_loss_that_never_fell_advises_nothing() -> None:
    assert RangeTest((1e-7, 1e-6), (1.0, 2.0)).advice is None
    assert RangeTest((), ()).advice is None, "refused at once"
    assert RangeTest((1e-4, 1.234e-3, 1.0), (1.0, 0.5, 2.0)).advice == 1.2e-4


def test_a_run_learns_at_the_advice_and_goes_on_with_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"eval_every": 1, "warmup": 0.0, "schedule": "constant", "rows": 64}
    straight = learning(tmp_path / "straight", float, **options)
    straight.finds_rate = True
    straight.go()
    found = straight.run.record["training"]
    assert found["range_test"]["advice"] == found["learning_rate"] != 1e-3
    assert rates_of(straight.run) == pytest.approx([found["learning_rate"]] * 12)
    cut = learning(tmp_path / "cut", stop_at(7, signal.SIGTERM), **options)
    cut.finds_rate = True
    with pytest.raises(Interrupted):
        cut.go()
    again = learning(tmp_path / "cut", float, **options)
    again.finds_rate = True
    again.resume()
    again.go()
    assert rates_of(again.run) == rates_of(straight.run)
    assert largest_difference(weights_of(again.model), weights_of(straight.model)) == 0.0
    assert torch.isfinite(next(iter(weights_of(again.model).values()))).all()


def test_a_rate_that_is_given_is_not_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--find-learning-rate"):
        finetune("scratch:bert-tiny", data=[{"text": f"{word} of number {n}", "label": word} for n in range(20) for word in ("apples", "berries")],
                 find_learning_rate=True, learning_rate=1e-3, out=str(tmp_path / "run"))  # fmt: skip
