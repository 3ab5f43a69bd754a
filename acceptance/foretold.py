"""``python -m acceptance.foretold STUDY ...``: how often what the laws of studies foretold came true, of scores and of numbers of labels."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pretune.study.laws import laws_of, smaller_half

_ENDS_APART = 3.92
"""Ends of a 95 % interval of a normal distribution, in standard deviations."""


def main() -> None:
    """Print the shares of scores and of label counts inside their intervals, and by how much the medians missed."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.foretold", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY", help="folder of pretune study")
    found = [json.loads((folder / "study.json").read_text(encoding="utf-8")) for folder in parser.parse_args().studies]
    scores = [one for study in found for law in study["laws"] for one in law["of_half"]]
    labels = [one for study in found for arm in study["arms"] for one in _labels(study, arm["name"])]
    told = {
        "cases": len(scores),
        "inside": np.mean([one["inside"] for one in scores]),
        "width": np.median([one["high"] - one["low"] for one in scores]),
        "missed": np.median([abs(one["value"] - one["reached"]) for one in scores]),
        "labels_inside": np.mean([inside for _, inside in labels]),
        "labels_missed": np.median([missed for missed, _ in labels]),
    }
    sys.stdout.write(json.dumps({name: float(value) for name, value in told.items()}) + "\n")


def _labels(study: dict[str, Any], arm: str) -> list[tuple[float, bool]]:
    """For each number of labels in the larger half: by what share the laws of the smaller half miss how many labels its score takes, and whether
    it lies inside their interval. Scores are shares of which 1 is the best.
    """
    points = [one for one in study["points"] if one["arm"] == arm]
    half = smaller_half(len(points))
    errors_B = np.array([1 - one["value"] for one in points])
    noise_B = np.array([(one["high"] - one["low"]) / _ENDS_APART for one in points])
    budgets = [one["labels"] for one in points]
    laws = laws_of(budgets[:half], errors_B[:half], noise_B[:half])
    told = [(budget, laws.labels_for(error)) for budget, error in zip(budgets[half:], errors_B[half:], strict=True)]
    return [(abs(one.value / budget - 1), one.low <= budget <= one.high) for budget, one in told]


if __name__ == "__main__":
    main()
