"""Scores of numbers against SciPy and scikit-learn, on resamples too; what is not defined; verdicts by simulation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from tests.unit.metric_promises import coverage, holds_its_promises, shares_better

from pretune.errors import DataError
from pretune.evaluation.compare import compare_records
from pretune.evaluation.evaluate import evaluate_rows
from pretune.evaluation.intervals import bootstrap
from pretune.metrics.base import Measured, Metric, Record, values_of
from pretune.metrics.regression import RegressionMetric, centred_ranks

METRIC = RegressionMetric()


def records_of(truth: np.ndarray, answer: np.ndarray) -> list[dict]:
    return [
        {"id": str(at), "truth": float(x), "value": float(y)}
        for at, (x, y) in enumerate(zip(truth, answer, strict=True))
    ]


def drawn(rng: np.random.Generator, n: int = 60, *, ties: bool = False, far: float = 0.0) -> list[dict]:
    truth = rng.normal(size=n)
    answer = truth + rng.normal(size=n)
    if ties:
        truth, answer = np.round(truth), np.round(answer)
    return records_of(truth + far, answer + far)


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_scipy_and_scikit_learn(seed: int) -> None:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(seed)
    records = drawn(rng, ties=seed % 2 == 0, far=(0.0, 1e3, -1e6)[seed % 3])
    measured = METRIC.measure(records)
    rows = rng.integers(0, 60, (4, 60))
    found = measured.scores(np.stack([np.bincount(one, minlength=60) for one in rows]).astype(float))
    truth, answer = (np.array([record[key] for record in records]) for key in ("truth", "value"))
    for at, one in enumerate(rows):
        x, y = truth[one], answer[one]
        assert found["spearman"][at] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
        assert found["pearson"][at] == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)
        assert found["mae"][at] == pytest.approx(mean_absolute_error(x, y))
        assert found["rmse"][at] == pytest.approx(root_mean_squared_error(x, y))
        assert found["r2"][at] == pytest.approx(r2_score(x, y), abs=1e-8)


def test_ranks_of_rows_that_count_often_are_those_of_the_longer_list() -> None:
    from scipy.stats import rankdata

    values, weights = np.array([3.0, 1.0, 3.0, 2.0]), np.array([[2.0, 0, 1, 3], [1, 1, 1, 1]])
    found = centred_ranks(values, weights)
    longer = rankdata(np.repeat(values, [2, 0, 1, 3]))
    assert found[0][[0, 2, 3]].tolist() == pytest.approx([longer[0] - 3.5, longer[2] - 3.5, longer[3] - 3.5])
    assert found[1].tolist() == pytest.approx((rankdata(values) - 2.5).tolist())


@pytest.mark.parametrize("ties", [False, True])
def test_promises(ties: bool) -> None:
    holds_its_promises(METRIC, drawn(np.random.default_rng(3), 25, ties=ties))


def test_equal_truths_leave_correlations_undefined_and_equal_answers_make_them_none() -> None:
    varied, same = np.arange(30.0) % 7, np.full(30, 0.1)
    constant_answer = values_of(METRIC.measure(records_of(varied, same)))
    assert (constant_answer["pearson"], constant_answer["spearman"]) == (0.0, 0.0)
    constant_truth = METRIC.measure(records_of(same, varied))
    assert np.isnan([values_of(constant_truth)[name] for name in ("pearson", "spearman", "r2")]).all()
    assert values_of(constant_truth)["mae"] == pytest.approx(np.abs(varied - 0.1).mean())
    evaluation = evaluate_rows(constant_truth, METRIC, task="a-task", split="test", baselines={"same": constant_truth})
    assert evaluation["scores"]["pearson"] == {"value": None, "low": None, "high": None, "n": 30}
    assert evaluation["against"]["same"]["better"] is None


def test_a_resample_of_equal_truths_is_left_out() -> None:
    truth = np.array([0.0, 0.0, 0.0, 1.0])
    measured = METRIC.measure(records_of(truth, np.array([0.0, 0.2, 0.1, 1.0])))
    weights = np.array([[2.0, 1, 1, 0], [1, 1, 1, 1]])
    assert np.isnan(measured.scores(weights)["spearman"]).tolist() == [True, False]
    score = bootstrap(measured, METRIC.specs, resamples=300)["spearman"]
    assert np.isfinite([score.value, score.interval.low, score.interval.high]).all()
    assert score.interval.low <= score.value < score.interval.high


def test_a_verdict_where_the_score_is_not_defined_says_so() -> None:
    same = np.ones(20)
    found = compare_records(records_of(same, np.arange(20.0)), records_of(same, -np.arange(20.0)), METRIC)
    assert found["better"] is None
    assert found["verdict"] == "no difference was shown: Pearson correlation is not defined on these 20 rows"
    assert found["primary"]["difference"] is None
    assert found["scores"]["pearson"]["probability_a_better"] == 0.5


def test_a_model_is_better_than_one_that_gives_the_mean() -> None:
    rng = np.random.default_rng(0)
    records = drawn(rng, 80)
    mean = [{**record, "value": 0.5} for record in records]
    found = compare_records(mean, records, METRIC, names=("mean", "model"))
    assert found["better"] == "b"
    assert found["primary"]["a"]["value"] == 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"truth": "3"}, "row 7 has the truth '3'"), ({"truth": float("nan")}, "row 7"), ({"truth": True}, "row 7"),
     ({"value": None}, "row 7 is answered by None"), ({"value": float("inf")}, "row 7 is answered by inf")],
)  # fmt: skip
def test_what_is_no_number_is_refused(change: dict, said: str) -> None:
    records = drawn(np.random.default_rng(1))
    with pytest.raises(DataError, match=said) as caught:
        METRIC.measure([{**record, **change} if record["id"] == "7" else record for record in records])
    assert "number" in str(caught.value)


def test_memory_is_bounded_where_rows_are_many_and_units_few() -> None:
    """A slice of 400 sets of weights of 100,000 rows would take 320 MB at once."""
    import tracemalloc

    rng = np.random.default_rng(5)
    measured = METRIC.measure(drawn(rng, 100_000)).parts[1].in_units(rng.integers(0, 50, 100_000), 50)
    weights = rng.multinomial(50, np.full(50, 1 / 50), size=40).astype(float)
    tracemalloc.start()
    measured.scores(weights)
    assert tracemalloc.get_traced_memory()[1] < 60 * 2**20
    tracemalloc.stop()


RHO = 0.6


def correlated(rng: np.random.Generator, truth: np.ndarray, rho: float) -> np.ndarray:
    return rho * truth + np.sqrt(1 - rho**2) * rng.normal(size=len(truth))


class BySpearman(Metric):
    """The same scores, the better one told by Spearman's."""

    answer = "value"
    primary = "spearman"
    specs = RegressionMetric.specs

    def measure(self, records: Iterable[Record]) -> Measured:
        return METRIC.measure(records)


@pytest.mark.slow
def test_intervals_of_spearman_cover_as_promised() -> None:
    """Of two normal variables Spearman's is 6 / pi times the arcsine of half of Pearson's."""

    def draw(rng: np.random.Generator) -> list[dict]:
        truth = rng.normal(size=150)
        return records_of(truth, correlated(rng, truth, RHO))

    true = 6 / np.pi * np.arcsin(RHO / 2)
    assert 0.92 <= coverage(METRIC, draw, true, "spearman", 400) <= 0.98


@pytest.mark.slow
def test_verdicts_by_spearman_keep_their_promise() -> None:
    def pair(rng: np.random.Generator, rho: float) -> tuple[list[dict], list[dict]]:
        truth = rng.normal(size=150)
        return records_of(truth, correlated(rng, truth, RHO)), records_of(truth, correlated(rng, truth, rho))

    equal = shares_better(BySpearman(), lambda rng: pair(rng, RHO), 200)
    assert equal["a"] + equal["b"] <= 0.07
    other = shares_better(BySpearman(), lambda rng: pair(rng, 0.78), 60)
    assert other["b"] >= 0.8
    assert other["a"] == 0
