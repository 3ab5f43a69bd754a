"""What a report shows of numbers: answers beside truths, errors by the size of the truth, the rows that are furthest off.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pretune.tasks.blocks.classification import Rows
from pretune.wording import figure

__all__ = ["drawn_points", "regression_blocks"]

MAX_POINTS, MAX_WORST, PARTS = 2_000, 20, 5


def regression_blocks(
    truth_N: np.ndarray, answer_N: np.ndarray, rows: Rows, *, shown: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """``rows[i]`` is row i, read only where ``shown`` makes of it what the page shows."""
    return [_points(truth_N, answer_N), _by_size(truth_N, answer_N), _worst(truth_N, answer_N, rows, shown)]


def _points(truth_N: np.ndarray, answer_N: np.ndarray) -> dict[str, Any]:
    note = "On the line the answer is right; above it the model says too much, below it too little."
    named = {"title": "Answers beside truths", "x_title": "truth", "y_title": "answer", "diagonal": True}
    return drawn_points(truth_N, answer_N, note, **named)


def drawn_points(x_N: np.ndarray, y_N: np.ndarray, note: str, **named: str | bool) -> dict[str, Any]:
    """A block of points with these titles; of many rows some, chosen at random, and the note says so."""
    chosen = np.arange(len(x_N))
    if len(chosen) > MAX_POINTS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(x_N))[:MAX_POINTS])
        note += f" {MAX_POINTS:,} of {len(x_N):,} rows are drawn, chosen at random."
    return {"type": "points", **named, "note": note, "x": x_N[chosen].tolist(), "y": y_N[chosen].tolist()}


def _by_size(truth_N: np.ndarray, answer_N: np.ndarray) -> dict[str, Any]:
    """A row a part of the rows with about as many each, from the smallest truths to the largest."""
    edges = np.unique(np.quantile(truth_N, np.linspace(0, 1, PARTS + 1))) if len(truth_N) else np.zeros(0)
    part_N = np.clip(np.searchsorted(edges, truth_N, side="right") - 1, 0, max(0, len(edges) - 2))
    cells = []
    for part in np.unique(part_N).tolist():
        own = part_N == part
        error = answer_N[own] - truth_N[own]
        span = f"{figure(truth_N[own].min(), 4)} to {figure(truth_N[own].max(), 4)}"
        figures = (error.mean(), np.abs(error).mean(), np.sqrt(np.square(error).mean()))
        cells.append([span, int(own.sum()), *map(float, figures)])
    columns = [
        {"name": name, "kind": kind}
        for name, kind in (
            ("truth", "text"), ("rows", "number"), ("mean error", "number"), ("mean absolute error", "number"),
            ("root mean squared error", "number"),
        )
    ]  # fmt: skip
    note = "A mean error above 0 says that the model answers too much there."
    return {
        "type": "table",
        "title": "Errors by the size of the truth",
        "note": note,
        "columns": columns,
        "rows": cells,
    }


def _worst(
    truth_N: np.ndarray, answer_N: np.ndarray, rows: Rows, shown: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    order = np.argsort(-np.abs(answer_N - truth_N), kind="stable")[:MAX_WORST].tolist()
    found = [
        {**shown(rows[i]), "truth": figure(float(truth_N[i])), "predicted": figure(float(answer_N[i]), 4)}
        for i in order
    ]  # fmt: skip
    note = f"The {len(found)} of {len(truth_N)} rows whose answers are furthest from the truth."
    return {"type": "examples", "title": "Worst rows", "note": note, "rows": found}
