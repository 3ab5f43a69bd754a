"""Studies: arms and budgets as they are typed, curves, labels saved, the fitted law, and the sentences that follow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretune.errors import UsageError
from pretune.metrics.base import ScoreSpec
from pretune.study.curves import Curves, labels_for
from pretune.study.laws import laws_of
from pretune.study.plan import arms_of, budgets_of, cells_of, plan_of
from pretune.study.study import StudySettings
from pretune.study.verdict import sentences

BUDGETS = (10, 30, 100, 300, 1000)
ACCURACY = ScoreSpec(rising=True, limits=(0.0, 1.0))


def test_arms_have_names_models_and_options_of_their_own() -> None:
    arms = arms_of(["scratch:bert-mini", "head=models/x,adapt=head,learning-rate=1e-3", "models/x/"])
    assert [(arm.name, arm.backbone) for arm in arms] == [
        ("scratch-bert-mini", "scratch:bert-mini"), ("head", "models/x"), ("x", "models/x/"),
    ]  # fmt: skip
    assert arms[1].options["adapt"] == "head"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a"], "but one"),
        (["a", "a"], "two arms are called a"),
        (["a", "b,adapt"], "no option"),
        (["a", "=b"], "no arm"),
        (["a", "b="], "no arm"),
    ],
)
def test_words_that_are_no_arms(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        arms_of(words)


def test_budgets() -> None:
    assert budgets_of("30,all,10", 500) == [10, 30, None]
    assert budgets_of("10,500", 500) == [10, None]
    assert budgets_of("auto", 500) == [10, 30, 100, None]
    assert budgets_of("auto", 45_000) == [300, 1_000, 3_000, 10_000, None]
    for wrong in ("1", "600", "ten", "10,10", "", "-5"):
        with pytest.raises(UsageError, match="--budgets"):
            budgets_of(wrong, 500)


def test_words_of_an_arm_are_what_the_option_takes() -> None:
    """10 is a number to YAML, and a text to --save-every."""
    cells = cells_of(arms_of(["a,learning-rate=2e-5", "b"]), [None], [0])
    plan = plan_of(StudySettings(data="news.csv"), cells, Path("out"), ["save-every=10"], "test")
    assert plan.steps[0].settings.to_dict()["save_every"] == "10"
    assert plan.steps[0].settings.to_dict()["learning_rate"] == 2e-5


def test_cheap_runs_come_first_with_arms_side_by_side() -> None:
    names = [cell.name for cell in cells_of(arms_of(["a", "b"]), [10, None], [0, 1])]
    assert names == ["a-10-0", "b-10-0", "a-10-1", "b-10-1", "a-all-0", "b-all-0", "a-all-1", "b-all-1"]


def test_labels_for_a_score_lie_on_the_line_over_the_logarithm() -> None:
    curve = np.array([0.5, 0.7, 0.9])
    assert labels_for(0.8, (10, 100, 1000), curve, rising=True) == pytest.approx(math.sqrt(100 * 1000))
    assert labels_for(0.5, (10, 100, 1000), curve, rising=True) == 0.0
    assert labels_for(0.91, (10, 100, 1000), curve, rising=True) == math.inf
    dip = np.array([0.5, 0.4, 0.9])
    assert labels_for(0.45, (10, 100, 1000), dip, rising=True) == 0.0
    errors = 1 - curve
    assert labels_for(0.2, (10, 100, 1000), errors, rising=False) == pytest.approx(math.sqrt(100 * 1000))


@pytest.mark.parametrize(("scale", "exponent", "floor"), [(2.0, 0.4, 0.05), (0.9, 0.1, 0.0), (5.0, 0.8, 0.2)])
def test_the_likeliest_law_fits(scale: float, exponent: float, floor: float) -> None:
    budgets = np.array(BUDGETS, dtype=float)
    errors = scale * budgets**-exponent + floor
    found = laws_of(BUDGETS, errors, 0.001 * errors).likeliest()
    assert found[0] * budgets ** -found[1] + found[2] == pytest.approx(errors, rel=0.04)


def test_what_laws_foretell_holds_in_95_of_100_curves() -> None:
    """Curves of drawn laws with noise, seen up to 100 labels and asked of ten and a hundred times as many."""
    inside = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        exponent, floor = 0.3 * np.exp(0.5 * rng.standard_normal()), rng.uniform(0, 0.3)
        law = (1 - floor) * (np.array([10, 20, 50, 100, 1_000, 10_000]) / 10.0) ** -exponent + floor
        errors = 0.5 * law * (1 + 0.04 * rng.standard_normal(6))
        laws = laws_of((10, 20, 50, 100), errors[:4], 0.03 * errors[:4])
        for labels, reached in ((1_000, errors[4]), (10_000, errors[5])):
            told = laws.error_at(labels)
            assert told.low < told.value < told.high
            inside.append(told.low <= reached <= told.high)
    assert np.mean(inside) >= 0.9


def test_labels_for_an_error_below_the_floor_are_never_enough() -> None:
    errors = np.array([0.5, 0.35, 0.32, 0.31, 0.31])
    laws = laws_of(BUDGETS, errors, 0.002 * errors)
    assert laws.labels_for(0.1).value == math.inf
    told = laws.labels_for(0.34)
    assert 30 < told.low <= told.value <= told.high < 300


def made(
    gain: float, *, noise: float = 0.01, seeds: int = 3, seed: int = 0, spec: ScoreSpec = ACCURACY
) -> dict[str, Any]:
    """What a study finds where the second arm's error is ``1 - gain`` of the first's."""
    rng = np.random.default_rng(seed)
    errors = 2 * np.array(BUDGETS, dtype=float) ** -0.4 + 0.05
    truth = np.stack([1 - errors, 1 - errors * (1 - gain)])
    values = truth[:, :, None] + rng.normal(0, noise, (2, len(BUDGETS), seeds))
    drawn = values[..., None] + rng.normal(0, noise, (2, len(BUDGETS), seeds, 100))
    curves = Curves(("plain", "pretrained"), BUDGETS, spec, values, drawn, 400, target=0.87).to_dict()
    arms = [{"name": "plain"}, {"name": "pretrained"}]
    return {
        "metric": "accuracy", "rising": True, "n": 400, "split": "test", "seeds": seeds, "arms": arms, "simple": [], **curves,
    }  # fmt: skip


def test_labels_saved_hold_the_truth() -> None:
    found = made(0.3)
    for one in found["labels_saved"][:3]:
        wanted = 0.7 * (2 * one["labels"] ** -0.4 + 0.05)
        truth = (2 / (wanted - 0.05)) ** 2.5
        assert one["needed_low"] < 1.25 * truth
        assert one["needed_high"] is None or one["needed_high"] > 0.8 * truth
    last = found["labels_saved"][-1]
    assert last["beyond"], "the first arm was never seen as good as that"
    assert last["needed"] is None


def test_sentences_say_which_is_better_and_what_it_saves() -> None:
    told = "\n".join(sentences(made(0.3)))
    assert "pretrained is better than plain with 10, 30, 100, 300 and 1,000 labels" in told
    assert "labels saved" in told
    assert "more labels" in told
    assert "plain: 2.0 points more would take about" in told
    assert "; 87.00 % would take about" in told
    nothing = "\n".join(sentences(made(0.0, noise=0.02)))
    assert "No difference between pretrained and plain was shown" in nothing
    assert "saved" not in nothing
    worse = "\n".join(sentences(made(-0.3)))
    assert "plain is better than pretrained" in worse


def test_labels_for_a_target_hold_the_truth() -> None:
    """The second arm's error is 0.7 * (2 n ** -0.4 + 0.05): 0.13 with 960 labels."""
    law = made(0.3)["laws"][1]
    truth = (2 / (0.13 / 0.7 - 0.05)) ** 2.5
    assert law["target_low"] < truth < law["target_high"]
    assert law["target_labels"] == pytest.approx(truth, rel=0.25)


