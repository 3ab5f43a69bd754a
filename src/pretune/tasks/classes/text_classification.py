"""Labels for a text or a pair of texts."""

from __future__ import annotations

from typing import ClassVar, final

from pretune.tasks.classes.classification import Classification
from pretune.tasks.classes.multilabel_classification import MultilabelClassification
from pretune.tasks.inputs.texts import OfTexts

__all__ = ["TextClassification", "TextMultilabelClassification"]


@final
class TextClassification(OfTexts, Classification):
    """One label for a text or a pair of texts."""

    name: ClassVar[str] = "text-classification"
    hub_task: ClassVar[str] = "text-classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")


@final
class TextMultilabelClassification(OfTexts, MultilabelClassification):
    """Any number of labels for a text or a pair of texts."""

    name: ClassVar[str] = "text-multilabel-classification"
    hub_task: ClassVar[str] = "text-classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "labels")
