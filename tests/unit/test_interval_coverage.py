"""Do intervals of scores that are no sums cover what they promise? Simulated test sets of pictures with boxes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from pretune.evaluation.intervals import bootstrap
from pretune.metrics.base import values_of
from pretune.metrics.places.detection import DetectionMetric

NAMES = ("disc", "square")
PICTURES, SETS, RESAMPLES = 72, 100, 200


def _picture(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """True boxes far from each other, a share of them found that is the picture's own, loosely or well placed, and false alarms."""
    skill = rng.beta(8, 3)
    truth, found = [], []
    for place in range(int(rng.poisson(4)) + 1):
        label, left = NAMES[int(rng.integers(2))], 100.0 * place
        truth.append({"label": label, "box": [left, 0.0, left + 40, 40.0]})
        if rng.random() < skill:
            shift = rng.exponential(3.0)
            score = float(np.clip(rng.normal(0.7, 0.2), 0.02, 0.99))
            found.append({"label": label, "box": [left + shift, 0.0, left + 40 + shift, 40.0], "score": score})
    for place in range(int(rng.poisson(1))):
        score = float(np.clip(rng.normal(0.4, 0.2), 0.02, 0.99))
        box = [100.0 * place, 200.0, 100.0 * place + 40, 240.0]
        found.append({"label": NAMES[int(rng.integers(2))], "box": box, "score": score})
    return {"id": str(number), "truth": truth, "boxes": found}


@pytest.mark.slow
def test_intervals_of_average_precision_cover() -> None:
    """100 test sets of 72 pictures: the 95 % interval covers what 6,000 pictures have in 92 to 98 % of them; that of AP50:95 is a little too
    narrow for so few pictures (180 of 200, measured once).
    """
    metric, rng = DetectionMetric(), np.random.default_rng(5)
    truths = values_of(metric.measure([_picture(n, rng) for n in range(6000)]))
    least, hits = {"ap50": 0.92, "ap50_95": 0.87}, Counter[str]()
    for number in range(SETS):
        measured = metric.measure([_picture(n, rng) for n in range(PICTURES)])
        scores = bootstrap(measured, metric.specs, resamples=RESAMPLES, seed=number)
        for name in least:
            interval = scores[name].interval
            hits[name] += interval.low <= truths[name] <= interval.high
    for name, share in least.items():
        assert share <= hits[name] / SETS <= 0.98, f"{name}: {hits[name]} of {SETS} around {truths[name]:.3f}"