def test_no_score_is_foretold_beyond_the_best() -> None:
    """Few errors with much noise: the interval reached 103.8 % of right answers."""
    values = np.broadcast_to(np.array([0.97, 0.985, 0.985, 0.99, 1.0])[None, :, None], (1, 5, 3))
    drawn = values[..., None] + np.random.default_rng(0).normal(0, 0.02, (1, 5, 3, 100))
    last = Curves(("one",), BUDGETS, ACCURACY, values, drawn, 23).to_dict()["laws"][0]["last"]
    assert last["low"] <= last["value"] <= last["high"] <= 1.0
    assert last["inside"]


def test_equal_arms_are_rarely_told_apart() -> None:
    """Twenty studies of equal arms with five numbers of labels each: about one in twenty intervals leaves out zero."""
    told = [
        one["better"]
        for seed in range(20)
        for one in made(0.0, seed=seed, seeds=5, spec=ScoreSpec(rising=True))["differences"]
    ]
    assert sum(better is not None for better in told) <= 0.2 * len(told)


def test_one_seed_says_so_and_a_simple_method_is_named_where_it_wins() -> None:
    found = {**made(0.3, seeds=1), "simple": [{"labels": 10, "method": "tfidf-logistic", "value": 0.99}]}
    told = "\n".join(sentences(found))
    assert "1 seed: another draw of labels may say otherwise" in told
    assert "does better than every arm: 99.00 % with 10 labels" in told
