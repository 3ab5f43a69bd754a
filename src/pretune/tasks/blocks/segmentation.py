"""What a report shows of masks: scores of each class with intervals, what is taken for what, pictures beside truth and answer.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretune.answers import Mask
from pretune.metrics.base import values_of
from pretune.metrics.places.segmentation import by_class, confusions, overlap_of_rows
from pretune.tasks.blocks.classification import Rows
from pretune.tasks.shown.masks import legend, side_by_side

__all__ = ["segmentation_blocks"]

_MOST_WORST, _MOST_BEST, _MOST_RANDOM = 6, 3, 6
_RESAMPLES = 500


def segmentation_blocks(
    records: Sequence[Mapping[str, Any]], rows: Rows, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """``rows[i]`` is row i, read only where it is shown."""
    names, confusion_NCC = confusions(records)
    order = [name for name in labels if name in names] + [name for name in names if name not in labels]
    return [
        _classes(order, names, confusion_NCC),
        _matrix(order, names, confusion_NCC),
        *_pictures(records, rows, labels, overlap_of_rows(confusion_NCC)),
    ]


def _classes(order: Sequence[str], names: Sequence[str], confusion_NCC: np.ndarray) -> dict[str, Any]:
    measured = by_class(names, confusion_NCC)
    total = max(1, int(confusion_NCC.sum()))
    cells = []
    rng = np.random.default_rng(0)
    weights_RN = rng.multinomial(len(confusion_NCC), np.full(len(confusion_NCC), 1 / len(confusion_NCC)), _RESAMPLES)
    for name in order:
        one, at = measured[name], names.index(name)
        scores = values_of(one)
        drawn = one.scores(weights_RN.astype(np.float64))["iou"]
        drawn = drawn[~np.isnan(drawn)]
        low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
        share = confusion_NCC[:, at].sum() / total
        pictures = int((confusion_NCC[:, at].sum(axis=1) > 0).sum())
        cells.append(
            [name, f"{100 * share:.1f} %", pictures, *(_percent(scores[key]) for key in ("iou",)), f"{_percent(low)} to {_percent(high)}",
             *(_percent(scores[key]) for key in ("dice", "recall", "precision"))]
        )  # fmt: skip
    columns = [
        {"name": name, "kind": "text" if name == "class" else "number"}
        for name in ("class", "pixels", "pictures", "IoU", "95 %", "Dice", "found", "right of answered")
    ]
    note = "IoU: pixels that truth and answer share, of all that either has. Intervals come from drawing pictures."
    return {"type": "table", "title": "Each class", "note": note, "columns": columns, "rows": cells}


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} %"


def _matrix(order: Sequence[str], names: Sequence[str], confusion_NCC: np.ndarray) -> dict[str, Any]:
    """Pixels by true class and answer, in the order of the classes."""
    places = [names.index(name) for name in order]
    values = confusion_NCC.sum(axis=0)[:, :-1][np.ix_(places, places)]
    return {
        "type": "matrix", "title": "Pixels: what is taken for what", "counted": "pixels", "labels": list(order),
        "values": [[int(cell) for cell in row] for row in values],
    }  # fmt: skip


def _pictures(
    records: Sequence[Mapping[str, Any]], rows: Rows, labels: Sequence[str], overlap_N: np.ndarray
) -> list[dict[str, Any]]:
    """The worst, the best and some at random: picture, truth, answer."""
    known = np.flatnonzero(~np.isnan(overlap_N))
    ordered = known[np.argsort(overlap_N[known], kind="stable")].tolist()
    worst = ordered[:_MOST_WORST]
    best = [i for i in reversed(ordered) if i not in worst][:_MOST_BEST]
    rest = [i for i in ordered if i not in (*worst, *best)]
    some = sorted(np.random.default_rng(0).permutation(rest)[:_MOST_RANDOM].tolist())
    note = "Left the picture, then the true mask, right the answer. Mean IoU is of the classes of this picture alone."
    blocks = []
    for title, chosen in (("Worst pictures", worst), ("Best pictures", best), ("Pictures at random", some)):
        shown = [
            {
                "image": side_by_side(rows[i]["image"], [_mask(records[i], key) for key in ("truth", "mask")], labels),
                "caption": f"{records[i]['id']}: mean IoU {_percent(float(overlap_N[i]))}",
            }
            for i in chosen
        ]
        if shown:
            blocks.append(
                {
                    "type": "pictures",
                    "title": title,
                    "note": note,
                    "legend": legend(labels),
                    "wide": True,
                    "rows": shown,
                }
            )
    return blocks


def _mask(record: Mapping[str, Any], key: str) -> Mask:
    return Mask.from_json(record[key])
