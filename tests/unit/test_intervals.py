"""Bootstrap intervals: exact where known, covering as promised, and the same each time."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest

from pretune.errors import DataError
from pretune.evaluation.evaluate import evaluate_rows
from pretune.evaluation.intervals import MAX_UNITS, bootstrap, paired_bootstrap
from pretune.evaluation.leaks import overlap, require_held_out
from pretune.files import jsonable
from pretune.metrics.base import Measured, Metric, Record, ScoreSpec, Sums
from pretune.types import Score


def mean(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics are (1, value)."""
    with np.errstate(invalid="ignore"):
        return {"mean": sums[..., 1] / sums[..., 0]}


SPECS = {"mean": ScoreSpec(rising=True)}
LIMITED = {"mean": ScoreSpec(rising=True, limits=(0.0, 1.0))}


def sums_of(stats_N2: np.ndarray) -> Sums:
    return Sums(stats_N2, mean)


def rows_of(values: np.ndarray) -> Sums:
    values = np.asarray(values, dtype=np.float64)
    return sums_of(np.stack([np.ones_like(values), values], axis=1))


def width(score: Score) -> float:
    return score.interval.high - score.interval.low


def test_interval_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 3000)
    score = bootstrap(rows_of(values), SPECS, resamples=4000)["mean"]
    half = 1.96 * values.std() / np.sqrt(3000)
    assert score.value == pytest.approx(values.mean())
    assert score.interval.low == pytest.approx(values.mean() - half, abs=half * 0.1)
    assert score.interval.high == pytest.approx(values.mean() + half, abs=half * 0.1)
    assert score.n == 3000


@pytest.mark.slow
def test_coverage_of_an_accuracy_is_as_promised() -> None:
    """400 simulated test sets of 200 rows: a 95 % interval covers in 92 to 98 % of them."""
    random, hits = np.random.default_rng(1), 0
    for _ in range(400):
        score = bootstrap(rows_of(random.random(200) < 0.85), SPECS, resamples=500)["mean"]
        hits += score.interval.low <= 0.85 <= score.interval.high
    assert 0.92 <= hits / 400 <= 0.98


def test_same_seed_same_interval_other_seed_another() -> None:
    stats = rows_of(np.random.default_rng(2).random(100))
    assert bootstrap(stats, SPECS, seed=3) == bootstrap(stats, SPECS, seed=3)
    assert bootstrap(stats, SPECS, seed=3) != bootstrap(stats, SPECS, seed=4)


def test_many_rows_are_drawn_in_random_groups_with_the_same_width() -> None:
    right = np.random.default_rng(3).random(5 * MAX_UNITS) < 0.02
    score = bootstrap(rows_of(right), SPECS)["mean"]
    exact = 2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / len(right))
    assert width(score) == pytest.approx(exact, rel=0.08)
    assert score.value == pytest.approx(right.mean())


def test_rows_of_one_group_are_drawn_themselves() -> None:
    stats = rows_of(np.random.default_rng(0).integers(0, 2, 60))
    alone = np.full(60, "a speaker")
    by_row = bootstrap(stats, SPECS)
    assert bootstrap(stats, SPECS, groups_N=alone) == by_row
    assert width(by_row["mean"]) > 0.1
    other = sums_of(stats.stats_NK * [1, 0])
    assert paired_bootstrap(stats, other, SPECS, groups_N=alone) == paired_bootstrap(stats, other, SPECS)


def test_groups_that_are_alike_widen_the_interval() -> None:
    random = np.random.default_rng(4)
    group_of_row = np.repeat(np.arange(100), 25)
    stats = rows_of((random.random(100) < 0.7)[group_of_row])
    by_row, by_group = bootstrap(stats, SPECS)["mean"], bootstrap(stats, SPECS, groups_N=group_of_row)["mean"]
    assert width(by_group) == pytest.approx(5 * width(by_row), rel=0.15)
    names = np.array([f"patient {g}" for g in group_of_row])
    assert width(bootstrap(stats, SPECS, groups_N=names)["mean"]) == pytest.approx(width(by_group), rel=0.1)


@pytest.mark.parametrize("n", [1, 7, 300])
def test_all_right_and_all_wrong_are_not_certain(n: int) -> None:
    from scipy.stats import binomtest

    right = bootstrap(rows_of(np.ones(n)), LIMITED)["mean"]
    wrong = bootstrap(rows_of(np.zeros(n)), LIMITED)["mean"]
    reference = binomtest(n, n).proportion_ci(method="wilson")
    assert (right.interval.low, right.interval.high) == pytest.approx((reference.low, 1.0))
    assert (wrong.interval.low, wrong.interval.high) == pytest.approx((0.0, 1 - reference.low))
    assert width(bootstrap(rows_of(np.ones(n)), SPECS)["mean"]) == 0


def test_a_constant_inside_the_limits_stays_a_point() -> None:
    score = bootstrap(rows_of(np.full(50, 0.5)), LIMITED)["mean"]
    assert (score.interval.low, score.interval.high) == (0.5, 0.5)


def test_undefined_resamples_do_not_reach_the_interval() -> None:
    stats = sums_of(np.array([[1.0, 1.0], [0.0, 0.0]]))
    score = bootstrap(stats, SPECS)["mean"]
    assert (score.interval.low, score.interval.high) == (1.0, 1.0)


