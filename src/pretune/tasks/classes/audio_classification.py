"""Labels for a clip."""

from __future__ import annotations

from typing import ClassVar, final

from pretune.tasks.classes.classification import Classification
from pretune.tasks.classes.multilabel_classification import MultilabelClassification
from pretune.tasks.inputs.clips import OfClips

__all__ = ["AudioClassification", "AudioMultilabelClassification"]


@final
class AudioClassification(OfClips, Classification):
    """One label for a clip."""

    name: ClassVar[str] = "audio-classification"
    hub_task: ClassVar[str] = "audio-classification"
    columns: ClassVar[tuple[str, ...]] = ("audio", "label")


@final
class AudioMultilabelClassification(OfClips, MultilabelClassification):
    """Any number of labels for a clip."""

    name: ClassVar[str] = "audio-multilabel-classification"
    hub_task: ClassVar[str] = "audio-classification"
    columns: ClassVar[tuple[str, ...]] = ("audio", "labels")
