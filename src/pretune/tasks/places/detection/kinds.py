"""The heads that boxes may be found by, and the anchors that they begin from.

Shapes: M boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pretune.answers import Boxes
from pretune.backbones.detection.anchors import anchors_on, shapes_for
from pretune.modalities.image.letterbox import Canvas
from pretune.tasks.places.detection.head import DetectionHead
from pretune.tasks.places.detection.one_stage import OneStage
from pretune.tasks.places.detection.two_stages import TwoStages
from pretune.tasks.rows.boxed import scaled_target

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HEADS", "STRIDES", "HeadKind", "head_for", "shapes_of_rows"]

STRIDES = (8, 16, 32)


class HeadKind(NamedTuple):
    """How wide a pyramid stands between the trunk's maps and the head (Lin et al. 2017, arXiv 1612.03144), and how many regions are
    proposed; 0: none.
    """

    pyramid_width: int = 0
    proposals: int = 0


HEADS = {"ssd": HeadKind(), "ssd-fpn": HeadKind(64), "faster-rcnn": HeadKind(128, 128)}


def head_for(name: str, canvas: Canvas, shapes: Sequence[Any], num_classes: int) -> DetectionHead:
    """The head of that name on this canvas."""
    kind, anchors_A4 = HEADS[name], anchors_on(canvas.sides, STRIDES, shapes)
    made = TwoStages if kind.proposals else OneStage
    return made(anchors_A4, num_classes, kind.proposals)


def shapes_of_rows(train: Dataset, canvas: Canvas, index: Mapping[str, int]) -> list[list[list[float]]]:
    """The anchors' shapes for the training boxes; ``index`` numbers the classes."""
    boxes, classes = [], []
    for cell, width, height in zip(train[Boxes.kind], train["width"], train["height"], strict=True):
        ratio = min(canvas.width / width, canvas.height / height)
        scaled = (height * ratio, width * ratio)
        places_M4, classes_M, aside_M = scaled_target(
            Boxes.from_json(cell or ()).boxes, dict(index), (width, height), scaled
        ).arrays()
        boxes.append(places_M4[~aside_M])
        classes.append(classes_M[~aside_M])
    return shapes_for(np.concatenate(boxes), np.concatenate(classes), STRIDES)
