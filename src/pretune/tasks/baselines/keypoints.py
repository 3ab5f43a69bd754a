"""What a simple method answers to pictures without looking at them: the mean place of each point.

Shapes: N rows, J points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pretune.metrics.base import Measured, Metric

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["keypoint_baselines"]


def keypoint_baselines(metric: Metric, train: Dataset, rows: Dataset) -> dict[str, Measured]:
    """``mean-pose``: of each point its mean place in the training pictures, as parts of their width and height; the middle of the picture
    where it is never known.
    """
    known = [place for place, cell in enumerate(train["keypoints"]) if cell is not None]
    cells = train["keypoints"]
    points_NJ3 = np.array([cells[place] for place in known], dtype=np.float64)
    widths, heights = np.array(train["width"], dtype=np.float64), np.array(train["height"], dtype=np.float64)
    size_N12 = np.stack([widths[known], heights[known]], axis=1)[:, None]
    seen_NJ1 = points_NJ3[..., 2:] > 0
    sums_J2 = np.where(seen_NJ1, points_NJ3[..., :2] / size_N12, 0.0).sum(axis=0)
    times_J1 = seen_NJ1.sum(axis=0)
    mean_J2 = np.where(times_J1 > 0, sums_J2 / np.maximum(times_J1, 1), 0.5)
    records = [
        {"id": row, "truth": truth, "keypoints": [[x * width, y * height, 1.0] for x, y in mean_J2.tolist()]}
        for row, truth, width, height in zip(rows["id"], rows["keypoints"], rows["width"], rows["height"], strict=True)
    ]
    return {"mean-pose": metric.measure(records)}