def test_no_rows_is_an_error_with_a_next_step() -> None:
    with pytest.raises(DataError, match="no labelled row"):
        bootstrap(sums_of(np.zeros((0, 2))), SPECS)


def test_paired_difference_is_narrower_than_two_intervals() -> None:
    random = np.random.default_rng(5)
    base = random.normal(size=800)
    stats_a, stats_b = rows_of(base), rows_of(base + 0.1 + 0.05 * random.normal(size=800))
    pair = paired_bootstrap(stats_a, stats_b, SPECS)["mean"]
    assert pair["difference"] == pytest.approx(0.1, abs=0.01)
    assert pair["low"] > 0.09
    assert pair["probability_a_better"] == 0
    assert pair["high"] - pair["low"] < width(bootstrap(stats_a, SPECS)["mean"]) / 5
    falling = paired_bootstrap(stats_a, stats_b, {"mean": ScoreSpec(rising=False)})["mean"]
    assert falling["probability_a_better"] == 1
    assert paired_bootstrap(stats_a, stats_a, SPECS)["mean"]["probability_a_better"] == 0.5


class MeanMetric(Metric):
    """The mean of a value a row."""

    answer = "value"
    primary = "mean"
    specs = LIMITED

    def measure(self, records: Iterable[Record]) -> Measured:
        return rows_of(np.array([record["value"] for record in records]))


MEAN = MeanMetric()


def test_evaluation_holds_scores_baselines_leaks_and_seeds() -> None:
    random = np.random.default_rng(6)
    right = [(random.random(400) < share).astype(float) for share in (0.9, 0.8, 0.85)]
    leaked_N = np.arange(400) < 40
    evaluation = evaluate_rows(
        [rows_of(one) for one in right],
        MEAN,
        task="a-task",
        split="test",
        seeds=[0, 1, 2],
        looks=3,
        blocks=[{"type": "matrix", "values": np.eye(2, dtype=int)}],
        baselines={"majority": rows_of(np.zeros(400))},
        leaked_N=leaked_N,
        notes=["A note."],
    )
    json.dumps(evaluation, allow_nan=False)
    assert evaluation["scores"]["mean"]["value"] == pytest.approx(right[0].mean())
    assert evaluation["seed_scores"]["mean"]["sd"] == pytest.approx(np.std([one.mean() for one in right], ddof=1))
    assert evaluation["seed_scores"]["mean"]["values"] == pytest.approx([one.mean() for one in right])
    assert evaluation["baselines"]["majority"]["mean"]["high"] > 0
    against = evaluation["against"]["majority"]
    assert (against["better"], against["n"]) == ("model", 360)
    assert against["difference"] == pytest.approx(right[0][40:].mean())
    assert 0 < against["low"] < against["difference"] < against["high"]
    assert evaluation["specs"]["mean"] == {"rising": True, "unit": "share", "title": ""}
    assert evaluation["leaks"]["n"] == 40
    assert evaluation["leaks"]["without"]["mean"]["value"] == pytest.approx(right[0][40:].mean())
    assert evaluation["leaks"]["without"]["mean"]["n"] == 360
    assert (evaluation["primary"], evaluation["higher_is_better"], evaluation["looks"]) == ("mean", True, 3)
    assert evaluation["notes"][0] == "A note."
    assert "40 of 400" in evaluation["notes"][1]


def test_evaluation_of_few_rows_says_so_and_without_leaks_has_none() -> None:
    evaluation = evaluate_rows(rows_of(np.ones(5)), MEAN, task="a-task", split="test", leaked_N=np.zeros(5, dtype=bool))
    assert evaluation["leaks"] is None
    assert "seed_scores" not in evaluation
    assert any("rough" in note for note in evaluation["notes"])
    assert evaluation["scores"]["mean"]["low"] < 0.6


def test_evaluation_of_one_group_says_what_its_intervals_are() -> None:
    rows = rows_of(np.arange(60) % 2)
    alone = evaluate_rows(rows, MEAN, task="a-task", split="test", groups_N=np.full(60, "a speaker"))
    assert "All rows are of one group" in " ".join(alone["notes"])
    several = evaluate_rows(rows, MEAN, task="a-task", split="test", groups_N=np.arange(60) // 2)
    assert "drawing 30 groups" in " ".join(several["notes"])


def test_all_rows_leaked_leave_no_score_without_them() -> None:
    evaluation = evaluate_rows(rows_of(np.ones(5)), MEAN, task="a-task", split="test", leaked_N=np.ones(5, dtype=bool))
    assert evaluation["leaks"] == {"n": 5, "without": {}}


def test_jsonable_has_no_nan() -> None:
    value = {"a": np.float64("nan"), "b": np.array([1.0, np.inf]), 3: (np.int64(4), "x", True)}
    assert jsonable(value) == {"a": None, "b": [1.0, None], "3": [4, "x", True]}


def test_overlap_finds_training_rows_and_refuses_a_training_set() -> None:
    train = np.sort(np.array([5, 2**64 - 1, 7], dtype=np.uint64))
    leaked_N = overlap(train, np.array([2**64 - 1, 6, 5, 8], dtype=np.uint64))
    assert leaked_N.tolist() == [True, False, True, False]
    assert not overlap(np.array([], dtype=np.uint64), train).any()
    require_held_out(leaked_N, "test")
    with pytest.raises(DataError, match="3 of the 3 rows of the file"):
        require_held_out(overlap(train, train), "the file")
