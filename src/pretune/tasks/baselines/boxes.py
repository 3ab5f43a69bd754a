"""What can be said of boxes without looking at the picture: the commonest class, where its boxes mostly are.

Shapes: M boxes of the training rows, k places.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["prior_boxes"]

_MOST_BOXES = 20_000
_SEED = 0


def prior_boxes(train: Dataset, rows: Dataset) -> list[list[dict[str, Any]]]:
    """For each row the same boxes in shares of its sides: as many as a training picture has of the commonest class (the median), at the
    centres of as many clusters of these, each scored by its share of them.
    """
    from sklearn.cluster import KMeans

    counts = Counter(box["label"] for cell in train["boxes"] for box in cell or ())
    label = counts.most_common(1)[0][0]
    places, a_picture = [], []
    for cell, width, height in zip(train["boxes"], train["width"], train["height"], strict=True):
        own = [np.array(box["box"]) / [width, height, width, height] for box in cell or () if box["label"] == label]
        places += own
        a_picture.append(len(own))
    boxes_M4 = np.stack(places[:_MOST_BOXES])
    count = max(1, min(len(boxes_M4), int(np.median(a_picture))))
    found = KMeans(count, random_state=_SEED).fit(boxes_M4)
    shares = np.bincount(found.predict(boxes_M4), minlength=count) / len(boxes_M4)
    answers = []
    for width, height in zip(rows["width"], rows["height"], strict=True):
        centres = found.cluster_centers_ * [width, height, width, height]
        answers.append(
            [
                {"label": label, "box": [round(one, 2) for one in centre], "score": round(float(share), 5)}
                for centre, share in zip(centres.tolist(), shares, strict=True)
            ]
        )
    return answers
