"""Labels for a picture."""

from __future__ import annotations

from typing import ClassVar, final

from pretune.tasks.classes.classification import Classification
from pretune.tasks.classes.multilabel_classification import MultilabelClassification
from pretune.tasks.inputs.pictures import OfPictures

__all__ = ["ImageClassification", "ImageMultilabelClassification"]


@final
class ImageClassification(OfPictures, Classification):
    """One label for a picture."""

    name: ClassVar[str] = "image-classification"
    hub_task: ClassVar[str] = "image-classification"
    columns: ClassVar[tuple[str, ...]] = ("image", "label")


@final
class ImageMultilabelClassification(OfPictures, MultilabelClassification):
    """Any number of labels for a picture."""

    name: ClassVar[str] = "image-multilabel-classification"
    hub_task: ClassVar[str] = "image-classification"
    columns: ClassVar[tuple[str, ...]] = ("image", "labels")
