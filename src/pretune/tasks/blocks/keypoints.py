"""What a report shows of points: scores of each with intervals, pictures with truth and answer.

Shapes: N rows, J points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.metrics.base import quotient, values_of
from pretune.metrics.places.keypoints import by_point, point_statistics
from pretune.tasks.blocks.classification import Rows
from pretune.tasks.shown.points import both_poses

__all__ = ["keypoint_blocks"]

_MOST_WORST, _MOST_BEST, _MOST_RANDOM = 6, 6, 6
_RESAMPLES = 500


def keypoint_blocks(records: Sequence[Mapping[str, Any]], rows: Rows, names: Sequence[str]) -> list[dict[str, Any]]:
    """``rows[i]`` is row i, read only where it is shown."""
    stats_NJK = point_statistics(records, names)
    return [_points(names, stats_NJK), *_pictures(records, rows, names, stats_NJK)]


def _points(names: Sequence[str], stats_NJK: np.ndarray) -> dict[str, Any]:
    rng, num = np.random.default_rng(0), len(stats_NJK)
    weights_RN = rng.multinomial(num, np.full(num, 1 / num), _RESAMPLES).astype(np.float64)
    cells = []
    for name, one in zip(names, by_point(stats_NJK), strict=True):
        scores = values_of(one)
        drawn = one.scores(weights_RN)["pck"]
        drawn = drawn[~np.isnan(drawn)]
        low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
        away = scores["distance_px"]
        cells.append(
            [name, int(one.stats_NK[:, -1].sum()), _percent(scores["pck"]), f"{_percent(low)} to {_percent(high)}",
             _percent(scores["pck_strict"]), "–" if np.isnan(away) else f"{away:.1f}"]
        )  # fmt: skip
    columns = [
        {"name": name, "kind": "text" if name == "point" else "number"}
        for name in ("point", "scored", "PCK@0.2", "95 %", "PCK@0.1", "mean distance, px")
    ]
    note = (
        "PCK@0.2: answers within 0.2 of the distance from a shoulder to the opposite hip (where there is none: of the larger side of the box "
        "around the points). Intervals come from drawing pictures."
    )
    return {"type": "table", "title": "Each point", "note": note, "columns": columns, "rows": cells}


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} %"


def _pictures(
    records: Sequence[Mapping[str, Any]], rows: Rows, names: Sequence[str], stats_NJK: np.ndarray
) -> list[dict[str, Any]]:
    """The worst, the best and some at random, by mean distance."""
    sums_NK = stats_NJK.sum(axis=1)
    away_N = quotient(sums_NK[:, 2], sums_NK[:, -1])
    known = np.flatnonzero(~np.isnan(away_N))
    ordered = known[np.argsort(-away_N[known], kind="stable")].tolist()
    worst = ordered[:_MOST_WORST]
    best = [i for i in reversed(ordered) if i not in worst][:_MOST_BEST]
    rest = [i for i in ordered if i not in (*worst, *best)]
    some = sorted(np.random.default_rng(0).permutation(rest)[:_MOST_RANDOM].tolist())
    note = "Left the truth, right the answer. Orange: left side; blue: right side; white: neither. Pale points of an answer are unsure."
    blocks = []
    for title, chosen in (("Worst pictures", worst), ("Best pictures", best), ("Pictures at random", some)):
        shown = [
            {
                "image": both_poses(rows[i]["image"], records[i]["truth"], records[i]["keypoints"], names),
                "caption": f"{records[i]['id']}: {int(sums_NK[i, 0])} of {int(sums_NK[i, -1])} points found",
            }
            for i in chosen
        ]
        if shown:
            blocks.append({"type": "pictures", "title": title, "note": note, "wide": True, "rows": shown})
    return blocks
