"""A number for a text or a pair of texts."""

from __future__ import annotations

from typing import ClassVar, final

from pretune.tasks.inputs.texts import OfTexts
from pretune.tasks.values.regression import Regression

__all__ = ["TextRegression"]


@final
class TextRegression(OfTexts, Regression):
    """A number for a text or a pair of texts."""

    name: ClassVar[str] = "text-regression"
    columns: ClassVar[tuple[str, ...]] = ("text", "value")
