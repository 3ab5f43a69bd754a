"""The heads that boxes may be found by: which models each stands on, and how it begins.

Shapes: M boxes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import Boxes
from pretune.backbones.detection.anchors import shapes_for
from pretune.backbones.detection.queries import has_nothing, num_queries, picks_queries, refuse_unlearned
from pretune.errors import UsageError, did_you_mean
from pretune.modalities.image.letterbox import Canvas
from pretune.modalities.image.transform import ImageTransform
from pretune.schema import Check, listed, number
from pretune.tasks.places.detection.anchored import STRIDES
from pretune.tasks.places.detection.head import DetectionHead
from pretune.tasks.places.detection.matching import Criterion
from pretune.tasks.places.detection.one_stage import OneStage
from pretune.tasks.places.detection.queries import Queries
from pretune.tasks.places.detection.two_stages import TwoStages
from pretune.tasks.rows.boxed import scaled_target

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone

__all__ = ["HEADS", "KEPT", "HeadKind", "head_for", "shapes_of_rows"]

KEPT: Mapping[str, Check] = {"shapes?": listed(listed(listed(number(above=0), least=2), least=1), least=1)}
"""The fields of ``pretune.json`` that heads keep."""
_LONGEST_PX = 320


class HeadKind(ABC):
    """One of :data:`HEADS`. ``needs`` says what it stands on."""

    needs: str

    @abstractmethod
    def fits(self, backbone: Backbone) -> bool:
        """Does it stand on such a model?"""

    @abstractmethod
    def longest_px(self, geometry: ImageTransform) -> int:
        """The longer side of the canvas where none was asked for; ``geometry`` is the backbone's."""

    @abstractmethod
    def begun(self, train: Dataset, canvas: Canvas, index: Mapping[str, int], backbone: Backbone) -> DetectionHead:
        """The head that training rows ask for; ``index`` numbers their classes."""

    @abstractmethod
    def restored(
        self, kept: Mapping[str, Any], sides: tuple[int, int], num_classes: int, backbone: Backbone
    ) -> DetectionHead:
        """The head of which ``kept`` was kept."""


@dataclass(frozen=True)
class _Anchored(HeadKind):
    """How wide a pyramid stands between the trunk's maps and the head (Lin et al. 2017, arXiv 1612.03144), and how many regions are
    proposed; 0: none.
    """

    pyramid_width: int = 0
    proposals: int = 0
    needs = "a trunk that shows its maps, such as scratch:mobilenet-v2 or a ResNet"

    def fits(self, backbone: Backbone) -> bool:
        """Not on a whole detector."""
        return not num_queries(backbone.config)

    def longest_px(self, geometry: ImageTransform) -> int:
        """A trunk takes any size."""
        return _LONGEST_PX

    def begun(self, train: Dataset, canvas: Canvas, index: Mapping[str, int], backbone: Backbone) -> DetectionHead:
        """Anchors as large as the rows' boxes."""
        return self.restored({"shapes": shapes_of_rows(train, canvas, index)}, canvas.sides, len(index), backbone)

    def restored(
        self, kept: Mapping[str, Any], sides: tuple[int, int], num_classes: int, backbone: Backbone
    ) -> DetectionHead:
        """With these anchors."""
        shapes = [[list(map(float, one)) for one in own] for own in kept["shapes"]]
        made = TwoStages if self.proposals else OneStage
        return made(sides, num_classes, shapes, self.pyramid_width, self.proposals)


class _Queried(HeadKind):
    """The detector that the backbone is."""

    needs = "a detector of transformers that predicts a set, such as a folder of RT-DETR, D-FINE or DETR"

    def fits(self, backbone: Backbone) -> bool:
        """On what has queries."""
        return num_queries(backbone.config) > 0

    def longest_px(self, geometry: ImageTransform) -> int:
        """What the model was trained at."""
        return max(geometry.crop)

    def begun(self, train: Dataset, canvas: Canvas, index: Mapping[str, int], backbone: Backbone) -> DetectionHead:
        """With as many queries as the model has."""
        return self.restored({}, canvas.sides, len(index), backbone)

    def restored(
        self, kept: Mapping[str, Any], sides: tuple[int, int], num_classes: int, backbone: Backbone
    ) -> DetectionHead:
        """As the model's config says."""
        config = backbone.config
        criterion = Criterion.of(config, softmax=has_nothing(config))
        return Queries(sides, num_classes, num_queries(config), criterion, picks_queries(config))


HEADS: Mapping[str, HeadKind] = {
    "ssd": _Anchored(),
    "ssd-fpn": _Anchored(64),
    "faster-rcnn": _Anchored(128, 128),
    "queries": _Queried(),
}


def head_for(asked: str, backbone: Backbone) -> str:
    """The name of the head that was asked for, of ``auto`` the first that stands on the backbone. Raises :class:`UsageError` for one that
    there is not, or that does not stand on it.
    """
    refuse_unlearned(backbone.config, backbone.name)
    able = [name for name, kind in HEADS.items() if kind.fits(backbone)]
    if asked == "auto":
        return able[0]
    if asked not in HEADS:
        raise UsageError(
            f"--head is {asked!r}", f"{did_you_mean(asked, HEADS)}; object-detection has {', '.join(HEADS)}"
        )
    if asked not in able:
        raise UsageError(
            f"--head {asked} needs {HEADS[asked].needs}; {backbone.name} ({backbone.config.model_type}) is none",
            f"leave --head out, or use --head {' or '.join(able)}",
        )
    return asked


def shapes_of_rows(train: Dataset, canvas: Canvas, index: Mapping[str, int]) -> Sequence[Any]:
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
