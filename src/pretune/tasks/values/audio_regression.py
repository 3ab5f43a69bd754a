"""A number for a clip."""

from __future__ import annotations

from typing import ClassVar, final

from pretune.tasks.inputs.clips import OfClips
from pretune.tasks.values.regression import Regression

__all__ = ["AudioRegression"]


@final
class AudioRegression(OfClips, Regression):
    """A number for a clip."""

    name: ClassVar[str] = "audio-regression"
    columns: ClassVar[tuple[str, ...]] = ("audio", "value")
