"""What every metric promises (:mod:`pretune.metrics.base`), asked of records; and simulations of its intervals and verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pretune.evaluation.compare import compare_records
from pretune.evaluation.intervals import bootstrap
from pretune.metrics.base import Measured, Metric, Record, values_of

Records = Sequence[Record]


def assert_scores(found: dict[str, Any], expected: dict[str, Any], places: float = 1e-10) -> None:
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=places, atol=places, err_msg=name)


def holds_its_promises(metric: Metric, records: Records, *, seed: int = 0, places: float = 1e-10) -> None:
    """Weights are counts of rows: measuring a resample, taking rows and drawing units all say the same."""
    records = json.loads(json.dumps(list(records), allow_nan=False))
    rng, n = np.random.default_rng(seed), len(records)
    measured = metric.measure(iter(records))
    assert measured.num_rows == n
    values = values_of(measured)
    assert set(values) == set(metric.specs)
    assert metric.primary in metric.specs
    assert metric.tie_breaker is None or metric.tie_breaker in metric.specs
    for name, spec in metric.specs.items():
        low, high = sorted(spec.limits or (-np.inf, np.inf))
        assert np.isnan(values[name]) or spec.unit == "rate" or low - 1e-12 <= values[name] <= high + 1e-12, name

    draws = np.sort(rng.integers(0, n, (6, n)), axis=1)
    weights = np.stack([np.bincount(rows, minlength=n) for rows in draws]).astype(float)
    drawn = measured.scores(weights)
    for at, rows in enumerate(draws):
        of_resample = values_of(metric.measure([records[row] for row in rows]))
        assert_scores({name: drawn[name][at] for name in drawn}, of_resample, places)
    assert_scores(values_of(measured.take(draws[0])), {name: drawn[name][0] for name in drawn}, places)
    _takes_masks_and_units(measured, rng, places)
    _says_which_rows_are_right(metric, measured, values)
    assert metric.measure([]).num_rows == 0
    metric.measure([]).scores()


def _takes_masks_and_units(measured: Measured, rng: np.random.Generator, places: float) -> None:
    n = measured.num_rows
    mask = rng.random(n) < 0.6
    assert_scores(values_of(measured.take(mask)), one(measured.scores(mask[None].astype(float))), places)
    units = max(n // 3, 1)
    unit = rng.integers(0, units, n)
    weights = rng.multinomial(units, np.full(units, 1 / units), size=3).astype(float)
    united = measured.in_units(unit, units)
    assert united.num_rows == units
    assert_scores(united.scores(weights), measured.scores(weights[:, unit]), places)
    some = rng.integers(0, units, units)
    counts = np.bincount(some, minlength=units).astype(float)
    assert_scores(values_of(united.take(some)), one(united.scores(counts[None])), places)


def one(scores: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value[0]) for name, value in scores.items()}


def _says_which_rows_are_right(metric: Metric, measured: Measured, values: dict[str, float]) -> None:
    for name, spec in metric.specs.items():
        if spec.of_right_rows:
            assert measured.right_N is not None
            np.testing.assert_allclose(measured.right_N.mean(), values[name])


def coverage(
    metric: Metric, draw: Callable[[np.random.Generator], Records], truth: float, name: str, times: int
) -> float:
    """The share of simulated test sets whose 95 % interval of the score holds its true value."""
    rng, hits = np.random.default_rng(11), 0
    for _ in range(times):
        score = bootstrap(metric.measure(draw(rng)), metric.specs, resamples=400)[name]
        hits += score.interval.low <= truth <= score.interval.high
    return hits / times


def shares_better(
    metric: Metric, pair: Callable[[np.random.Generator], tuple[Records, Records]], times: int
) -> dict[str, float]:
    """How often ``compare`` calls A better, B better or neither, over simulated pairs of models.

    Of 500 pairs of equal models 25 ± 5 are expected to be called different.
    """
    rng = np.random.default_rng(12)
    verdicts = [compare_records(*pair(rng), metric, resamples=400)["better"] for _ in range(times)]
    return {name: verdicts.count(key) / times for name, key in (("a", "a"), ("b", "b"), ("neither", None))}
